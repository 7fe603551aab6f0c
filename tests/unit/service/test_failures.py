import pytest
import tinker

from socratic_distill import ConfigError, ServiceError, TrainingError
from socratic_distill.in_process import status_error
from socratic_distill.service.failures import describe, failure, is_missing, status_of


def polled(status: int, text: str = "refused") -> ValueError:
    """As the SDK raises an answer's refusal while it waits for it."""
    try:
        raise ValueError(f"Error retrieving result: {text} with status {status}") from status_error(status, text)
    except ValueError as error:
        return error


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "TINKER_API_KEY"), (402, "cannot be billed"), (403, "account's rights")]
)
@pytest.mark.parametrize("raised", [status_error, polled])
def test_a_refusal_that_stays_is_a_stop_with_advice(status, advice, raised):
    error = failure("opening the teacher", raised(status, "refused"))
    assert type(error) is ServiceError
    assert str(error).startswith("opening the teacher failed on the service: ") and advice in str(error)


@pytest.mark.parametrize("error", [status_error(500, "down"), polled(404), RuntimeError("lost"), TimeoutError()])
def test_anything_else_may_be_mended_by_new_clients(error):
    assert isinstance(failure("a step", error), TrainingError)


def test_an_error_of_ours_stays_what_it_is():
    error = ConfigError("mine")
    assert failure("a step", error) is error


def test_what_is_missing_is_told_by_the_status_however_it_is_raised():
    assert is_missing(status_error(404, "gone")) and is_missing(polled(404))
    assert (
        not is_missing(status_error(400, "bad")) and not is_missing(polled(400)) and not is_missing(ValueError("404"))
    )
    assert (
        status_of(tinker.RequestFailedError("no", request_id="1", category=tinker.types.RequestErrorCategory.User))
        is None
    )


@pytest.mark.parametrize(
    ("text", "is_too_long"),
    [
        ("prompt of 40000 tokens exceeds the model's context", True),
        ("This model's maximum context length is 4096", True),
        ("input is too long", True),
        ("max_tokens must be positive", False),
        ("unknown base model", False),
    ],
)
def test_a_request_that_no_context_holds_comes_with_what_to_lower(text, is_too_long):
    assert ("max_context_tokens" in describe(status_error(400, text))) is is_too_long
    assert "max_context_tokens" not in describe(status_error(500, text))


def test_a_key_that_the_service_quotes_is_not_told(monkeypatch):
    monkeypatch.setenv("TINKER_API_KEY", "eyJsecret-of-mine")
    for text in ("bad key tml-secret", "bad key eyJsecret-of-mine"):
        told = str(failure("opening", status_error(401, text)))
        assert "secret" not in told and "bad key …" in told
