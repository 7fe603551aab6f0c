"""No key and no password of the environment or the config is in a file of the run, in its report or in its output."""

import logging
import shutil
import traceback
from pathlib import Path
from typing import Any

import pytest
from tests.support.on_the_fake import train_on_fake

from socratic_distill import SocraticError, open_service, train
from socratic_distill.cli.script import run_script
from socratic_distill.testing import FakeServiceClient, Fault, status_error

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
        train_on_fake(service, config)
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
    # What the server can do is known: the errors are to meet the run, not its first questions.
    start(config.model_copy(update={"log_path": str(tmp_path / "first"), "max_steps": 1}), FakeServiceClient())
    (tmp_path / "run").mkdir()
    shutil.copy(tmp_path / "first" / "features.json", tmp_path / "run")
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


@pytest.mark.parametrize("call", ["create_lora_training_client", "save_weights_for_sampler", "sample"])
def test_no_secret_is_anywhere_in_the_chain_of_an_error(make_config, monkeypatch, call):
    quoting(monkeypatch)
    service = FakeServiceClient(faults=[Fault(call, 1, 500, 10**6)])
    with pytest.raises(SocraticError) as caught:
        train(make_config(max_recoveries=0), service_client=service)
    error, told = caught.value, "".join(traceback.format_exception(caught.value))
    while error is not None and error.__cause__ is not error:
        told += f"{error!r} {error} {vars(error)}"
        error = error.__cause__ or error.__context__
    assert "BadRequestError" in told
    assert [secret for secret in (KEY, PASSWORD, OTHER) if secret in told] == []


@pytest.mark.parametrize("with_traceback", [False, True])
def test_a_script_shows_no_secret(make_config, monkeypatch, capfd, with_traceback):
    quoting(monkeypatch)
    service = FakeServiceClient(faults=[Fault("create_lora_training_client", 1, 500, 10**6)])

    def main() -> None:
        try:
            train(make_config(), service_client=service)
        except SocraticError as error:
            raise SocraticError(f"in a script of mine: {KEY}") from error

    assert run_script(main, with_traceback=with_traceback) == 1
    told = "".join(capfd.readouterr())
    assert "in a script of mine: …" in told and ("Traceback" in told) == with_traceback
    assert [secret for secret in (KEY, PASSWORD, OTHER) if secret in told] == []


def test_what_the_sdk_logs_shows_no_secret(make_config, caplog):
    train(make_config(max_steps=1), service_client=FakeServiceClient())
    logger = logging.getLogger("tinker.lib.retry_handler")
    try:
        raise ValueError(f"refused {KEY}")
    except ValueError:
        logger.error("Request failed: key %s", KEY, exc_info=True)
    assert "key …" in caplog.text and "refused …" in caplog.text and KEY not in caplog.text


def test_a_service_that_is_open_does_not_show_its_key(make_config, monkeypatch):
    monkeypatch.setattr("socratic_distill.service.connect.check_health", lambda url: None)
    monkeypatch.setattr("tinker.RestClient", lambda base_url: None)
    assert KEY not in repr(open_service(make_config(base_url="http://127.0.0.1:1")))
