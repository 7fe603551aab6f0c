"""Tinker's API on loopback as far as weights are exported over it, and the store that its signed URLs lead to."""

import json
import re
import socket
import threading
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import md5, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.support.adapters import adapter_files

KEY = "tml-planted-secret"
BASE = "Qwen/Qwen3-8B"
_RANGE = re.compile(r"bytes=(\d+)-")


class _Loopback(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


@dataclass
class Fault:
    """What the store does to one request in place of answering it.

    Attributes:
        cut: bytes of the body after which the connection is cut.
        status: answered instead, without a file.
        headers: of the answer, in addition.
        body: sent instead of the file, or the part of it.
        stop: whether the server waits here until `Store.resume` is set, after `cut` bytes.
    """

    cut: int | None = None
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    stop: bool = False


class Store(_Loopback):
    """Files by signed URL.

    Attributes:
        files: what it holds, by name.
        faults: for the next requests, in their order; None: none.
        signatures: those that are valid.
        etags: whether files have entity tags.
        ranges: whether it answers with parts.
        lengths: whether answers have a length; else they end with the connection.
        hashes: headers with hashes, by name, made from a file.
        asked: the requests: name, headers.
    """

    def __init__(self) -> None:
        super().__init__(_StoreHandler)
        self.files: dict[str, bytes] = adapter_files()
        self.faults: deque[Fault | None] = deque()
        self.signatures: set[str] = set()
        self.etags = self.ranges = self.lengths = True
        self.hashes: dict[str, Callable[[bytes], str]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.stopped, self.resume = threading.Event(), threading.Event()

    def asked_for(self, name: str) -> list[dict[str, str]]:
        """The headers of the requests for a file."""
        return [headers for asked, headers in self.asked if asked == name]

    def sign(self, name: str, signature: str) -> str:
        """A URL of a file."""
        self.signatures.add(signature)
        return f"{self.url}/bucket/{name}?X-Amz-Signature={signature}&X-Amz-Expires=60"


class _StoreHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        store = self.server
        assert isinstance(store, Store)
        url = urlsplit(self.path)
        name = url.path.removeprefix("/bucket/")
        with store.lock:
            store.asked.append((name, {key.lower(): value for key, value in self.headers.items()}))
            fault = (store.faults.popleft() if store.faults else None) or Fault()
        if parse_qs(url.query).get("X-Amz-Signature", [""])[0] not in store.signatures:
            fault = Fault(status=403, body=b"<Error><Code>AccessDenied</Code></Error>")
        if fault.status is not None:
            self._send(fault.status, fault.body or b"", fault.headers)
        elif name not in store.files:
            self._send(404, b"", {})
        else:
            self._send_file(store, store.files[name], fault)

    def _send_file(self, store: Store, content: bytes, fault: Fault) -> None:
        tag = f'"{md5(content).hexdigest()}-1"'
        headers = {header: make(content) for header, make in store.hashes.items()}
        headers |= {"etag": tag} if store.etags else {}
        match = _RANGE.fullmatch(self.headers.get("range", ""))
        condition = self.headers.get("if-range")
        start = int(match[1]) if match and store.ranges and condition in (None, tag) else None
        body = content if fault.body is None else fault.body
        if start is None:
            self._send(200, body, headers | fault.headers, fault)
        elif start >= len(content):
            self._send(416, b"", {"content-range": f"bytes */{len(content)}"} | fault.headers, fault)
        else:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            body = content[start:] if fault.body is None else fault.body
            self._send(206, body, headers | {"content-range": span} | fault.headers, fault)

    def _send(self, status: int, body: bytes, headers: dict[str, str], fault: Fault | None = None) -> None:
        store, fault = self.server, fault or Fault()
        assert isinstance(store, Store)
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header, value)
        if store.lengths and "content-length" not in headers:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if fault.cut is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[: fault.cut])
        self.wfile.flush()
        if fault.stop:
            store.stopped.set()
            store.resume.wait(60)
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


class WeightsApi(_Loopback):
    """The API, as the SDK asks it for a training state's weights.

    Attributes:
        store: where the URLs lead to.
        states: the training states that it has.
        exports: the weights that it holds for download, by path, with how often their time was renewed.
        deleted: paths that were deleted.
        names: names of the files that it signs; None: those that the store has.
        lifetime: for how long the URLs are valid, as the service says.
        refusals: statuses by a part of the path of the request.
        calls: paths of all requests.
        sessions: how the sessions ended, in their order.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(_ApiHandler)
        self.store = store
        self.states: set[str] = set()
        self.exports: dict[str, int] = {}
        self.deleted: list[str] = []
        self.names: list[str] | None = None
        self.lifetime = timedelta(minutes=15)
        self.refusals: dict[str, int] = {}
        self.calls: list[str] = []
        self.sessions: list[str] = []
        self.signed = 0
        self.base_model: str | None = BASE
        self._futures: dict[str, dict[str, Any]] = {}

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and body of an answer."""
        with self.lock:
            self.calls.append(f"{method} {path}")
            status = next((status for part, status in self.refusals.items() if part in path), None)
            if status is not None:
                return status, {"detail": "refused"}
            return self._answer(method, path.removeprefix("/api/v1/"), body)

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        checkpoint = re.fullmatch(r"training_runs/([^/]+)/checkpoints/external_weights/([^/]+)(?:/(\w+))?", path)
        if checkpoint is not None:
            return self._external(method, f"tinker://{checkpoint[1]}/external_weights/{checkpoint[2]}", checkpoint[3])
        if path == "weights_info":
            found = body["tinker_path"] in self.states
            return (200, {"base_model": BASE, "is_lora": True, "lora_rank": 2}) if found else (404, {"detail": "gone"})
        if path == "load_weights":
            if body["path"] not in self.states:
                return 404, {"detail": "gone"}
            return 200, self._future({"model_id": f"{body['session_id']}:train:{body['model_seq_id']}"})
        if path == "save_weights_external":
            assert body["ttl_seconds"] >= 3600, "the service allows no shorter time"
            export = f"tinker://{body['model_id']}/external_weights/{body['path']}"
            self.exports[export] = 0
            return 200, self._future({"path": export, "type": "save_weights_external"})
        if path == "retrieve_future":
            return 200, self._futures[body["request_id"]]
        if path == "get_info":
            data = {"model_name": self.base_model, "arch": "x", "tokenizer_id": "x"}
            return 200, {"type": "get_info", "model_data": data, "model_id": body["model_id"]}
        if path == "create_session":
            return 200, {"session_id": f"session-{len(self.calls)}", "type": "create_session"}
        if path.endswith("/finish"):
            self.sessions.append(body.get("status") or json.dumps(body))
        return 200, {}

    def _external(self, method: str, path: str, what: str | None) -> tuple[int, Any]:
        if path not in self.exports:
            return 404, {"detail": "gone"}
        if method == "DELETE":
            del self.exports[path]
            self.deleted.append(path)
        elif what == "ttl":
            self.exports[path] += 1
        elif what == "external_weights_urls":
            self.signed += 1
            names = list(self.store.files) if self.names is None else self.names
            urls = {name: self.store.sign(name, f"secret-{self.signed}-0123456789") for name in names}
            return 200, {"urls": urls, "expires": (datetime.now(UTC) + self.lifetime).isoformat()}
        return 200, {}

    def _future(self, result: dict[str, Any]) -> dict[str, Any]:
        request_id = f"future-{len(self._futures)}"
        self._futures[request_id] = result
        return {"request_id": request_id}


class _ApiHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        api = self.server
        assert isinstance(api, WeightsApi)
        raw = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            body = json.loads(raw or b"{}")
        except ValueError:  # telemetry is compressed
            body = {}
        status, answer = api.answer(self.command, urlsplit(self.path).path, body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""


HASHES: dict[str, Callable[[bytes], str]] = {
    "content-md5": lambda content: b64encode(md5(content).digest()).decode(),
    "x-goog-hash": lambda content: f"crc32c=AAAAAA==, md5={b64encode(md5(content).digest()).decode()}",
    "x-amz-checksum-sha256": lambda content: b64encode(sha256(content).digest()).decode(),
    "repr-digest": lambda content: f"sha-256=:{b64encode(sha256(content).digest()).decode()}:",
}
