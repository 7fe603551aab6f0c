import json
import traceback
from typing import Any

import pytest
from hypothesis import given, strategies as st
from pydantic import ValidationError

from socratic_distill import ConfigError, SocraticConfig
from socratic_distill.config.parts import Judge, Recordings, Teacher
from socratic_distill.in_process import status_error
from socratic_distill.run.state_paths import resolve_state_path
from socratic_distill.text import redacted, refuse_secrets, remember, without_secrets, without_user


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("the key tml-abc_DEF.1-2 is unknown", "the key … is unknown"),
        ("no answer at https://me:hidden@host/x", "no answer at https://…@host/x"),
        ("GET /x?write_token=hidden&y=1", "GET /x?write_token=…&y=1"),
        ("s3://AKIA:hid/den@bucket/run is gone", "s3://…@bucket/run is gone"),
        ("s3:/AKIA:hidden@bucket/run", "s3:/…@bucket/run"),
        ("https://host/x?X-Amz-Signature=hidden&y=1#sig=hidden", "https://host/x?X-Amz-Signature=…&y=1#sig=…"),
        ("http://host:8000/a@b and max_tokens=12", "http://host:8000/a@b and max_tokens=12"),
        ("the longer one: sesame-sesame-2, the shorter: sesame-sesame", "the longer one: …, the shorter: …"),
        ("nothing to hide: short", "nothing to hide: short"),
    ],
)
def test_keys_and_passwords_are_left_out(monkeypatch, text, told):
    monkeypatch.setenv("SOME_API_KEY", "sesame-sesame")
    monkeypatch.setenv("some_secret", "sesame-sesame-2")
    monkeypatch.setenv("TINY_TOKEN", "short")
    monkeypatch.setenv("TOKENIZERS_DIRECTORY", "nothing to hide")
    assert redacted(text) == told


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://me:p@ss@host:8000/api", "https://host:8000/api"),
        ("http://host/a@b", "http://host/a@b"),
        ("local", "local"),
    ],
)
def test_url_is_left_without_its_user(url, plain):
    assert without_user(url) == plain


def test_config_keeps_no_password_of_its_base_url(make_config, caplog):
    config = make_config(base_url="http://me:hidden@127.0.0.1:8104/api")
    assert config.base_url == "http://127.0.0.1:8104/api"
    assert "left out" in caplog.text and "hidden" not in caplog.text + repr(config) + config.model_dump_json()


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch):
    monkeypatch.setattr("socratic_distill.text._known", set())


SECRET = "planted-secret/of+mine"
WITH_SECRET = (
    f"s3://AKIAPLANTED:{SECRET}@bucket/run", f"s3:/AKIAPLANTED:{SECRET}@bucket/run", f"https://{SECRET[:14]}@host/run",
    f"abfs://me:{SECRET}@account/run", f"https://host/run?sig={SECRET}", f"s3://bucket/run?a=1&access_token={SECRET}",
)  # fmt: skip


def paths_and_urls() -> dict[str, Any]:
    """Every field that may hold a path or URL, from a text to the value given for it."""
    of_itself = (
        "log_path", "load_checkpoint_path", "seeds_file", "teacher_checkpoint_path", "tutor_prompt_file",
        "student_prompt_file", "teacher_prompt_file", "tutor_model_name", "student_model_name", "teacher_model_name",
        "tracker_project", "tracker_name", "tutor_chat_template_file", "student_chat_template_file",
        "teacher_chat_template_file",
    )  # fmt: skip
    fields: dict[str, Any] = {name: lambda text: text for name in of_itself}
    return fields | {
        "seeds_files": lambda text: [(text, None)],
        "recordings": lambda text: {"files": [text]},
        "judge": lambda text: {"model_name": "judge", "prompt_file": text},
        "teachers": lambda text: [{"name": "one", "checkpoint_path": text}],
    }


def spread(error: BaseException | None) -> str:
    """All that an error and those that it came from say, with what Python would print of them."""
    texts, seen = [], set[int]()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            texts += [str(one), repr(one), repr(one.args), "".join(traceback.format_exception(one)), repr(vars(one))]
            waiting += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return "\n".join(texts)


@pytest.mark.parametrize("url", WITH_SECRET)
@pytest.mark.parametrize("field", paths_and_urls())
def test_a_url_with_a_secret_is_refused_in_every_field(make_config, caplog, field, url):
    with pytest.raises(ConfigError, match="without a user, password") as caught:
        make_config(**{"seeds_file": None, field: paths_and_urls()[field](url)})
    assert SECRET[:14] not in spread(caught.value) + caplog.text and field in str(caught.value)


def test_every_path_field_of_a_config_is_looked_at():
    found = {name for name, field in SocraticConfig.model_fields.items() if name.endswith(("_file", "_path", "_files"))}
    assert found <= set(paths_and_urls())


@pytest.mark.parametrize("url", WITH_SECRET)
def test_parts_and_pydantics_own_error_show_no_secret(url):
    for build in (
        lambda: Judge(model_name="judge", prompt_file=url),
        lambda: Recordings(files=(url,)),
        lambda: Teacher(name="one", checkpoint_path=url),
        lambda: Teacher(name="one", lag_steps=1, prompt_file=url, weight=-1.0),
    ):
        with pytest.raises(ConfigError) as caught:
            build()
        assert SECRET[:14] not in spread(caught.value)
    with pytest.raises((ConfigError, ValidationError)) as caught:
        SocraticConfig.model_validate_json(json.dumps({"log_path": url}))
    assert SECRET[:14] not in spread(caught.value)


@pytest.mark.parametrize("url", WITH_SECRET)
def test_resolving_a_state_refuses_a_secret_unseen(url):
    with pytest.raises(Exception, match="without a user, password") as caught:
        resolve_state_path(url)
    assert SECRET[:14] not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["tinker://a:train:0/weights/000020", "s3://bucket/runs/run-001", "abfs://container@account/run",
            "runs/me@home:8/run", "http://host:8000/a@b", "C:/me@home", "hf/name:peft:262144"]
)  # fmt: skip
def test_a_path_or_url_without_a_secret_is_taken(url):
    assert refuse_secrets(url) == url


def test_base_url_with_a_token_in_its_query_is_refused(make_config):
    with pytest.raises(ConfigError) as caught:
        make_config(base_url=f"https://host/api?token={SECRET}")
    assert SECRET not in spread(caught.value)


class Odd(Exception):
    """An error whose text does not follow from its arguments."""

    def __str__(self) -> str:
        return f"answer: key {SECRET}"


def chain(*links: str) -> Exception:
    """An error that came from others, each in one way."""
    error: Exception = Odd()
    for link in links:
        outer: Exception = {
            "status": lambda inner: status_error(400, f"refused {SECRET}"),
        }.get(link, lambda inner: ValueError(f"failed with {SECRET}", {"detail": [SECRET]}))(error)
        if link == "context":
            outer.__context__ = error
        else:
            outer.__cause__ = error
        error = outer
    return error


@given(st.lists(st.sampled_from(["cause", "context", "status"]), max_size=5))
def test_an_errors_whole_chain_is_cleaned(links):
    remember(SECRET)
    cleaned = without_secrets(chain(*links))
    assert SECRET not in spread(cleaned)
    assert getattr(cleaned, "status_code", None) == (400 if links and links[-1] == "status" else None)


def test_members_of_a_group_are_cleaned():
    remember(SECRET)
    cleaned = without_secrets(ExceptionGroup("several", [ValueError(SECRET), OSError(2, "no", f"/x/{SECRET}")]))
    assert SECRET not in spread(cleaned)


def test_errors_that_come_from_each_other_are_cleaned():
    remember(SECRET)
    one, other = ValueError(SECRET), ValueError(f"more {SECRET}")
    one.__cause__, other.__cause__ = other, one
    assert SECRET not in spread(without_secrets(one)) and one.__cause__ is other
