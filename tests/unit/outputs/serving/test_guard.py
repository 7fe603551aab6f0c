"""Which requests a server on loopback takes, and which it refuses."""

import json
from typing import Any

import httpx
import pytest

pytest.importorskip("starlette")

from hypothesis import given, strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from socratic_distill.outputs.serving.guard import MOST_BYTES, Guard, is_own
from socratic_distill.outputs.serving.replies import ApiError


async def echo(request: Request) -> JSONResponse:
    return JSONResponse({"bytes": len(await request.body())})


async def refused(_: Any, error: Exception) -> Any:
    assert isinstance(error, ApiError)
    return error.response()


APP = Guard(Starlette(routes=[Route("/", echo, methods=["GET", "POST"])], exception_handlers={ApiError: refused}))


async def ask(method: str = "GET", headers: Any = (), content: Any = None) -> httpx.Response:
    given_headers = [("host", "127.0.0.1:8000"), *dict(headers).items()]
    named = {name for name, _ in given_headers[1:]}
    given_headers = [pair for pair in given_headers if pair[0] not in named or pair != given_headers[0]]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=APP), base_url="http://127.0.0.1:8000") as client:
        return await client.request(method, "/", headers=given_headers, content=content)


@pytest.mark.parametrize(
    ("host", "is_answered"),
    [
        ("127.0.0.1:8000", True), ("localhost:8000", True), ("LOCALHOST:8000", True), ("[::1]:8000", True),
        ("127.9.9.9:8000", True), ("127.0.0.1", False), ("localhost:8001", False), ("evil.example", False),
        ("evil.example:8000", False), ("localhost.evil.example:8000", False), ("localhost.:8000", False),
        ("127.0.0.1.evil.example:8000", False), ("user@127.0.0.1:8000", False), ("127.0.0.1:8000@evil.example", False),
        ("0.0.0.0:8000", False), ("192.168.0.2:8000", False), ("", False), (":8000", False), ("localhost:8000/", False),
        ("localhost:0", False), ("localhost:99999", False), ("[::1", False), ("2130706433:8000", False),
        ("[::ffff:10.0.0.1]:8000", False), ("localhost:8000\t", False), ("localhost:8000,evil.example", False),
    ],
)  # fmt: skip
async def test_only_loopback_names_with_the_own_port_are_answered(host, is_answered):
    assert is_own(host, 8000) == is_answered
    answer = await ask(headers={"host": host})
    assert answer.status_code == (200 if is_answered else 403)


def test_the_port_80_need_not_be_named():
    assert is_own("localhost", 80) and is_own("localhost:80", 80) and not is_own("localhost", None)


@given(st.text(max_size=30))
def test_any_host_is_judged_without_an_error(host):
    assert is_own(host, 8000) in (True, False)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:8001"}, 403),
        ({"origin": "http://localhost:8000"}, 403),
        ({"origin": "https://127.0.0.1:8000"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
async def test_pages_of_other_sites_are_refused(headers, status):
    answer = await ask(headers=headers)
    assert answer.status_code == status
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    if status != 200:
        assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_two_origins_or_hosts_are_refused():
    for name, values in (
        ("origin", ["http://127.0.0.1:8000", "http://evil.example"]),
        ("host", ["localhost:8000"] * 2),
    ):
        sent = [(name.encode(), value.encode()) for value in values]
        own = [] if name == "host" else [(b"host", b"127.0.0.1:8000")]
        status = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any, status: list[int] = status) -> None:
            status += [message["status"]] if message["type"] == "http.response.start" else []

        scope = {"type": "http", "method": "GET", "path": "/", "server": ("127.0.0.1", 8000), "headers": [*own, *sent]}
        await APP(scope, receive, send)
        assert status == [403]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_a_page_may_send_without_asking_first_is_refused(kind):
    answer = await ask("POST", {"content-type": kind}, b"{}")
    assert answer.status_code == 415 and "application/json" in answer.json()["error"]["message"]


async def test_a_preflight_gets_no_permission():
    answer = await ask("OPTIONS", {"origin": "http://evil.example", "access-control-request-method": "POST"})
    assert answer.status_code == 403
    answer = await ask("OPTIONS", {"origin": "http://127.0.0.1:8000"})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


async def test_large_bodies_are_refused_with_and_without_a_length():
    json_kind = {"content-type": "application/json"}
    assert (await ask("POST", json_kind, b" " * MOST_BYTES)).json() == {"bytes": MOST_BYTES}
    assert (await ask("POST", json_kind, b" " * (MOST_BYTES + 1))).status_code == 413

    async def endless() -> Any:
        for _ in range(3):
            yield b" " * (MOST_BYTES // 2)

    assert (await ask("POST", json_kind, endless())).status_code == 413
    assert (await ask("POST", json_kind | {"content-length": "-1"}, b"{}")).status_code == 413


async def test_every_answer_forbids_sniffing_and_storing():
    for answer in (await ask(), await ask(headers={"host": "evil.example"})):
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
        assert json.loads(answer.content)
