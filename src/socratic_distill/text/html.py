"""Small pieces of HTML for notebooks: escaped text, tables, folded parts. Pure.

A notebook shows them between other cells, in a light or a dark theme. So they inherit its colours and fonts, have no
style sheet and no script, and take up the style attributes that a notebook's sanitizer lets through.
"""

from collections.abc import Iterable, Sequence
from html import escape

from socratic_distill.text import redacted, shown

_CELL = "padding:2px 14px 2px 0;text-align:left;vertical-align:top;border:0"
_NUMBER = "padding:2px 14px 2px 0;text-align:right;vertical-align:top;border:0;white-space:nowrap"
# The notebook gives rows of tables alternating backgrounds, made for numbers.
_ROW = "background:transparent"
SOFT = "opacity:.65"


def escaped(text: object) -> str:
    """A text for HTML: no markup, no control characters, and no lone surrogates.

    >>> escaped("<b>&")
    '&lt;b&gt;&amp;'
    """
    return escape(shown(text))


def without_secrets(text: object) -> str:
    """As `escaped`, also without keys and passwords: outputs of a notebook are saved and shared with it."""
    return escaped(redacted(str(text)))


def soft(html: str) -> str:
    """Secondary text.

    Args:
        html: escaped text, or HTML.
    """
    return f'<span style="{SOFT}">{html}</span>'


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = (), *, numbers: bool = False) -> str:
    """A table; the first cell of a row is its header.

    Args:
        rows: cells as HTML.
        head: column headers as HTML; none if empty.
        numbers: align all cells but the first to the right.
    """
    cell = _NUMBER if numbers else _CELL
    lines = []
    if head:
        first, *rest = head
        cells = [f'<th style="{_CELL}">{first}</th>', *(f'<th style="{cell}">{value}</th>' for value in rest)]
        lines.append(f'<thead><tr style="{_ROW}">{"".join(cells)}</tr></thead>')
    lines.append("<tbody>")
    for name, *values in rows:
        cells = [f'<th style="{_CELL};font-weight:600">{name}</th>', *(f'<td style="{cell}">{v}</td>' for v in values)]
        lines.append(f'<tr style="{_ROW}">{"".join(cells)}</tr>')
    lines.append("</tbody>")
    return f'<table style="border:0;margin:4px 0;color:inherit">{"".join(lines)}</table>'


def folded(summary: str, html: str) -> str:
    """A part that opens at a click.

    Args:
        summary: the line that stays visible, as HTML.
        html: the part.
    """
    return f'<details><summary style="cursor:pointer">{summary}</summary>{html}</details>'


def titled(title: str, *parts: str) -> str:
    """Parts under a title.

    Args:
        title: HTML.
        *parts: HTML; empty parts are left out.
    """
    body = "".join(part for part in parts if part)
    return f'<div style="max-width:72em;overflow-x:auto;line-height:1.45"><div><b>{title}</b></div>{body}</div>'
