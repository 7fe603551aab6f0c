"""What the service says that a run was billed, beside what the run counted."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import tinker
from tests.support.on_the_fake import small_config, train_on_fake
from tinker.types import BillingUsageResponse

from socratic_distill import ConfigError, ServiceError, UntrustedConfig
from socratic_distill.cli import main
from socratic_distill.cost import billed as billed_module
from socratic_distill.cost.billed import Span, add_up, ask_billed, counted, span_of
from socratic_distill.errors import StartError
from socratic_distill.in_process import ServiceFuture, status_error
from socratic_distill.run.directory import load_config
from socratic_distill.service import connect
from socratic_distill.testing import FakeServiceClient

SEEDS = Path(__file__).parents[2] / "data_samples" / "own.jsonl"
HOUR = datetime(2026, 11, 1, 10, tzinfo=UTC)
SESSION = "fake-0001"


def event(info, session: str | None = SESSION, usd: float | None = 1.0, model="small"):
    hours = {"bucket_start": HOUR, "bucket_end": HOUR + timedelta(hours=1)}
    return {**hours, "base_model": model, "session_id": session, "estimated_cost_usd": usd, "event_info": info}


EVENTS = [
    event({"type": "training", "token_count": 100}),
    event({"type": "training", "token_count": 20}, usd=None),
    event({"type": "sampling_prefill", "cached": True, "token_count": 7}, usd=0.25),
    event({"type": "sampling_prefill", "cached": False, "token_count": 5}, usd=0.5),
    event({"type": "sampling_sample", "token_count": 3}, model="pupil", usd=0.125),
    event({"type": "sampling_sample", "token_count": 9}, session="another", usd=40.0),
    event({"type": "checkpoint", "count": 2}, usd=None),
    event({"type": "storage", "gigabyte_hours": 2.0}, session=None, usd=0.75),
]


class FakeAdminClient:
    """Answers every request with these events, or with an error."""

    def __init__(self, events=EVENTS, error=None):
        self.events, self.error, self.asked = events, error, []

    def get_billing_usage(self, starting_on, ending_before):
        self.asked.append((starting_on, ending_before))
        if self.error is not None:
            raise self.error
        return ServiceFuture.of(BillingUsageResponse.model_validate({"data": self.events}))


@pytest.fixture
def admin(monkeypatch):
    """Puts an admin client in place of the SDK's, behind all checks but that of the server's health."""

    def put(client):
        monkeypatch.setenv("TINKER_API_KEY", "tml-test")
        monkeypatch.setattr(connect, "check_health", lambda url: None)
        monkeypatch.setattr(tinker, "AdminClient", lambda base_url: client)
        return client

    return put


@pytest.fixture
def run(tmp_path):
    config = small_config(tmp_path, max_steps=2, seeds_file=SEEDS, write_report=False)
    train_on_fake(FakeServiceClient(), config)
    return config


def test_figures_are_of_the_runs_sessions_and_name_the_rest():
    billed = add_up(BillingUsageResponse.model_validate({"data": EVENTS}).data, frozenset({SESSION}))
    found = {key: (amount.tokens, amount.usd, amount.unpriced) for key, amount in billed.of_run.items()}
    assert found == {
        ("train", "small"): (120, 1.0, 20),
        ("cached_prefill", "small"): (7, 0.25, 0),
        ("prefill", "small"): (5, 0.5, 0),
        ("sample", "pupil"): (3, 0.125, 0),
    }
    assert (billed.others_usd, billed.others, billed.storage_usd) == (40.0, 1, 0.75)


def test_a_runs_saves_tell_its_hours_and_sessions(run):
    span = span_of(Path(run.log_path))
    assert span.sessions == {SESSION} and span.end - span.start in (timedelta(hours=1), timedelta(hours=2))
    assert span.start.minute == span.start.second == 0 and span.start <= datetime.now(UTC) <= span.end
    assert counted(Path(run.log_path))["train"] > 0


def test_a_directory_without_saves_is_refused(tmp_path):
    with pytest.raises(StartError, match="does not say when the run used the service"):
        span_of(tmp_path)


def test_long_runs_are_asked_for_in_windows_of_14_days(admin, run):
    client = admin(FakeAdminClient(events=[]))
    ask_billed(run, Span(HOUR, HOUR + timedelta(days=30), frozenset()))
    lengths = [end - start for start, end in client.asked]
    assert lengths == [timedelta(days=14), timedelta(days=14), timedelta(days=2)]


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "needs the role of an admin or billing admin"),
        (404, "does not say what was billed"),
        (501, "does not say"),
    ],
)
def test_a_server_without_these_figures_gives_an_error_of_ours(admin, run, status, message):
    if status == 501:
        request = httpx.Request("GET", "http://x")
        error = tinker.InternalServerError("no", response=httpx.Response(501, request=request), body=None)
    else:
        error = status_error(status, "no")
    admin(FakeAdminClient(error=error))
    with pytest.raises(ServiceError, match=message):
        ask_billed(run, span_of(Path(run.log_path)))


def test_a_server_that_never_answers_is_given_up(admin, run, monkeypatch):
    monkeypatch.setattr(billed_module, "_ANSWER_SECONDS", 0.01)
    admin(SimpleNamespace(get_billing_usage=lambda start, end: asyncio.sleep(60)))
    with pytest.raises(ServiceError, match="did not say within"):
        ask_billed(run, span_of(Path(run.log_path)))


def test_the_key_goes_only_to_a_server_that_the_user_named(admin, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    client = admin(FakeAdminClient())
    config = small_config(tmp_path, base_url="http://elsewhere:8000", max_steps=1, seeds_file=SEEDS, write_report=False)
    train_on_fake(FakeServiceClient(), config)
    with pytest.raises(UntrustedConfig, match="--base-url"):
        ask_billed(load_config(config.log_path, allow_files=True), span_of(Path(config.log_path)))
    assert client.asked == []


def test_a_run_on_this_machine_is_not_billed(tmp_path):
    config = small_config(tmp_path, base_url="local")
    with pytest.raises(ConfigError, match="is not billed"):
        ask_billed(config, Span(HOUR, HOUR, frozenset()))


def test_the_command_prints_both_figures(admin, run, capsys):
    client = admin(FakeAdminClient())
    assert main(["cost", str(run.log_path), "--actual", "--allow-files"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert len(client.asked) == 1
    assert "1.8750 USD. Estimated here:" in printed and "20 tokens have no price" in printed
    assert "40.0000 USD of the organization's 1 other sessions" in printed


def test_the_command_says_that_the_service_has_no_figures_yet(admin, run, capsys):
    admin(FakeAdminClient(events=[]))
    assert main(["cost", str(run.log_path), "--actual", "--allow-files"]) == 0
    assert "The service has no figures of these sessions" in " ".join(capsys.readouterr().out.split())


def test_the_command_says_once_which_model_has_no_price(run, capsys):
    assert main(["cost", str(run.log_path), "--allow-files"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("No price is known for pupil, small: the cost is not estimated. Set prices={'pupil': {") == 1


def test_a_run_says_once_which_model_has_no_price(tmp_path, capsys):
    config = small_config(tmp_path, max_steps=2, seeds_file=SEEDS, write_report=False, display="plain")
    train_on_fake(FakeServiceClient(), config)
    assert "".join(capsys.readouterr()).count("no price is known for pupil, small") == 1
