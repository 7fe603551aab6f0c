"""Turns an error of the service into one of ours: a stop with advice, a lost client, or a save to try again."""

import re
from importlib.metadata import version

from socratic_distill.errors import ServiceError, SocraticError, TrainingError, UnsupportedServer
from socratic_distill.text import redacted, without_secrets

_ADVICE = {
    401: "the service does not accept the key: set TINKER_API_KEY, then start the same script again to go on",
    402: "the account cannot be billed: settle that with the service, then start the same script again to go on",
    403: "the key may not do this: check the account's rights, then start the same script again to go on",
}
# How servers say that a request is too long for a model.
_TOO_LONG = re.compile(r"(?is)\b(context|sequence|prompt|input)\b.*\b(length|long|exceed\w*|window)\b")
# How servers say that they lost a model in a restart.
_FORGOTTEN = re.compile(r"\bmodel\b.*\bnot loaded\b", re.IGNORECASE)
# How it shows that a server speaks an older revision of the API than the SDK, and what it then lacks.
_OLDER = {
    "extra_forbidden": "it refuses fields that the SDK sends",
    "sample_sequence_ids": "it promises replies without the ids that the SDK reads",
    "only supports as proto": "it answers in JSON where the SDK reads protobuf",
    "APIResponseValidationError": "its answer is not what the SDK reads",
}
_KNOWN_TO_WORK = (
    "SkyRL 0.4.0 and TuFT 0.2.2 are known to work with the bridges that docs/guides/hosted-service.md describes, and "
    "not as released"
)


def failure(what: str, error: Exception) -> SocraticError:
    """An error of the service as one of ours.

    A `TrainingError` may go away when the clients are reopened. A refusal for a permanent reason (no key, no money, no
    right) is a plain `ServiceError`. Errors of ours stay what they are.

    Args:
        what: what failed, as the subject of a sentence.
        error: as the SDK, or an object with its interface, raised it.
    """
    if isinstance(error, SocraticError):
        return error
    without_secrets(error)  # a traceback shows it as the cause of ours
    if (lack := _lack_of_an_older(error)) is not None:
        return UnsupportedServer(
            f"{what} failed: the server speaks an older revision of the Tinker API than this SDK (tinker "
            f"{version('tinker')}): {lack} ({describe(error)}). {_KNOWN_TO_WORK}"
        )
    advice = _ADVICE.get(status_of(error) or 0)
    message = f"{what} failed on the service: {describe(error)}. Nothing after it was recorded."
    if advice is not None:
        return ServiceError(f"{message} {advice[0].upper()}{advice[1:]}")
    if _is_refused(error):
        return TrainingError(f"{message} Change what the service refuses, then start the same script again to go on")
    return TrainingError(f"{message} Start the same script again to go on")


def _lack_of_an_older(error: Exception) -> str | None:
    """What the server of an older revision of the API lacks; None where an error does not show such a server."""
    text = f"{type(error).__name__}: {error}"
    sign_of_age = next((sign for sign in _OLDER if sign in text), None)
    # A text field may hold any word: 422 is how servers refuse a field of the request itself.
    if sign_of_age is None or (sign_of_age == "extra_forbidden" and status_of(error) != 422):
        return None
    return _OLDER[sign_of_age]


def shows_older_api(text: str) -> bool:
    """Whether an error shows that the server speaks an older revision of the API than the SDK.

    Args:
        text: the error, as the SDK logs it.
    """
    return any(sign in text for sign in _OLDER)


def is_refusal(error: TrainingError) -> bool:
    """Whether clients were lost because the service refused a request, and would refuse it again.

    A model that the service forgot is no refusal: new clients open it again.

    Args:
        error: as `failure` made it, with the service's error as its cause.
    """
    return isinstance(error.__cause__, Exception) and _is_refused(error.__cause__)


def _is_refused(error: Exception) -> bool:
    return status_of(error) in (400, 404, 422) and not is_forgotten(str(error))


def describe(error: Exception) -> str:
    """An error in one line, without keys; with advice for a request that is too long for a model's context."""
    line = redacted(f"{type(error).__name__}: {error}")
    if status_of(error) in (400, 422) and _TOO_LONG.search(line):
        return f"{line} (lower max_tokens, student_max_tokens or max_turns, or set max_context_tokens)"
    return line


def status_of(error: Exception) -> int | None:
    """The HTTP status of an error; None where it has none.

    While it waits for an answer, the SDK raises a plain ValueError from the error that has the status.
    """
    for candidate in (error, error.__cause__):
        status = getattr(candidate, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def is_answer(error: Exception) -> bool:
    """Whether the service accepted a request and answered that it failed. Its client can still be used.

    After any other error the client's request sequence may have a gap, and later requests are never answered.
    """
    import tinker

    return isinstance(error, tinker.RequestFailedError)


def is_missing(error: Exception) -> bool:
    """Whether the service says that there is no such thing."""
    return status_of(error) == 404


def is_forgotten(text: str) -> bool:
    """Whether an error says that the service no longer holds a model that it trained, as after its restart.

    Args:
        text: the error, as a dialogue records it.
    """
    return _FORGOTTEN.search(text) is not None
