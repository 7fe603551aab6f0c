"""A model hub on loopback, as far as huggingface_hub asks it when a folder is pushed."""

import base64
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TOKEN = "hf_planted_secret"
_LARGE = 1000  # from this many bytes on, files go where large ones go


@dataclass
class Repository:
    """One repository of the hub.

    Attributes:
        private: whether its owner alone sees it.
        branches: the files of each, by path.
        messages: of its commits.
    """

    private: bool
    branches: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"main": {}})
    messages: list[str] = field(default_factory=list)


class ModelHub(ThreadingHTTPServer):
    """The hub.

    Attributes:
        url: for HF_ENDPOINT.
        repositories: by name.
        role: of the token.
        asked: the requests: method and path.
        refusals: statuses to answer with in place of an answer, by a part of the path.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, Repository] = {}
        self.role = "write"
        self.asked: list[str] = []
        self.refusals: dict[str, int] = {}
        self.large: dict[str, bytes] = {}

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    @property
    def hub(self) -> ModelHub:
        assert isinstance(self.server, ModelHub)
        return self.server

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.hub.asked.append(f"{self.command} {self.path}")
        refusal = next((status for part, status in self.hub.refusals.items() if part in self.path), None)
        if refusal is not None:
            return self._send(refusal, {"error": "refused in this test"})
        if self.path.startswith("/large/"):  # a signed URL: no token goes there
            assert "authorization" not in self.headers
            self.hub.large[self.path.rpartition("/")[2]] = body
            return self._send(200, {})
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self._send(401, {"error": "Invalid username or password."})
        return self._api(body)

    do_GET = do_POST = do_PUT = _answer

    def _api(self, body: bytes) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        if path == "/api/whoami-v2":
            auth = {"accessToken": {"role": hub.role}}
            return self._send(200, {"type": "user", "name": "ada", "orgs": [{"name": "school"}], "auth": auth})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization', 'ada')}/{asked['name']}"
            if name in hub.repositories:
                return self._send(409, {"error": "exists", "url": f"{hub.url}/{name}"})
            hub.repositories[name] = Repository(asked.get("visibility") == "private" or bool(asked.get("private")))
            return self._send(200, {"url": f"{hub.url}/{name}"})
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if match := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            return self._send(
                200, {"transfer": "basic", "objects": [self._place(o) for o in json.loads(body)["objects"]]}
            )
        match = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(\w[\w-]*)/(.+))?", path)
        if match is None or match[1] not in hub.repositories:
            return self._send(404, {"error": "Repository not found"}, {"x-error-code": "RepoNotFound"})
        repository = hub.repositories[match[1]]
        if match[2] is None:
            return self._send(200, {"_id": "1", "id": match[1], "private": repository.private, "siblings": []})
        return self._repository(repository, match[1], match[2], match[3], body)

    def _repository(self, repository: Repository, name: str, action: str, branch: str, body: bytes) -> None:
        if action == "branch":
            repository.branches.setdefault(branch, dict(repository.branches["main"]))
            return self._send(200, {})
        if action == "preupload":
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] >= _LARGE else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self._send(200, {"files": files})
        if action == "revision":
            return self._send(
                200, {"_id": "1", "id": name, "private": repository.private, "siblings": [], "sha": "0" * 40}
            )
        assert action == "commit", action
        for line in map(json.loads, body.splitlines()):
            value: Any = line["value"]
            if line["key"] == "header":
                repository.messages.append(value["summary"])
            elif line["key"] == "file":
                repository.branches[branch][value["path"]] = base64.b64decode(value["content"])
            else:
                repository.branches[branch][value["path"]] = self.hub.large[value["oid"]]
        url = f"{self.hub.url}/{name}/commit/{'1' * 40}"
        return self._send(200, {"success": True, "commitUrl": url, "commitOid": "1" * 40})

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        return {**wanted, "actions": {"upload": {"href": f"{self.hub.url}/large/{wanted['oid']}", "header": {}}}}

    def _send(self, status: int, answer: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
