"""Text that is shown to people, without what would steer their terminal.

Paths, model names, questions, replies and errors come from files and services. A terminal obeys control sequences among
them: it can retitle itself, write the clipboard, or hide text. They are escaped at the last step before a text is
shown; what is stored keeps its characters.
"""

import logging
import re
import sys
from typing import TextIO

from socratic_distill.redaction import redacted

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
