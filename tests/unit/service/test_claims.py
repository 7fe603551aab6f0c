"""What servers say of themselves, over HTTP and from objects."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import tinker

from socratic_distill.service.claims import Claims, read_claims
from socratic_distill.testing import FakeRestClient, FakeServiceClient

SAID = {
    "supported_loss_fns": ["ppo", 3, "cispo"], "supports_2d_target_tokens": True,
    "supports_topk_prompt_logprobs": False, "supported_models": [],
}  # fmt: skip


@pytest.fixture
def serve():
    """Starts a server with these answers by path; gives its URL and the requests that it got."""
    servers = []

    def start(answers):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append((self.path, self.headers.get("X-API-Key")))
                status, body, headers = answers.get(self.path, (404, b"", {}))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def rest(monkeypatch):
    """A client of the SDK that reaches nothing: what a server says is asked without it."""
    monkeypatch.setenv("TINKER_API_KEY", "tml-only-a-test")
    return object.__new__(tinker.RestClient)


CAPABILITIES, ABOUT = "/api/v1/get_server_capabilities", "/openapi.json"


async def test_version_losses_and_features_are_read(serve, rest):
    about = {"info": {"title": "Some server", "version": "1.2"}}
    url, asked = serve(
        {CAPABILITIES: (200, json.dumps(SAID).encode(), {}), ABOUT: (200, json.dumps(about).encode(), {})}
    )
    assert await read_claims(url, rest) == Claims("Some server 1.2", frozenset({"ppo", "cispo"}), True, False)
    assert sorted(asked) == [(CAPABILITIES, "tml-only-a-test"), (ABOUT, None)]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b'{"supported_loss_fns": "ppo", "supports_2d_target_tokens": 1}', b"[" * 10**5]
)
async def test_what_cannot_be_read_says_nothing(serve, rest, body):
    url, _ = serve({CAPABILITIES: (200, body, {}), ABOUT: (200, body, {})})
    assert await read_claims(url, rest) == Claims()


async def test_no_redirect_is_followed(serve, rest):
    elsewhere, asked = serve({CAPABILITIES: (200, json.dumps(SAID).encode(), {})})
    url, _ = serve({CAPABILITIES: (302, b"", {"Location": elsewhere + CAPABILITIES})})
    assert await read_claims(url, rest) == Claims()
    assert asked == [], "the key went nowhere else"


async def test_a_server_that_is_gone_says_nothing(rest):
    assert await read_claims("http://127.0.0.1:9", rest) == Claims()


async def test_an_object_says_what_its_answer_holds():
    said = await read_claims("http://server.invalid", FakeRestClient(FakeServiceClient(server="hatchery")))
    assert (said.takes_columns, said.tells_likeliest, "dro" in (said.losses or ())) == (True, True, False)
    assert await read_claims("http://server.invalid", FakeRestClient(FakeServiceClient())) == Claims()
    assert await read_claims("http://server.invalid", None) == Claims()
