"""What becomes of an error of the service: a stop with advice, a lost client, or a save to try again."""

import re

from socratic_distill.errors import ServiceError, SocraticError, TrainingError
from socratic_distill.text import redacted, without_secrets

_ADVICE = {
    401: "the service does not accept the key: set TINKER_API_KEY, then start the same script again to go on",
    402: "the account cannot be billed: mend that with the service, then start the same script again to go on",
    403: "the key may not do this: check the account's rights, then start the same script again to go on",
}
# How servers say that a request is too long for a model.
_TOO_LONG = re.compile(r"(?is)\b(context|sequence|prompt|input)\b.*\b(length|long|exceed\w*|window)\b")
# How servers say that they were restarted since a model was made.
_FORGOTTEN = re.compile(r"\bmodel\b.*\bnot loaded\b", re.IGNORECASE)


def failure(what: str, error: Exception) -> SocraticError:
    """An error of the service as one of ours.

    `TrainingError` is one that reopening the clients may mend. What the service refuses for a reason that
    stays (no key, no money, no right) is a plain `ServiceError`; errors of ours stay what they are.

    Args:
        what: what failed, as the beginning of a sentence.
        error: as the SDK, or an object with its interface, raised it.
    """
    if isinstance(error, SocraticError):
        return error
    without_secrets(error)  # it is the cause of ours, and a traceback shows it
    advice = _ADVICE.get(status_of(error) or 0)
    told = f"{what} failed on the service: {describe(error)}. Nothing after it was recorded."
    if advice is not None:
        return ServiceError(f"{told} {advice[0].upper()}{advice[1:]}")
    if _is_refused(error):
        return TrainingError(f"{told} Change what the service refuses, then start the same script again to go on")
    return TrainingError(f"{told} Start the same script again to go on")


def is_refusal(error: TrainingError) -> bool:
    """Whether clients were lost since the service refused a request, as it does again whenever it is asked.

    It does not where it forgot a model that it trained, which new clients mend.

    Args:
        error: as `failure` made it, raised from the service's.
    """
    return isinstance(error.__cause__, Exception) and _is_refused(error.__cause__)


def _is_refused(error: Exception) -> bool:
    return status_of(error) in (400, 404, 422) and not is_forgotten(str(error))


def describe(error: Exception) -> str:
    """An error in a line, without keys; says what to do about a request that a model's context does not hold."""
    told = redacted(f"{type(error).__name__}: {error}")
    if status_of(error) in (400, 422) and _TOO_LONG.search(told):
        return f"{told} (lower max_tokens, student_max_tokens or max_turns, or set max_context_tokens)"
    return told


def status_of(error: Exception) -> int | None:
    """The HTTP status of an error; None where it has none.

    While it waits for an answer, the SDK raises a plain ValueError from the error that has the status.
    """
    for one in (error, error.__cause__):
        status = getattr(one, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def is_answer(error: Exception) -> bool:
    """Whether the service took a request and answered that it failed, so that its client is as good as before.

    Anything else may have left a hole in the client's row of requests, behind which no answer ever comes.
    """
    import tinker

    return isinstance(error, tinker.RequestFailedError)


def is_missing(error: Exception) -> bool:
    """Whether the service says that there is no such thing."""
    return status_of(error) == 404


def is_forgotten(told: str) -> bool:
    """Whether an error says that the service no longer holds a model that it trained, as after its restart.

    Args:
        told: the error, as a dialogue records it.
    """
    return _FORGOTTEN.search(told) is not None
