"""The service's key: whether there is one, and whether a request can carry it.

A request's header takes visible ASCII alone. The SDK would try for five minutes to send another key, and say nothing.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from socratic_distill.errors import ConfigError
from socratic_distill.text import get_logger, remember

if TYPE_CHECKING:
    import tinker

_log = get_logger(__name__)


HOW_TO_GIVE_A_KEY = "Set TINKER_API_KEY to the service's key, or base_url='local' to train on this machine"
_KEY, _COMMAND = "TINKER_API_KEY", "TINKER_CREDENTIAL_CMD"


def check_key() -> None:
    """Returns if there is a key that can be sent, or a command that gives one.

    White space around the key in TINKER_API_KEY is taken off, in the variable itself: the SDK reads it again.

    Raises:
        ConfigError: there is none, or it holds a character that no key has.
    """
    if given := os.environ.pop(_KEY, ""):
        key = given.strip()
        if key:
            os.environ[_KEY] = key
        if key != given:
            _log.warning("%s: the white space around the key is left out", _KEY)
        _check_characters(key, _KEY)
        if key:
            return
    if os.environ.get(_COMMAND):
        return
    stored = Path.home() / ".tinker" / "credentials.json"  # written by `tinker auth login`
    if not stored.exists():
        raise ConfigError(
            f"there is no key for the service: {_KEY} and {_COMMAND} are not set, and {stored} does not exist. "
            f"{HOW_TO_GIVE_A_KEY}"
        )
    _check_stored(stored)


def check_key_of(client: "tinker.ServiceClient") -> None:
    """Returns if a key that a client of the SDK was made with can be sent; without one, as `check_key`.

    Args:
        client: the client.

    Raises:
        ConfigError: it holds a character that no key has, or white space around it.
    """
    key = getattr(client, "_api_key", None)  # the SDK shows it nowhere
    if isinstance(key, str) and key:
        remember(key.strip())
        _check_characters(key, "the api_key of the service_client")
    else:
        check_key()


def _check_stored(path: Path) -> None:
    from tinker.lib.credentials import JsonCredentialStore

    try:
        record = JsonCredentialStore(path).get_default_key()
    except (OSError, ValueError):
        raise ConfigError(f"{path} cannot be read; write it anew with `tinker auth login`, or set {_KEY}") from None
    if record is not None:
        remember(record.key)
        _check_characters(record.key, str(path))


def _check_characters(key: str, where: str) -> None:
    for number, character in enumerate(key, 1):
        if not "!" <= character <= "~":
            raise ConfigError(
                f"{where} holds a key whose character {number} of {len(key)} is {_kind(character)}; expected visible "
                "ASCII characters without blanks. Copy the key again"
            )


def _kind(character: str) -> str:
    if character in "\r\n":
        return "a line break"
    if not character.isascii():
        return "not ASCII"
    return "a blank" if character in " \t" else "a control character"
