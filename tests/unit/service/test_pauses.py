import asyncio
import logging

import pytest

from socratic_distill.outputs.progress import Progress
from socratic_distill.service.pauses import Pauses

BILLING = "The job is paused due to billing status. Error: 402 of tml-secret"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def heard():
    """What is said while the SDK's log is listened to."""
    said, clock = [], Clock()
    pauses = Pauses(said.append, clock)
    pauses.watch()
    yield said, clock, pauses
    pauses.close()
    assert not any(type(one).__module__ == Pauses.__module__ for one in logging.getLogger("tinker").handlers)


def log(message: str, level: int = logging.WARNING) -> None:
    logging.getLogger("tinker.lib.internal_client_holder").log(level, message)


def test_a_pause_is_said_once_and_how_long_it_lasted(heard):
    said, clock, pauses = heard
    for _ in range(4):
        log(BILLING)
        clock.now += 60
    assert said == ["the service pauses, and the SDK waits until it goes on: " + BILLING.replace("tml-secret", "…")]
    clock.now += 5
    pauses.over()
    pauses.over()
    assert said[1:] == ["the service went on after 4:05: " + BILLING.replace("tml-secret", "…")]


def test_a_long_pause_is_said_again_every_five_minutes(heard):
    said, clock, _ = heard
    for _ in range(12):
        log("Sampling is paused for sampler abc. Reason: concurrent sampler weights limit hit")
        clock.now += 60
    assert [line.partition(":")[0] for line in said] == [
        "the service pauses, and the SDK waits until it goes on",
        "still paused after 5",
        "still paused after 10",
    ]


def test_a_message_that_counts_is_one_pause(heard):
    said, _, _ = heard
    log("Session heartbeat failed for 130.1 seconds for session a.")
    log("Session heartbeat failed for 140.2 seconds for session a.")
    assert len(said) == 1


def test_another_pause_is_said_beside_the_first(heard):
    said, _, _ = heard
    log(BILLING)
    log("Training for model-1 is paused. Reason: Tinker backend is running short on capacity, please wait.")
    assert len(said) == 2 and "capacity" in said[1]


def test_other_warnings_of_the_sdk_go_where_they_went(heard, capsys, monkeypatch):
    said, _, _ = heard
    monkeypatch.setattr(logging.getLogger("tinker"), "propagate", False)  # pytest's own handlers are on the root
    log("Failed to close Tinker HTTP client")
    log("nobody asked", logging.INFO)
    assert not said and capsys.readouterr().err == "Failed to close Tinker HTTP client\n"


def test_other_warnings_are_left_to_a_handler_that_the_program_set_up(heard, caplog, capsys):
    log("Failed to close Tinker HTTP client")
    assert caplog.messages == ["Failed to close Tinker HTTP client"] and capsys.readouterr().err == ""


@pytest.mark.parametrize(("display", "count"), [("plain", 2), ("off", 0)])
def test_a_run_shows_pauses_and_their_end_where_it_shows_anything(make_config, capsys, display, count):
    async def run() -> None:
        async with Progress(make_config(display=display)) as progress:
            log(BILLING)
            progress.step(1, 2, {"step": 0})
            log("Failed to close Tinker HTTP client")
        log(BILLING)

    asyncio.run(run())
    told = capsys.readouterr().out
    assert told.count("the service pauses") + told.count("the service went on after 0:00") == count
    assert "tml-secret" not in told and "Failed to close" not in told
