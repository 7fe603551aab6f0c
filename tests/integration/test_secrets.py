"""No key and no password of the environment or the config is in a file of the run, in its report or in its output."""

import logging
from pathlib import Path
from typing import Any

import pytest

from socratic_distill import SocraticError, open_service, train
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault, status_error

KEY, PASSWORD, OTHER = "tml-0123-planted-key", "planted-password", "planted-token-of-a-tracker"


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("SOME_TRACKER_TOKEN", OTHER)


def quoting(monkeypatch, *calls: str) -> FakeServiceClient:
    """A service that fails calls with an error which quotes the secrets."""
    monkeypatch.setattr(
        Fault, "exception", lambda self: status_error(400, f"key {KEY} or {OTHER} at https://me:{PASSWORD}@host")
    )
    return FakeServiceClient(faults=[Fault(call, nth, 500) for nth, call in enumerate(calls, 3)])


def traces(run: Path, *told: str) -> list[str]:
    """Where a secret is found."""
    texts = {str(path.relative_to(run)): path.read_bytes().decode(errors="replace") for path in run.rglob("*")
             if path.is_file()}  # fmt: skip
    texts |= {f"output {number}": text for number, text in enumerate(told)}
    return [name for name, text in texts.items() if any(secret in text for secret in (KEY, PASSWORD, OTHER))]


def start(config: Any, service: FakeServiceClient) -> str:
    """Trains; gives the error that ended it, as users see it."""
    try:
        train(config, service_client=service, rest_client=FakeRestClient(service))
    except SocraticError as error:
        return f"{error!r} {error}"
    return ""


def test_a_run_keeps_no_secret(make_config, tmp_path, monkeypatch, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    config = make_config(
        write_report=True,
        base_url=f"https://me:{PASSWORD}@host.invalid", display="plain", max_failed_fraction=0.9, eval_every=2,
        eval_seeds=2,
    )  # fmt: skip
    service = quoting(monkeypatch, "sample", "sample", "forward_backward", "save_state")
    assert start(config, service) == ""
    run, out = tmp_path / "run", capfd.readouterr()
    assert (run / "report.html").exists() and "recovery 1 of 3" in out.out
    failed = (run / "dialogues.jsonl").read_text()
    assert "BadRequestError: " in failed and "key … or … at https://…@host" in failed.encode().decode("unicode_escape")
    assert traces(run, out.out, out.err, caplog.text, repr(config), str(config)) == []


def test_an_error_at_the_start_tells_no_secret(make_config, tmp_path, monkeypatch, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    quoting(monkeypatch)
    service = FakeServiceClient(faults=[Fault("create_lora_training_client", 1, 500, 10**6)])
    told = start(make_config(display="plain", write_report=True), service)
    out = capfd.readouterr()
    assert "key … or …" in told
    assert traces(tmp_path / "run", told, out.out, out.err, caplog.text) == []


def test_a_service_that_is_open_does_not_show_its_key(make_config, monkeypatch):
    monkeypatch.setattr("socratic_distill.service.check_health", lambda url: None)
    monkeypatch.setattr("tinker.RestClient", lambda base_url: None)
    assert KEY not in repr(open_service(make_config(base_url="http://127.0.0.1:1")))
