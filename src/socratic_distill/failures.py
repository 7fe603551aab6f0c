"""What becomes of an error of the service: a stop with advice, a lost client, or a save to try again."""

from socratic_distill.errors import ServiceError, SocraticError, TrainingError

_ADVICE = {
    401: "the service does not accept the key: set TINKER_API_KEY, then start the same script again to resume",
    402: "the account cannot be billed: mend that with the service, then start the same script again to resume",
    403: "the key may not do this: check the account's rights, then start the same script again to resume",
}


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
    advice = _ADVICE.get(getattr(error, "status_code", 0))
    told = f"{what} failed on the service: {type(error).__name__}: {error}."
    if advice is not None:
        return ServiceError(f"{told} Nothing behind it was recorded; {advice}")
    return TrainingError(
        f"{told} Nothing behind it was recorded; start the same script again to resume from the last recorded state"
    )


def is_answer(error: Exception) -> bool:
    """Whether the service took a request and answered that it failed, so that its client is as good as before.

    Anything else may have left a hole in the client's row of requests, behind which no answer ever comes.
    """
    import tinker

    return isinstance(error, tinker.RequestFailedError)


def is_missing(error: Exception) -> bool:
    """Whether the service says that there is no such thing."""
    import tinker

    return isinstance(error, tinker.NotFoundError)
