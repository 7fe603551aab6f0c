import pytest

from socratic_distill.redaction import redacted, without_user


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("the key tml-abc_DEF.1-2 is unknown", "the key … is unknown"),
        ("no answer at https://me:hidden@host/x", "no answer at https://…@host/x"),
        ("GET /x?write_token=hidden&y=1", "GET /x?write_token=…&y=1"),
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
