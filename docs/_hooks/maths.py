"""Formulas as MathML, written at build: pages need no script and no network to show them."""

import re
from html import unescape

from latex2mathml.converter import convert

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(html: str, **_: object) -> str:
    """Replaces what pymdownx.arithmatex marked as TeX."""
    return _FORMULA.sub(_mathml, html)


def _mathml(found: re.Match[str]) -> str:
    tag, tex = found[1], _spaced(unescape(found[3]).strip())
    # An underscore within a name stays escaped otherwise.
    markup = convert(tex, display="block" if found[2] == "[" else "inline").replace(r"\_", "_")
    return f'<{tag} class="formula">{markup}</{tag}>'


def _spaced(tex: str) -> str:
    """TeX sets thin spaces around an operator's name, MathML does not."""
    tex = re.sub(r"(?<=[\w)}])\s*\\log\b", r"\\,\\log", tex)
    return re.sub(r"\\log\s+(?!\()", r"\\log\\,", tex)
