"""A proxy before a server, which does to requests what networks and busy servers do, by a plan with a seed."""

import http.server
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

_PATIENCE = 300.0
_HEALTH = "/api/v1/healthz"


@dataclass(frozen=True)
class Faults:
    """What happens to requests. Shares are of all requests; each request has at most one fault.

    Attributes:
        seed: draws which requests have a fault, by path and count.
        delay: seconds that every answer comes later.
        refused: share that is answered by 500 and not carried out.
        lost: share that is carried out and answered by 500.
        cut: share whose connection is cut, half of them after they were carried out.
        bursts: (of how many requests, how many): so many of so many are answered by 429, all in a row.
        kept: ends of paths of requests whose answers are not lost once they were carried out.
    """

    seed: int = 0
    delay: float = 0.0
    refused: float = 0.0
    lost: float = 0.0
    cut: float = 0.0
    bursts: tuple[int, int] | None = None
    kept: tuple[str, ...] = ()


class Proxy:
    """Passes requests on to a server; a thread for each connection.

    Attributes:
        url: its address.
        done: how often which fault happened.
    """

    def __init__(self, target: str, faults: Faults) -> None:
        self.done: Counter[str] = Counter()
        self._faults, self._target = faults, target
        self._seen: Counter[str] = Counter()
        self._total = 0
        self._lock = threading.Lock()
        self._down = False
        self._client = httpx.Client(timeout=_PATIENCE, limits=httpx.Limits(max_connections=None))
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Proxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._down = True
        self._server.cut_all()
        self._server.shutdown()
        self._server.server_close()
        self._client.close()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Cuts every connection, and every new one, until it is left."""
        self._down = True
        self._server.cut_all()
        self.done["outages"] += 1
        try:
            yield
        finally:
            self._down = False

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The status, headers and body of an answer. Raises ConnectionAbortedError where the connection is cut."""
        fault = self._fate(path)
        if fault:
            with self._lock:
                self.done[fault] += 1
        if self._down or fault == "cut before":
            raise ConnectionAbortedError
        if fault in ("refused", "burst"):
            return (500 if fault == "refused" else 429), {}, b'{"detail": "a planned fault"}'
        response = self._client.request(method, self._target + path, headers=headers, content=body)
        time.sleep(self._faults.delay)
        if self._down or fault == "cut after":
            raise ConnectionAbortedError
        if fault == "lost":
            return 500, {}, b'{"detail": "a planned fault"}'
        kept = {name: value for name, value in response.headers.items() if name.lower() in _KEPT}
        return response.status_code, kept, response.content

    def _fate(self, path: str) -> str | None:
        faults = self._faults
        # The first look at a server is not tried again, by design.
        if path == _HEALTH:
            return None
        with self._lock:
            self._seen[path] += 1
            self._total += 1
            number, total = self._seen[path], self._total
        if faults.bursts is not None and total % faults.bursts[0] >= faults.bursts[0] - faults.bursts[1]:
            return "burst"
        drawn = random.Random(f"{faults.seed} {path} {number}").random()
        for share, fault in (
            (faults.refused, "refused"),
            (faults.lost, "lost"),
            (faults.cut / 2, "cut before"),
            (faults.cut / 2, "cut after"),
        ):
            if drawn < share:
                return None if fault in ("lost", "cut after") and path.endswith(faults.kept) else fault
            drawn -= share
        return None


_KEPT = {"content-type", "location"}
_LEFT_OUT = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding"}


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self._open: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that is gone is what this proxy is for."""

    def cut_all(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is gone


def _handler(proxy: Proxy) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _LEFT_OUT}
            try:
                status, answered, content = proxy.answer(self.command, self.path, headers, body)
            except (ConnectionAbortedError, httpx.HTTPError, RuntimeError):
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in answered.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = handle_request

        def log_message(self, format: str, *_: Any) -> None: ...

    return Handler
