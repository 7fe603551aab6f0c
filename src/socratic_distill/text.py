"""Text that people see, without secrets and without what would steer their terminal.

Paths, model names, questions, replies and errors come from files and services. A terminal obeys control sequences among
them: it can retitle itself, write the clipboard, or hide text. They are escaped at the last step before a text is
shown; what is stored keeps its characters.
"""

import logging
import os
import re
import sys
from typing import Any, TextIO
from urllib.parse import urlsplit

# C0, DEL and C1; marks that turn or end lines (Unicode's bidirectional controls, line and paragraph separators);
# deprecated format controls; halves of characters (lone surrogates), which no encoding can write.
# Joiners and variation selectors stay: emoji and many scripts need them.
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff]"
)
_LINE_ENDS = re.compile("[\n\t]")


def shown(text: object, *, one_line: bool = False) -> str:
    r"""A text with control characters written as escapes, such as `\x1b` and `\u202e`.

    Newlines and tabs stay, and `\r\n` becomes a newline. Applied twice it gives the same.

    Args:
        text: a string, or what is shown as `str` gives it.
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
    """As `shown`, and what an encoding lacks is escaped too."""
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


def get_logger(name: str) -> logging.Logger:
    """The logger of a module, whose messages are escaped for whatever handler shows them."""
    logger = logging.getLogger(name)
    logger.addFilter(escape_record)  # adding it twice changes nothing
    return logger


def clean_logs_of(library: str) -> None:
    """Has what a library logs from now on escaped, and secrets taken out of it.

    Args:
        library: name of its logger; those below it are covered as far as they are made, since a filter is each
            logger's own.
    """
    for name in (library, *logging.root.manager.loggerDict):
        if name == library or name.startswith(f"{library}."):
            get_logger(name)


def escape_record(record: logging.LogRecord) -> bool:
    """Escapes a log message and its traceback, without secrets; a filter that lets every record pass."""
    message = record.getMessage()
    record.msg, record.args = shown(redacted(message)), None
    if record.exc_info:
        record.exc_text = shown(redacted(logging.Formatter().formatException(record.exc_info)))
    return True


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode()


_HIDDEN = "…"
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$", re.IGNORECASE)
_SHORTEST = 8  # shorter values stand in texts by chance
# What stands before a URL's host. A password may hold slashes, as those of AWS do; a port is none. pathlib takes one
# of the two slashes away.
_USER = re.compile(r"(?:(?<=://)|(?<=\w\w:/)(?!/))(?:[^/\s@:'\"]*:(?!\d{1,5}/)[^\s'\"]*|[^/\s@'\"]+)(?=@)")
_SECRET_FIELDS = "key|token|secret|password|passwd|signature|credential|sig|accesskeyid"
_IN_QUERY = re.compile(rf"((?:[?&;#][\w.-]*(?:{_SECRET_FIELDS})|\btoken)=)[^&\s'\"]+", re.IGNORECASE)
_KEY = re.compile(r"\btml-[\w.-]+")
# In these the name before the host is a container, not a user.
_CONTAINERS = ("abfs", "abfss", "wasb", "wasbs", "az", "adl")
_known: set[str] = set()


def remember(secret: str) -> None:
    """Has a secret taken out from now on, for the life of the process: a key that no variable of the environment holds.

    Args:
        secret: the key. One of fewer than 8 characters is left: such texts stand everywhere by chance.
    """
    if len(secret) >= _SHORTEST:
        _known.add(secret)


def redacted(text: str) -> str:
    """A text without passwords in URLs, the service's keys, and values of variables that are named as secrets."""
    values = (value.strip() for name, value in os.environ.items() if _SECRET_NAME.search(name))
    for secret in sorted(_known.union(value for value in values if len(value) >= _SHORTEST), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return _KEY.sub(_HIDDEN, _IN_QUERY.sub(rf"\1{_HIDDEN}", _USER.sub(_HIDDEN, text)))


def refuse_secrets(url: str) -> str:
    """Gives a path or URL back, unless it is a URL with a user, a password, a key or a token in it.

    Raises:
        ValueError: it has one. The message does not show it.
    """
    scheme, user = url.partition(":")[0], _USER.search(url)
    is_in_query = "://" in url and _IN_QUERY.search(url)
    if (user is not None and (":" in user[0] or scheme not in _CONTAINERS)) or is_in_query:
        raise ValueError(
            f"expected a {scheme}:// URL without a user, password, key or token, which would stand in files and "
            "messages; give the secret where the library of the store or service looks for it"
        )
    return url


def without_user(url: str) -> str:
    """A URL without the user and password that may stand before its host."""
    place = urlsplit(url)
    return place._replace(netloc=place.netloc.rpartition("@")[2]).geturl() if "@" in place.netloc else url


def without_secrets(error: Exception) -> Exception:
    """An error without secrets in it or in any error that it came from, as a traceback would show them.

    Errors are changed in place. One whose text does not follow from its attributes, such as pydantic's, is replaced.

    Args:
        error: the error; its causes, contexts and members of a group are looked at all the way down.

    Returns:
        The error, or what replaces it.
    """
    cleaned = _cleaned(error, {})
    assert isinstance(cleaned, Exception), "what replaces an exception is one"
    return cleaned


def _cleaned(error: BaseException, done: dict[int, BaseException]) -> BaseException:
    if id(error) in done:  # errors may come from each other in a circle
        return done[id(error)]
    done[id(error)] = error
    _clean_attributes(error)
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
        for member in error.exceptions:  # they cannot be replaced
            _cleaned(member, done)
    return error


def _clean_attributes(error: BaseException) -> None:
    """Cleans what an error's text is made of: its arguments, its attributes, and of system errors the file names."""
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
        return {_clean_value(name): _clean_value(one) for name, one in value.items()}
    return type(value)(map(_clean_value, value)) if type(value) in (list, tuple) else value


def duration(seconds: float) -> str:
    """Seconds as 0:42, 12:05 or 3:04:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
