"""Makes text safe to show: without secrets, and without terminal control sequences.

Paths, model names, questions, replies and errors come from files and services, and may hold control sequences. A
terminal obeys them: it may change its title, write the clipboard or hide text. They are escaped just before a text is
shown; stored text is unchanged.

| module | does |
|---|---|
| `html` | escaped HTML for notebooks |
"""

import logging
import os
import re
import sys
from typing import Any, TextIO
from urllib.parse import urlsplit

# C0, DEL and C1; Unicode's bidirectional controls, line and paragraph separators; deprecated format controls; lone
# surrogates (half characters), which no encoding can write.
# Joiners and variation selectors are not escaped: emoji and many scripts need them.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff]"
)
_LINE_ENDS = re.compile("[\n\t]")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def shown(text: object, *, one_line: bool = False) -> str:
    r"""A text with control characters written as escapes, such as `\x1b` and `\u202e`.

    Newlines and tabs stay, and `\r\n` becomes a newline. Applying it twice changes nothing more.

    Args:
        text: a string, or any object, which `str` converts.
        one_line: escape newlines and tabs too.

    Examples:
        >>> print(shown("a\x1b[2Jb"))
        a\x1b[2Jb
        >>> print(shown("two\nlines", one_line=True))
        two\nlines
    """
    plain = _STEERING.sub(_escape, str(text).replace("\r\n", "\n"))
    return _LINE_ENDS.sub(_escape, plain) if one_line else plain


def printable(text: object, encoding: str | None) -> str:
    """As `shown`, and characters that the encoding lacks are escaped too."""
    plain = shown(text)
    try:
        return plain.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")
    except LookupError:
        return plain


def show(text: object, file: TextIO | None = None) -> None:
    """Prints a text as `printable`.

    Args:
        text: the text.
        file: where to print. None: standard output.
    """
    stream = sys.stdout if file is None else file
    print(printable(text, getattr(stream, "encoding", None)), file=stream)


def shortened(text: str, longest: int = 60) -> str:
    """The beginning of a text, with an ellipsis if it is longer.

    Args:
        text: the text.
        longest: number of characters that are kept.
    """
    return text if len(text) <= longest else f"{text[:longest]}\u2026"


def whole_characters(text: str) -> str:
    """A text with U+FFFD for half characters (lone surrogates), which UTF-8 cannot hold."""
    return _HALF_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)


def dollars(usd: float | None) -> str:
    """An amount in USD; None: it is not known."""
    return "not known" if usd is None else f"{usd:,.4f}"


def get_logger(name: str) -> logging.Logger:
    """The logger of a module; its messages are escaped before any handler gets them."""
    logger = logging.getLogger(name)
    logger.addFilter(escape_record)  # adding it twice changes nothing
    return logger


def clean_logs_of(library: str) -> None:
    """Escapes everything that a library logs from now on, and removes secrets from it.

    Args:
        library: name of its logger; the loggers below it that exist by now are covered too.
    """
    # A logger does not apply the filters of its parents, so each logger below gets the filter itself.
    for name in (library, *logging.root.manager.loggerDict):
        if name == library or name.startswith(f"{library}."):
            get_logger(name)


def escape_record(record: logging.LogRecord) -> bool:
    """A logging filter: escapes a message and its traceback, removes secrets, and lets every record pass."""
    message = record.getMessage()
    record.msg, record.args = shown(redacted(message)), None
    if record.exc_info:
        record.exc_text = shown(redacted(logging.Formatter().formatException(record.exc_info)))
    return True


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode()


_HIDDEN = "…"
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_SHORTEST = 8  # shorter values occur in texts by chance
# User and password before a URL's host. A password may hold slashes, as those of AWS do; a port is not one. The second
# lookbehind is for a URL that went through pathlib, which removes one of its two slashes.
_USER = re.compile(r"(?:(?<=://)|(?<=\w\w:/)(?!/))(?:[^/\s@:'\"]*:(?!\d{1,5}/)[^\s'\"]*|[^/\s@'\"]+)(?=@)")
_SECRET_FIELDS = "key|token|secret|password|passwd|signature|credential|sig|accesskeyid"
_IN_QUERY = re.compile(rf"((?:[?&;#][\w.-]*(?:{_SECRET_FIELDS})|\btoken)=)[^&\s'\"]+", re.IGNORECASE)
_KEY = re.compile(r"\btml-[\w.-]+")
# In URLs of these schemes the name before the host is a container, not a user.
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs", "az", "adl")
_known: set[str] = set()


def remember(secret: str) -> None:
    """Removes a secret from all later texts of this process; for keys that are in no environment variable.

    Args:
        secret: the key. With fewer than 8 characters it is ignored: such texts occur by chance.
    """
    if len(secret) >= _SHORTEST:
        _known.add(secret)


def redacted(text: str) -> str:
    """A text without passwords in URLs, the service's keys, and values of environment variables named as secrets."""
    values = (value.strip() for name, value in os.environ.items() if _SECRET_NAME.search(name))
    # The longest first: removing a secret that is a part of another would leave the rest of the other.
    for secret in sorted(_known.union(value for value in values if len(value) >= _SHORTEST), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return _KEY.sub(_HIDDEN, _IN_QUERY.sub(rf"\1{_HIDDEN}", _USER.sub(_HIDDEN, text)))


def refuse_secrets(url: str) -> str:
    """Returns a path or URL unchanged; refuses a URL with a user, a password, a key or a token in it.

    Raises:
        ValueError: the URL holds one. The message does not show it.
    """
    scheme, user = url.partition(":")[0], _USER.search(url)
    is_in_query = "://" in url and _IN_QUERY.search(url)
    if (user is not None and (":" in user[0] or scheme not in _CONTAINERS)) or is_in_query:
        raise ValueError(
            f"expected a {scheme}:// URL without a user, password, key or token, which would appear in files and "
            "messages; give the secret where the library of the store or service looks for it"
        )
    return url


def without_user(url: str) -> str:
    """A URL without the user and password before its host, if it has them."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url


def without_secrets(error: Exception) -> Exception:
    """An error without secrets, in itself and in every error that a traceback would show with it.

    Errors are changed in place. An error whose text is not built from its attributes, such as pydantic's, is replaced.

    Args:
        error: the error; its causes, its contexts and the members of a group are cleaned recursively.

    Returns:
        The same error, or its replacement.
    """
    cleaned = _cleaned(error, {})
    assert isinstance(cleaned, Exception), "an exception is replaced by an exception"
    return cleaned


def _cleaned(error: BaseException, done: dict[int, BaseException]) -> BaseException:
    if id(error) in done:  # causes and contexts may form a cycle
        return done[id(error)]
    done[id(error)] = error
    _clean_attributes(error)
    # A secret that is still there is in no attribute: the error computes its text, so only another error can hide it.
    if redacted(shown := f"{error} {error!r}") != shown:
        stand_in = RuntimeError(f"{type(error).__name__}: {redacted(str(error))}").with_traceback(error.__traceback__)
        stand_in.__cause__, stand_in.__context__ = error.__cause__, error.__context__
        stand_in.__suppress_context__ = error.__suppress_context__
        done[id(error)] = error = stand_in
    hidden = error.__suppress_context__  # setting a cause hides the context
    for name in ("__cause__", "__context__"):
        if (origin := getattr(error, name)) is not None:
            setattr(error, name, _cleaned(origin, done))
    error.__suppress_context__ = hidden
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:  # the tuple is read-only: members can be cleaned, not replaced
            _cleaned(member, done)
    return error


def _clean_attributes(error: BaseException) -> None:
    """Removes secrets from an error's arguments, its attributes, and the file names of a system error."""
    error.args = _clean_value(error.args)
    attributes = vars(error)
    for name, value in attributes.items():
        attributes[name] = _clean_value(value)
    if isinstance(error, OSError):
        for name in ("strerror", "filename", "filename2"):
            if isinstance(value := getattr(error, name), str) and redacted(value) != value:
                setattr(error, name, redacted(value))


def _clean_value(value: Any) -> Any:
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {_clean_value(key): _clean_value(item) for key, item in value.items()}
    return type(value)(map(_clean_value, value)) if type(value) in (list, tuple) else value


def duration(seconds: float) -> str:
    """Seconds as 0:42, 12:05 or 3:04:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
