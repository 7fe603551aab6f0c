"""A served tutor under clients that are slow, leave, or come in numbers, on services that stream and that do not."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

pytest.importorskip("starlette")

from tests.support.on_the_fake import train_on_fake_async

from socratic_distill import ConfigError, EventLoopRunning, ServeExtraMissing, serve
from socratic_distill.dialogues.seed import asked_seed
from socratic_distill.outputs.serving import server
from socratic_distill.outputs.serving.app import App
from socratic_distill.outputs.serving.replies import ApiError, Said
from socratic_distill.outputs.serving.requests import ChatRequest
from socratic_distill.outputs.serving.scores import ReplyScores
from socratic_distill.outputs.serving.tutor import Asked, ServedTutor, open_served_tutor
from socratic_distill.run.checkpoints import load_checkpoints
from socratic_distill.service.connect import Service
from socratic_distill.testing import FakeServiceClient

TALK: Any = [{"role": "user", "content": "It is 3."}]
SAYS = "Which number comes first? Why?"


class Engine:
    """A client that streams as the local engine does, a token each time the test lets it."""

    def __init__(self, tokens: Sequence[int], logprob: float = -1.0) -> None:
        self.tokens, self.logprob = tokens, logprob
        self.drawn = self.running = self.most = 0
        self.go = asyncio.Semaphore(0)

    async def stream(self, prompt: Any, count: int, params: Any, listen: Any) -> Any:
        row = SimpleNamespace(index=0, tokens=[])
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for token in self.tokens:
                await self.go.acquire()
                self.drawn += 1
                row.tokens.append(token)
                if not listen(row):
                    break
        finally:
            self.running -= 1
        logprobs = [self.logprob] * len(row.tokens)
        return SimpleNamespace(sequences=[SimpleNamespace(tokens=row.tokens, logprobs=logprobs, stop_reason="stop")])

    def let(self, count: int) -> None:
        for _ in range(count):
            self.go.release()


@pytest.fixture
async def opened(make_config) -> tuple[ServedTutor, Service]:
    client, config = FakeServiceClient(), make_config(max_steps=1)
    await train_on_fake_async(client, config)
    path, service = load_checkpoints(config.log_path)[-1].sampler_path, Service(client, None)
    assert path is not None
    return await open_served_tutor(config, service, path, "run", None), service


@pytest.fixture
def tutor(opened) -> ServedTutor:
    return opened[0]


@pytest.fixture
def engine(tutor) -> Engine:
    engine: Any = Engine(tutor.renderer.codec.encode_said(SAYS))
    tutor.client = engine
    return engine


def asked(tutor: ServedTutor, **fields: Any) -> Asked:
    return tutor.asked(ChatRequest.model_validate({"model": "run", "messages": TALK, "seed": 1} | fields))


async def whole(tutor: ServedTutor, **fields: Any) -> Said:
    events = [event async for event in tutor.replies(asked(tutor, **fields))]
    assert isinstance(events[-1], list)
    return events[-1][0]


async def settled(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never happened")


async def test_who_leaves_frees_the_tutor_at_the_next_token(tutor, engine):
    async with aclosing(tutor.replies(asked(tutor))) as events:
        engine.let(3)
        await anext(events)
    engine.let(100)
    assert (await asyncio.wait_for(whole(tutor), 5)).text == SAYS
    assert engine.running == 0 and engine.drawn <= 4 + len(engine.tokens)


async def test_who_leaves_while_waiting_is_never_sampled_for(tutor, engine):
    first = asyncio.ensure_future(whole(tutor))
    second = asyncio.ensure_future(whole(tutor))
    await settled(lambda: engine.running == 1)
    second.cancel()
    engine.let(100)
    assert (await first).text == SAYS and engine.drawn == len(engine.tokens)


async def test_who_reads_slowly_holds_up_nobody(tutor, engine):
    async with aclosing(tutor.replies(asked(tutor))) as slow:
        engine.let(100)
        await anext(slow)
        assert (await asyncio.wait_for(whole(tutor), 5)).text == SAYS
        assert isinstance([event async for event in slow][-1], list)


async def test_requests_are_sampled_one_after_another(tutor, engine):
    engine.let(1000)
    replies = await asyncio.gather(*(whole(tutor) for _ in range(20)))
    assert {reply.text for reply in replies} == {SAYS} and engine.most == 1


async def test_too_many_waiting_requests_are_refused(tutor, engine):
    waiting = [asyncio.ensure_future(whole(tutor)) for _ in range(64)]
    await settled(lambda: tutor._waiting == 64)
    with pytest.raises(ApiError) as error:
        asked(tutor)
    assert error.value.status == 429 and error.value.body["error"]["code"] == "rate_limit_exceeded"
    for task in waiting:
        task.cancel()
    await settled(lambda: tutor._waiting == 0)
    assert asked(tutor).count == 1


async def test_a_server_that_stops_ends_what_runs_and_what_waits(tutor, engine):
    tasks = [asyncio.ensure_future(whole(tutor)) for _ in range(3)]
    await settled(lambda: tutor._waiting == 3)
    tutor.stop()
    for task in tasks:
        with pytest.raises(ApiError, match="the server is stopping"):
            await task
    with pytest.raises(ApiError, match="the server is stopping"):
        asked(tutor)
    assert engine.running == 0 and not tutor._running


async def test_weights_that_are_not_finite_are_an_error_and_no_reply(tutor, engine):
    engine.logprob = float("nan")
    engine.let(100)
    with pytest.raises(ApiError, match="log-probability of the tutor's token 0"):
        await whole(tutor)


async def test_a_stop_text_ends_the_sampling(tutor, engine):
    engine.let(100)  # the engine is never held up: the loop hears of the stop text long after it
    reply = await whole(tutor, stop="first")
    assert reply.text == "Which number comes " and reply.ended == "stop"
    tokens = tutor.renderer.codec.encode_said("Which number comes first")
    assert engine.drawn == len(tokens) == len(reply.tokens)


@pytest.mark.parametrize("seed", [-1, 2**31, 2**63 - 1, -(2**63)])
async def test_seeds_of_64_bits_are_ones_that_every_server_keeps(tutor, seed):
    kept = asked(tutor, seed=seed).params.seed
    assert kept is not None and 0 <= kept < 2**31 and asked(tutor, seed=seed).params.seed == kept


async def test_two_replies_that_are_scored_at_once_open_one_teacher(opened):
    tutor, service = opened
    scores = ReplyScores(tutor, service)
    before = service.client.count("create_sampling_client")
    for name in "ab":
        request = asked(tutor)
        events = [event async for event in tutor.replies(request)]
        assert isinstance(events[-1], list)
        scores.keep(name, request, events[-1][0])
    first, second = await asyncio.gather(scores.of("a"), scores.of("b"))
    assert first == second and service.client.count("create_sampling_client") == before + 1


async def test_an_error_of_the_server_has_the_apis_shape_and_its_guards(opened, monkeypatch):
    tutor, service = opened
    app = App(tutor, ReplyScores(tutor, service), "fp").asgi()
    monkeypatch.setattr(tutor, "asked", lambda request: 1 / 0)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        answer = await client.post("/v1/chat/completions", json={"model": "run", "messages": TALK})
    assert answer.status_code == 500 and answer.json()["error"]["type"] == "server_error"
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"


async def test_half_a_surrogate_pair_in_the_problem_is_answered(opened):
    tutor, service = opened
    tutor.seed = asked_seed("a\udcffb")  # from a terminal that is not in UTF-8
    transport = httpx.ASGITransport(App(tutor, ReplyScores(tutor, service), "fp").asgi())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        assert (await client.get("/about")).json()["problem"] == "a\udcffb"
        answer = await client.post("/v1/chat/completions", json={"model": "run", "messages": TALK})
        assert answer.status_code == 200


async def test_a_service_that_does_not_stream_answers_in_one_piece(opened):
    tutor, service = opened
    transport = httpx.ASGITransport(App(tutor, ReplyScores(tutor, service), "fp").asgi())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        body = {"model": "run", "messages": TALK, "seed": 5}
        one = (await client.post("/v1/chat/completions", json=body)).json()
        text = one["choices"][0]["message"]["content"]
        answer = await client.post("/v1/chat/completions", json=body | {"stream": True})
        lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
        assert lines.pop() == "[DONE]"
        deltas = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines]
        assert text and "".join(deltas) == text
        stop = text[2:4]
        cut = (await client.post("/v1/chat/completions", json=body | {"stop": stop})).json()["choices"][0]
        assert cut["message"]["content"] == text[: text.find(stop)] and cut["finish_reason"] == "stop"
        scores = (await client.post("/scores", json={"id": one["id"]})).json()
        assert len(scores["teacher"]) == len(scores["tutor"]) == one["usage"]["completion_tokens"]


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\ue000"', '"<|im_end|></think>"', '"\\u0000"', '"\\u202e"'])
async def test_odd_characters_get_a_reply_or_the_apis_own_error(opened, text):
    tutor, service = opened
    transport = httpx.ASGITransport(App(tutor, ReplyScores(tutor, service), "fp").asgi())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        for body in (
            f'{{"model": "run", "messages": [{{"role": "user", "content": {text}}}]}}',
            f'{{"model": {text}, "messages": [{{"role": "user", "content": "Hi"}}]}}',
            f'{{"model": "run", "messages": [{{"role": "user", "content": "Hi"}}], "stop": {text}, "problem": {text}}}',
            f'{{"model": "run", "messages": [{{"role": {text}, "content": [{{"type": {text}}}]}}]}}',
        ):
            answer = await client.post(
                "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code in (200, 400, 404), answer.text
            assert "choices" in answer.json() or answer.json()["error"]["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1", "1e999", "9" * 5000, "true", '"1"'])
async def test_numbers_that_are_none_are_refused(opened, number):
    tutor, service = opened
    transport = httpx.ASGITransport(App(tutor, ReplyScores(tutor, service), "fp").asgi())
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
        for field in ("temperature", "top_p", "n", "max_tokens"):
            body = f'{{"model": "run", "messages": [{{"role": "user", "content": "Hi"}}], "{field}": {number}}}'
            answer = await client.post(
                "/v1/chat/completions", content=body, headers={"content-type": "application/json"}
            )
            assert answer.status_code == 400, (field, answer.text)


async def test_serving_inside_a_loop_says_what_to_do_instead(tmp_path):
    with pytest.raises(EventLoopRunning, match="python -m socratic_distill serve"):
        serve(tmp_path)


def test_serving_without_its_packages_says_how_to_install_them(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "_PACKAGES", ("starlette", "no_such_package"))
    with pytest.raises(ServeExtraMissing, match=r"no_such_package, not installed here.*\[serve\]"):
        serve(tmp_path)


@pytest.mark.parametrize("question", ["", " \n"])
def test_a_question_holds_text(question):
    with pytest.raises(ConfigError, match="expected the text of a problem"):
        asked_seed(question)
