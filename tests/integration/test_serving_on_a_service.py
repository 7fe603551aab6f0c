"""A tutor on a service, whose replies come in one piece, served by a real server in this process until Ctrl-C."""

import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.support.on_the_fake import small_config, train_on_fake

from socratic_distill import serve
from socratic_distill.in_process import ServiceFuture
from socratic_distill.testing import FakeRestClient, FakeServiceClient
from socratic_distill.testing.clients import FakeSamplingClient

BODY: Any = {"model": "run", "messages": [{"role": "user", "content": "It is 3."}], "seed": 5}


@pytest.fixture
def serve_while(tmp_path):
    """Serves a run on the fake service while a function, which gets the address, runs; gives what was printed."""
    client, config = FakeServiceClient(), small_config(tmp_path, max_steps=1)
    train_on_fake(client, config)

    def served(visit: Callable[[str], None]) -> list[str]:
        lines, failures = [], []

        def run(address: str) -> None:
            try:
                visit(address)
            except BaseException as error:
                failures.append(error)
            finally:
                signal.raise_signal(signal.SIGINT)

        def start(address: str) -> None:
            threading.Thread(target=run, args=(address,), daemon=True).start()

        serve(
            config.log_path, "What is 1 + 2?", port=0, service_client=client, rest_client=FakeRestClient(client),
            on_ready=start, write=lines.append,
        )  # fmt: skip
        if failures:
            raise failures[0]
        return lines

    return served


def never(*_: Any, **__: Any) -> ServiceFuture[Any]:
    return ServiceFuture.later(RuntimeError("too late"), 1000)


def test_a_reply_of_a_service_comes_whole_and_in_a_stream_of_one_piece(serve_while):
    seen = {}

    def visit(address: str) -> None:
        whole = httpx.post(f"{address}/v1/chat/completions", json=BODY).json()
        stream = httpx.post(f"{address}/v1/chat/completions", json=BODY | {"stream": True}).text
        seen.update(text=whole["choices"][0]["message"]["content"], stream=stream, weights=whole["system_fingerprint"])

    lines = serve_while(visit)
    assert seen["text"] and seen["stream"].endswith("data: [DONE]\n\n")
    pieces = [line for line in seen["stream"].split("\n\n") if '"content": "' in line and '"content": ""' not in line]
    assert len(pieces) == 1
    assert re.fullmatch("[0-9a-f]{16}", seen["weights"])
    assert "no other machine" in "\n".join(lines)


@pytest.mark.parametrize("stream", [False, True])
def test_ctrl_c_while_a_service_owes_a_reply_ends_the_server(serve_while, monkeypatch, stream):
    monkeypatch.setattr(FakeSamplingClient, "sample", never)
    answers: list[httpx.Response] = []
    threads: list[threading.Thread] = []

    def visit(address: str) -> None:
        def ask() -> None:
            body = BODY | {"stream": stream}
            answers.append(httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60))

        threads.append(threading.Thread(target=ask, daemon=True))
        threads[0].start()
        time.sleep(0.5)

    begun = time.monotonic()
    serve_while(visit)
    threads[0].join(10)
    assert time.monotonic() - begun < 10
    assert answers[0].status_code == (200 if stream else 503) and "the server is stopping" in answers[0].text


def test_a_service_that_fails_is_an_error_of_the_api(serve_while, monkeypatch):
    monkeypatch.setattr(FakeSamplingClient, "sample", lambda *_, **__: ServiceFuture.failed(RuntimeError("no \x1b[2J")))
    answers = []

    def visit(address: str) -> None:
        answers.append(httpx.post(f"{address}/v1/chat/completions", json=BODY))
        answers.append(httpx.post(f"{address}/v1/chat/completions", json=BODY | {"stream": True}))

    serve_while(visit)
    assert answers[0].status_code == 500 and answers[0].json()["error"]["type"] == "server_error"
    assert '"error"' in answers[1].text and "\x1b" not in answers[0].text + answers[1].text
