"""How often a run may lose its clients: losses in a row are limited, losses with progress between them are not."""

import pytest

from socratic_distill.errors import ServiceError, TrainingError
from socratic_distill.in_process import status_error
from socratic_distill.service.failures import failure
from socratic_distill.training.recovery import Recoveries


class Listener:
    """A display that keeps what it is told."""

    def __init__(self):
        self.told: list[str] = []

    def say(self, text):
        self.told.append(text)

    def step(self, done, total, metrics):
        raise AssertionError("a recovery is no step")

    def close(self):
        raise AssertionError("a recovery does not end the run")


@pytest.fixture
def listener():
    return Listener()


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_losses_up_to_the_limit_are_recovered_and_the_next_is_raised(listener, limit):
    recoveries = Recoveries(limit, listener, lambda: True)
    errors = [TrainingError(f"loss {number}") for number in range(limit + 1)]
    for error in errors[:-1]:
        recoveries.count(error)
    with pytest.raises(TrainingError) as raised:
        recoveries.count(errors[-1])
    assert raised.value is errors[-1], "the error that ends the run is the last one, as it was"
    assert recoveries.metrics() == {"recovery/count": limit}, "the loss that ended the run was not recovered from"


def test_a_new_step_lets_as_many_losses_through_again(listener):
    recoveries = Recoveries(2, listener, lambda: True)
    for step in range(10):
        recoveries.count(TrainingError("lost"))
        recoveries.count(TrainingError("lost"))
        recoveries.passed(step)
    assert recoveries.metrics() == {"recovery/count": 20}


def test_a_step_that_is_only_done_again_does_not_count_as_progress(listener):
    """What fails at step 5 whenever it is reached must end, though steps 3 and 4 are repeated each time."""
    recoveries = Recoveries(2, listener, lambda: True)
    for step in range(5):
        recoveries.passed(step)
    for _ in range(2):
        recoveries.count(TrainingError("lost at 5"))
        recoveries.passed(3)
        recoveries.passed(4)
    with pytest.raises(TrainingError):
        recoveries.count(TrainingError("lost at 5"))


def test_only_a_step_past_the_furthest_one_counts_as_progress(listener):
    """Wherever the process began."""
    recoveries = Recoveries(1, listener, lambda: True)
    recoveries.count(TrainingError("lost"))
    recoveries.passed(40)
    recoveries.count(TrainingError("lost"))
    recoveries.passed(40)
    with pytest.raises(TrainingError):
        recoveries.count(TrainingError("lost"))
    recoveries.passed(41)
    recoveries.count(TrainingError("lost"))
    assert recoveries.metrics() == {"recovery/count": 3}


def test_each_recovery_is_told_and_logged_with_its_number_and_reason(listener, caplog):
    recoveries = Recoveries(3, listener, lambda: True)
    recoveries.count(TrainingError("no connection"))
    recoveries.count(TrainingError("poisoned"))
    recoveries.passed(0)
    recoveries.count(TrainingError("late"))
    expected = [("1 of 3", "no connection"), ("2 of 3", "poisoned"), ("1 of 3", "late")]
    assert len(listener.told) == len(caplog.messages) == 3
    for told, logged, (number, reason) in zip(listener.told, caplog.messages, expected, strict=True):
        assert f"recovery {number}" in told and reason in told
        assert logged == told


def test_without_a_loss_nothing_is_told(listener, caplog):
    recoveries = Recoveries(0, listener, lambda: True)
    for step in range(3):
        recoveries.passed(step)
    assert recoveries.metrics() == {"recovery/count": 0}
    assert listener.told == [] and caplog.messages == []


def lost(status: int, words: str = "rank is too high") -> TrainingError:
    """Clients lost by an answer of the service."""
    try:
        raise failure("a step", cause := status_error(status, words)) from cause
    except TrainingError as error:
        return error


@pytest.mark.parametrize("status", [400, 404, 422])
def test_what_the_service_refuses_again_ends_with_its_words(listener, status):
    recoveries = Recoveries(3, listener, lambda: True)
    recoveries.count(lost(status))
    with pytest.raises(ServiceError, match="rank is too high") as raised:
        recoveries.count(lost(status))
    assert type(raised.value) is ServiceError and len(listener.told) == 1
    assert raised.value.__cause__ is not None, "the service's error is its cause"


@pytest.mark.parametrize("status", [400, 404, 422])
def test_what_the_service_refuses_before_any_state_ends_at_once(listener, status):
    with pytest.raises(ServiceError, match="rank is too high") as raised:
        Recoveries(3, listener, lambda: False).count(lost(status))
    assert type(raised.value) is ServiceError and listener.told == []


def test_a_refusal_after_progress_is_a_first_one_again(listener):
    recoveries = Recoveries(3, listener, lambda: True)
    for step in range(5):
        recoveries.count(lost(400))
        recoveries.passed(step)
    assert recoveries.metrics() == {"recovery/count": 5}


@pytest.mark.parametrize("error", [lost(500), lost(409), lost(429), lost(404, "model abc is not loaded")])
def test_what_new_clients_may_mend_is_tried_without_a_state_too(listener, error):
    recoveries = Recoveries(2, listener, lambda: False)
    recoveries.count(error)
    recoveries.count(error)
    assert all("starting again, with no state saved yet" in told for told in listener.told)
    with pytest.raises(TrainingError):
        recoveries.count(error)
