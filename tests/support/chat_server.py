"""A server of the OpenAI API on loopback, whose model is a function of the messages and the seed."""

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Model = Callable[[list[dict[str, str]], int], str]


class ChatServer(ThreadingHTTPServer):
    """Answers chat completions.

    Attributes:
        asked: the requests' bodies, failed ones too.
        keys: the keys that came with them.
        redirects_to: URL that every request is redirected to; None: none is.
    """

    def __init__(self, model: Model, fails: Callable[[int], int | None] = lambda number: None) -> None:
        """Listens at once.

        Args:
            model: the reply to messages, by seed.
            fails: the status that a request fails with, by its number from 0; 0: its connection is cut.
        """
        super().__init__(("127.0.0.1", 0), _Handler)
        self.model, self.fails = model, fails
        self.redirects_to: str | None = None
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self._lock = threading.Lock()

    def __enter__(self) -> "ChatServer":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def note(self, body: dict[str, Any], key: str) -> int:
        """Keeps a request; its number."""
        with self._lock:
            self.asked.append(body)
            self.keys.add(key)
            return len(self.asked) - 1


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, ChatServer)
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        number = server.note(body, self.headers.get("authorization", ""))
        status = server.fails(number)
        if server.redirects_to is not None:
            self.send_response(307)
            self.send_header("location", f"{server.redirects_to}/chat/completions")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        if status == 0:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        text = server.model(body["messages"], body["seed"])
        answer = {
            "id": "1", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
                      "prompt_tokens_details": {"cached_tokens": 3}},
        }  # fmt: skip
        content = json.dumps(answer if status is None else {"error": {"message": "planned"}}).encode()
        self.send_response(status or 200)
        self.send_header("content-type", "application/json")
        self.send_header("retry-after-ms", "1")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""
