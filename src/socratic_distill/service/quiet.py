"""Errors that the SDK logs although this library handles them: they are kept out of the log."""

import logging

from socratic_distill.service.failures import shows_older_api

_RETRIES = "tinker.lib.retry_handler"
_LAST_N = "prompt_logprobs_last_n"


def refuses_last_n(error: str) -> bool:
    """Whether an error says that the server does not honour `prompt_logprobs_last_n`; whole prompts are scored then.

    Args:
        error: the error as text.
    """
    return _LAST_N in error


def drop_handled_errors() -> None:
    """Drops, from now on, the SDK's log records of errors that this library handles; all others pass."""
    logging.getLogger(_RETRIES).addFilter(_is_for_the_user)  # adding it twice changes nothing


def _is_for_the_user(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    is_handled = refuses_last_n(message) or shows_older_api(message)  # one error of ours says all of an older API
    return not (message.startswith("Request failed with non-retryable error: ") and is_handled)
