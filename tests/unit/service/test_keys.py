"""A key that no request can carry is refused at once, and never shown."""

import json
import os

import pytest
import tinker
from hypothesis import given, strategies as st

from socratic_distill import ConfigError
from socratic_distill.service.keys import check_key, check_key_of

KEY = "tml-planted-key-of-mine"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TINKER_API_KEY", raising=False)
    monkeypatch.delenv("TINKER_CREDENTIAL_CMD", raising=False)
    monkeypatch.setattr("socratic_distill.text._known", set())


CHARACTERS = [
    ("\n", "a line break"), ("\r", "a line break"), (" ", "a blank"), ("\t", "a blank"), ("\x00", "a control"),
    ("\x7f", "a control"), ("\u00e9", "not ASCII"), ("\ufeff", "not ASCII"),
    ("\udc80", "not ASCII"), ("\u200b", "not ASCII"),
]  # fmt: skip


@pytest.mark.parametrize(("character", "kind"), [one for one in CHARACTERS if one[0] != "\x00"])
def test_key_with_a_character_of_no_key_is_refused_unseen(monkeypatch, character, kind):
    monkeypatch.setenv("TINKER_API_KEY", f"{KEY}{character}and-more")
    with pytest.raises(ConfigError, match=f"TINKER_API_KEY holds a key whose character 24 of 32 is {kind}") as caught:
        check_key()
    assert "planted" not in str(caught.value) and "and-more" not in str(caught.value)


@pytest.mark.parametrize("around", [("", "\n"), (" ", "\r\n"), ("\t ", "")])
def test_white_space_around_a_key_is_taken_off_with_a_notice(monkeypatch, caplog, around):
    monkeypatch.setenv("TINKER_API_KEY", around[0] + KEY + around[1])
    check_key()
    assert os.environ["TINKER_API_KEY"] == KEY
    assert "white space around the key is left out" in caplog.text and KEY not in caplog.text
    caplog.clear()
    check_key()
    assert caplog.text == "", "there is nothing to tell a second time"


def test_key_of_white_space_alone_is_none(monkeypatch):
    monkeypatch.setenv("TINKER_API_KEY", " \n")
    with pytest.raises(ConfigError, match="there is no key"):
        check_key()
    assert "TINKER_API_KEY" not in os.environ, "the SDK would take the empty text for a key"


@given(key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_every_key_of_visible_characters_is_taken(key):
    before = os.environ.get("TINKER_API_KEY")
    os.environ["TINKER_API_KEY"] = key
    try:
        check_key()
        assert os.environ["TINKER_API_KEY"] == key
    finally:
        os.environ.pop("TINKER_API_KEY") if before is None else os.environ.update(TINKER_API_KEY=before)


def store(home, key):
    (home / ".tinker").mkdir()
    stored = {"version": 1, "default": "mine", "keys": {"mine": {"type": "manual", "key": key, "name": "mine"}}}
    (home / ".tinker" / "credentials.json").write_text(json.dumps(stored))


@pytest.mark.parametrize(("character", "kind"), CHARACTERS[:7])
def test_stored_key_is_looked_at_too(tmp_path, character, kind):
    store(tmp_path, f"{KEY}{character}")
    with pytest.raises(
        ConfigError, match=rf"credentials.json holds a key whose character 24 of 24 is {kind}"
    ) as caught:
        check_key()
    assert "planted" not in str(caught.value)


def test_stored_key_in_order_is_taken_and_shown_nowhere(tmp_path):
    from socratic_distill.text import redacted

    store(tmp_path, "eyJ.stored.secret")
    check_key()
    assert redacted("refused eyJ.stored.secret") == "refused …"


def test_credentials_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / ".tinker").mkdir()
    (tmp_path / ".tinker" / "credentials.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read; write it anew"):
        check_key()


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY} {KEY}"])
def test_key_that_a_client_was_made_with_is_looked_at(key):
    with pytest.raises(ConfigError, match="the api_key of the service_client holds a key") as caught:
        check_key_of(tinker.ServiceClient(api_key=key))
    assert "planted" not in str(caught.value)


def test_client_without_a_key_of_its_own_takes_that_of_the_environment(monkeypatch):
    client = tinker.ServiceClient()
    with pytest.raises(ConfigError, match="there is no key"):
        check_key_of(client)
    monkeypatch.setenv("TINKER_API_KEY", f"{KEY}\n")
    check_key_of(client)
    assert os.environ["TINKER_API_KEY"] == KEY
