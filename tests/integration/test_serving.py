"""A tutor behind OpenAI's chat API: the `openai` client and raw requests against a real server on the tiny model."""

import asyncio
import socket
import time
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("starlette")
pytest.importorskip("openai")

import openai
from tests.support.served import served
from tests.support.tiny_runs import tiny_config

from socratic_distill import CheckpointNotFound, ConfigError, serve, train
from socratic_distill.cli import main
from socratic_distill.cli.conversation import chat
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.seeds import seeds_of
from socratic_distill.run.directory import config_of

TALK: Any = [{"role": "user", "content": "I think 8 - 4 = 4, so the answer is 4."}]
PROBLEM = "At first Paul has 4 buttons. Later Paul wins 8 more. How many buttons are there now?"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = tiny_config(tmp_path_factory.mktemp("runs") / "run-7", max_steps=1)
    train(config)
    return config.log_path


@pytest.fixture(scope="module")
def address(run, tmp_path_factory):
    with served(run, "--question", PROBLEM, log=tmp_path_factory.mktemp("log") / "log") as found:
        yield found


@pytest.fixture
def client(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as opened:
        yield opened


def ask(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(model="run-7", **({"messages": TALK, "seed": 3} | options))


def streamed(client: Any, **options: Any) -> tuple[str, list[Any]]:
    chunks = list(ask(client, stream=True, stream_options={"include_usage": True}, **options))
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    return "".join(texts), chunks


def test_models_are_listed_and_found(client):
    assert [model.id for model in client.models.list()] == ["run-7"]
    assert client.models.retrieve("run-7").id == "run-7"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("gpt-9")
    assert error.value.code == "model_not_found"


def test_a_reply_has_all_that_clients_read(client):
    answer = ask(client)
    (choice,) = answer.choices
    assert choice.message.role == "assistant" and choice.message.content.strip() and choice.finish_reason == "stop"
    used = answer.usage
    assert used.prompt_tokens > 20 and 0 < used.completion_tokens <= 30
    assert used.total_tokens == used.prompt_tokens + used.completion_tokens
    assert answer.system_fingerprint not in (None, "unknown") and answer.id.startswith("chatcmpl-")


def test_the_same_seed_gives_the_same_reply_and_others_do_not(client):
    replies = [ask(client, seed=seed, temperature=2.0).choices[0].message.content for seed in (1, 1, 2, 3, 4)]
    assert replies[0] == replies[1] and len(set(replies)) >= 3
    greedy = {ask(client, seed=seed, temperature=0).choices[0].message.content for seed in (1, 2, 3)}
    assert len(greedy) == 1
    assert len({ask(client, seed=None, temperature=2.0).choices[0].message.content for _ in range(6)}) > 1


def test_a_stream_says_the_same_piece_by_piece(client):
    whole = ask(client)
    text, chunks = streamed(client)
    assert text == whole.choices[0].message.content
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 3
    assert chunks[-1].usage == whole.usage and chunks[-2].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


def test_stop_texts_end_a_reply_in_one_piece_and_in_a_stream(client):
    whole = ask(client).choices[0].message.content
    for stop in (whole[4:7], [whole[-3:], whole[2:5]]):
        first = min(whole.find(one) for one in ([stop] if isinstance(stop, str) else stop))
        answer = ask(client, stop=stop)
        assert answer.choices[0].message.content.rstrip() == whole[:first].rstrip()
        assert answer.choices[0].finish_reason == "stop"
        text, chunks = streamed(client, stop=stop)
        assert text == answer.choices[0].message.content and chunks[-1].usage == answer.usage
        assert answer.usage.completion_tokens < ask(client).usage.completion_tokens


def test_a_limit_cuts_a_reply(client):
    for name in ("max_tokens", "max_completion_tokens"):
        answer = ask(client, **{name: 2})
        assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 2


def test_several_replies_differ_and_are_numbered(client):
    answer = ask(client, n=3, temperature=2.0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1
    _, chunks = streamed(client, n=3, temperature=2.0)
    texts = ["", "", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in answer.choices]


def test_a_talk_of_several_turns_in_parts_and_with_a_system_message(client):
    talk = [*TALK, {"role": "assistant", "content": "What is 4 + 8?"}, {"role": "user", "content": "It is 12."}]
    plain = ask(client, messages=talk)
    parts = [message | {"content": [{"type": "text", "text": message["content"]}]} for message in talk]
    assert ask(client, messages=parts).usage == plain.usage
    more = ask(client, messages=[{"role": "system", "content": "Be brief, and patient."}, *talk])
    assert more.usage.prompt_tokens > plain.usage.prompt_tokens
    other = ask(client, extra_body={"problem": PROBLEM + " Say it in one number."}, messages=talk)
    assert other.usage.prompt_tokens > plain.usage.prompt_tokens


async def test_two_at_once_get_what_each_gets_alone(address):
    client = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)

    async def reply(seed: int) -> str:
        answer = await client.chat.completions.create(model="run-7", messages=TALK, seed=seed, temperature=1.5)
        return str(answer.choices[0].message.content)

    alone = [await reply(seed) for seed in range(4)]
    assert await asyncio.gather(*map(reply, range(4))) == alone
    await client.close()


def test_who_leaves_in_the_middle_holds_up_nobody(address, client):
    body = {"model": "run-7", "messages": TALK, "stream": True, "max_tokens": 150, "temperature": 2.0}
    with httpx.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=30) as answer:
        next(answer.iter_lines())
    assert ask(client, max_tokens=3).usage.completion_tokens == 3


@pytest.mark.parametrize(
    ("changes", "status", "param", "code"),
    [
        ({"model": "gpt-9"}, 404, "model", "model_not_found"),
        ({"messages": []}, 400, "messages", "invalid_value"),
        ({"messages": None}, 400, "messages", "invalid_value"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages", "invalid_value"),
        ({"messages": [{"role": "system", "content": "x"}]}, 400, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages", "invalid_value"),
        ({"messages": [{"role": "user", "content": "x " * 3000}]}, 400, "messages", "context_length_exceeded"),
        ({"max_tokens": 10**6}, 400, "messages", "context_length_exceeded"),
        ({"temperature": 3}, 400, "temperature", "invalid_value"),
        ({"top_p": 0}, 400, "top_p", "invalid_value"),
        ({"n": 0}, 400, "n", "invalid_value"),
        ({"stop": ["a"] * 5}, 400, "stop", "invalid_value"),
        ({"stop": ""}, 400, "stop", "invalid_value"),
        ({"seed": "a"}, 400, "seed", "invalid_value"),
        ({"max_tokens": 0}, 400, "max_tokens", "invalid_value"),
        ({"tools": [{"type": "function"}]}, 400, "tools", "unsupported_value"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format", "unsupported_value"),
        ({"logprobs": True}, 400, "logprobs", "unsupported_value"),
        ({"frequency_penalty": 1}, 400, "frequency_penalty", "unsupported_value"),
    ],
)
def test_a_wrong_request_gets_the_apis_own_error(address, changes, status, param, code):
    body = {"model": "run-7", "messages": TALK} | changes
    answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=30)
    error = answer.json()["error"]
    assert answer.status_code == status, error
    assert error["type"] == "invalid_request_error" and error["message"]
    assert (error["param"], error["code"]) == (param, code)


def test_other_addresses_methods_and_bodies(address):
    chat = f"{address}/v1/chat/completions"
    kind = {"content-type": "application/json"}
    deep = "[" * 100_000
    for answer, status in (
        (httpx.get(f"{address}/v1/nothing"), 404),
        (httpx.get(chat), 405),
        (httpx.post(chat, content="{", headers=kind), 400),
        (httpx.post(chat, content=deep, headers=kind), 400),
        (httpx.post(chat, content="[]", headers=kind), 400),
        (httpx.post(chat, content=b"\xff", headers=kind), 400),
        (httpx.post(chat, json={"messages": TALK}), 400),
        (httpx.post(chat, content=b"{}", headers={"content-type": "text/plain"}), 415),
        (httpx.post(chat, json={}, headers={"host": "evil.example"}), 403),
        (httpx.post(f"{address}/scores", json={"id": "none"}), 404),
        (httpx.post(f"{address}/scores", json={}), 400),
    ):
        assert answer.status_code == status, answer.text
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}


def test_harmless_fields_are_left_aside(client):
    assert ask(client, tool_choice="auto", user="me", metadata={"a": "b"}, extra_body={"unknown": 1}).choices


def test_a_served_tutor_says_what_it_says_in_chat(run, client):
    said: list[str] = []
    lines = [TALK[0]["content"], ""]
    chat(run, PROBLEM, read=lambda _: lines.pop(0), write=said.append, allow_files=True)
    seed = stable_seed(config_of(run, allow_files=True).seed, "chat", 0)
    assert f"tutor> {ask(client, seed=seed).choices[0].message.content}" == said[-1]


@pytest.mark.slow
def test_ctrl_c_ends_the_server_while_it_streams(run, tmp_path):
    body = {"model": "run-7", "messages": TALK, "stream": True, "n": 16, "max_tokens": 700, "temperature": 2.0}
    heard: list[list[str]] = []
    with ExitStack() as clients:
        with served(run, log=tmp_path / "log") as address:  # asserts that it ends well
            chat_address = f"{address}/v1/chat/completions"
            answers = [clients.enter_context(httpx.stream("POST", chat_address, json=body)) for _ in range(20)]
            lines = [answer.iter_lines() for answer in answers]
            assert "chatcmpl" in next(lines[0])
            name, _, port = address.removeprefix("http://").partition(":")
            half = clients.enter_context(socket.create_connection((name, int(port))))
            head = f"POST /scores HTTP/1.1\r\nHost: {name}:{port}\r\nContent-Type: application/json\r\n"
            half.sendall(f"{head}Content-Length: 9\r\n\r\n{{".encode())
        for rest in lines:
            heard.append([])
            with suppress(httpx.HTTPError):
                heard[-1] += rest
    assert any("the server is stopping" in line for line in heard[-1]), heard[-1][-3:]


@pytest.mark.slow
def test_chat_on_a_page_opens_the_browser_on_the_runs_first_problem(run, tmp_path, monkeypatch):
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f"#!/bin/sh\necho $1 > {seen}\nsleep 100\n")  # one that runs until it is left
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    with served(run, "--allow-files", log=tmp_path / "log", command=("chat", "--web")) as address:
        first = seeds_of(config_of(run, allow_files=True))[0]
        assert httpx.get(f"{address}/about", timeout=30).json()["problem"] == first.problem
        for _ in range(100):
            if seen.exists() and seen.read_text():
                break
            time.sleep(0.05)
        assert seen.read_text().strip() == address


def test_requests_that_are_cut_or_slow_hold_up_nobody(address, client):
    host = address.removeprefix("http://")
    name, _, port = host.partition(":")
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    opened = []
    for text in ("", "GET", f"{head}Content-Length: 100\r\n\r\n{{", f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\n{{"):
        opened.append(socket.create_connection((name, int(port))))
        opened[-1].sendall(text.encode())
    opened[-1].close()
    assert ask(client).choices
    for connection in opened:
        connection.close()
    assert ask(client).choices


def test_wrong_usage_is_one_message(run, tmp_path, capsys):
    assert main(["serve", str(tmp_path)]) == 1
    assert "expected the directory of a run" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["chat", str(run), "--port", "9"])
    assert stopped.value.code == 2 and "--port goes with --web" in capsys.readouterr().err


def test_the_teacher_scores_the_very_tokens_of_a_reply(address, client):
    answer = ask(client)
    scores = httpx.post(f"{address}/scores", json={"id": answer.id}, timeout=60).json()
    assert len(scores["pieces"]) == len(scores["tutor"]) == len(scores["teacher"]) == answer.usage.completion_tokens
    assert "".join(scores["pieces"]).startswith(answer.choices[0].message.content[:5])
    assert all(value <= 0 for value in scores["tutor"] + scores["teacher"])


def test_the_page_runs_its_own_script_alone(address):
    answer = httpx.get(f"{address}/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert httpx.get(f"{address}/about").json()["problem"] == PROBLEM


def test_a_port_that_is_taken_and_a_run_without_weights(address, run, tmp_path, capsys):
    port = address.rpartition(":")[2]
    assert main(["serve", str(run), "--port", port]) == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="port"):
        serve(run, port=70000)
    empty = tmp_path / "run"
    config = tiny_config(empty)
    empty.mkdir()
    (empty / "config.json").write_text(config.model_dump_json())
    with pytest.raises(CheckpointNotFound, match="no sampler weights yet"):
        serve(empty)
