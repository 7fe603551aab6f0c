r"""Finds algebra in prose, and writes it in LaTeX. Pure.

Algebra is what a person types without `$`: `x = 2y + 1`, `(x-1)(x+1)`, `{1, 2}`, `[0, 3)`, `x > 3`, `2/3`, `sqrt(2)`,
`√2`, `π/2`, `|x - 1|`, `1/2 x`, and bare LaTeX such as `\frac{1}{2}`. Its operands are numbers, single letters,
products of a few letters that touch a sign (`2xy`), functions and groups; a word ends it. Blanks between two operands
are read as a product only after a number or a group (`2 x`, `(x-1) (x+1)`), so that "a 3" is no product. "a", "A" and
"I" are variables only next to a sign. A fraction of digits before a blank is one factor: `1/2 x` is x/2, while `1/2x`
is left to math-verify.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from socratic_distill.dialogues.answers.numbers import SUPERSCRIPTS, VULGAR

FUNCTIONS = frozenset((
    "sqrt", "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "log", "ln",
    "exp",
))  # fmt: skip
_CONSTANTS = {"pi": r"\pi ", "inf": r"\infty ", "infinity": r"\infty ", "oo": r"\infty "}
_LONE = (r"\pi", r"\infty", r"\emptyset", r"\varnothing")  # commands that are a formula alone
_PRODUCT = re.compile(r"[xyzabcnkmrt]{2,3}")
_SIGNS = {
    "\u2212": "-", "\u2013": "-", "\u00d7": r"\times ", "\u00b7": r"\cdot ", "\u22c5": r"\cdot ", "*": r"\cdot ",
    "\u00f7": "/", "<=": r"\le ", ">=": r"\ge ", "\u2264": r"\le ", "\u2265": r"\ge ", "!=": r"\ne ",
    "\u2260": r"\ne ", "\u2248": r"\approx ", "\u00b1": r"\pm ", "\u222a": r"\cup ", "\u2229": r"\cap ",
    "\u2208": r"\in ", "\u2205": r"\emptyset ", "\u221e": r"\infty ", "\u00b0": r"^{\circ}", "%": r"\%",
    "**": "^",
}  # fmt: skip
_GREEK = {
    "\u03c0": r"\pi ", "\u03b1": r"\alpha ", "\u03b2": r"\beta ", "\u03b3": r"\gamma ", "\u03b4": r"\delta ",
    "\u03b5": r"\epsilon ", "\u03b8": r"\theta ", "\u03bb": r"\lambda ", "\u03bc": r"\mu ", "\u03c1": r"\rho ",
    "\u03c3": r"\sigma ", "\u03c4": r"\tau ", "\u03c6": r"\phi ", "\u03c9": r"\omega ", "\u0394": r"\Delta ",
    "\u03a3": r"\Sigma ", "\u03a9": r"\Omega ",
}  # fmt: skip
_UNICODE = re.compile(f"[{''.join(sign for sign in (*_SIGNS, *_GREEK) if not sign.isascii())}]")
_TOKEN = re.compile(
    rf"""
    (?P<arrow>   -> | => | <- | [\u2190-\u21ff\u27f5-\u27ff] )
  | (?P<number>  \d{{1,9}}[ ]\d{{1,9}}/\d{{1,9}}(?![\d/]) | \d{{1,3}}(?:\{{,\}}\d{{3}})+(?:\.\d+)?
                 | \d+(?:[.,]\d+)*(?:[eE][+-]?\d{{1,3}}(?!\w))? | (?<![\w)\]])\.\d+ )
  | (?P<vulgar>  [{VULGAR}] )
  | (?P<word>    [A-Za-z]+ | [\u0391-\u03c9] )
  | (?P<open>    (?:\\left\s?)?(?:\\\{{|[(\[{{]) )
  | (?P<close>   (?:\\right\s?)?(?:\\\}}|[)\]}}]) )
  | (?P<command> \\(?:[A-Za-z]+|[%,;!]) )
  | (?P<raised>  [{SUPERSCRIPTS}]+ )
  | (?P<suffix>  [%\u00b0] )
  | (?P<symbol>  [\u221e\u2205] )
  | (?P<root>    \u221a )
  | (?P<sign>    \*\* | <= | >= | !=
                 | [-+*/^_=<>:\u2212\u2013\u00d7\u00b7\u22c5\u00f7\u2264\u2265\u2260\u2248\u00b1\u222a\u2229\u2208] )
  | (?P<factorial> ! )
  | (?P<comma>   [,;] )
  | (?P<bar>     \| )
  | (?P<blank>   [ \t\u00a0]+ )
    """,
    re.VERBOSE | re.ASCII,
)
# The bars of an absolute value touch what they enclose; those of a table do not.
_ABSOLUTE = re.compile(r"\|(?=[^\s|])[^|\n]{1,60}(?<=\S)\|")
_POWER_OF_TEN = re.compile(r"[eE]\+?")
_LABEL = re.compile(r"\b(?:step|part|question|problem|exercise|example|case|no|q)\W{0,3}\Z", re.IGNORECASE)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_ENDS_OPERAND = frozenset(("number", "vulgar", "command", "word", "close", "raised", "suffix", "symbol", "factorial"))
_BEGINS_OPERAND = frozenset(("number", "vulgar", "command", "word", "open", "symbol", "root"))
_MINUS = "-\u2212\u2013+\u00b1"
_ALONE = frozenset(("a", "A", "I"))  # words, unless a sign is next to them


@dataclass(frozen=True, slots=True)
class Token:
    """A part of algebra: its kind, a group of the pattern above; its text; and where it is."""

    kind: str
    text: str
    start: int
    stop: int


def find_algebra(text: str, start: int = 0, stop: int | None = None) -> list[tuple[int, int]]:
    """The longest pieces of algebra in a part of a text: spans `[start, stop)`, in order."""
    spans = []
    for run in _runs(text, start, len(text) if stop is None else stop):
        for piece in _balanced(run):
            if kept := _trimmed(text, piece):
                spans.append((kept[0].start, kept[-1].stop))
    return spans


def _tokens(text: str, start: int, stop: int) -> Iterator[Token]:
    """The tokens of a part of a text; the bars of an absolute value open and close a group."""
    bars = {
        index: kind
        for match in _ABSOLUTE.finditer(text, start, stop)
        for index, kind in ((match.start(), "open"), (match.end() - 1, "close"))
    }
    for match in _TOKEN.finditer(text, start, stop):
        kind = bars.get(match.start(), "bar") if match.lastgroup == "bar" else match.lastgroup or ""
        yield Token(kind, match[0], match.start(), match.end())


def _runs(text: str, start: int, stop: int) -> Iterator[list[Token]]:
    """Tokens that may be one piece of algebra, with commas in brackets alone."""
    run: list[Token] = []
    depth, position = 0, start
    for token in _tokens(text, start, stop):
        kind = token.kind
        gap = token.start != position
        position = token.stop
        if kind == "blank" and not gap:  # whether it parts two operands is known at the second one
            continue
        if run and gap:
            yield run
            run, depth = [], 0
        breaks = kind in ("blank", "arrow", "bar") or not _is_algebra(text, token, run)
        if run and (breaks or (kind == "comma" and not depth) or not _joins(run[-1], token)):
            yield run
            run, depth = [], 0
        if breaks or (kind == "comma" and not run):
            continue
        depth = max(0, depth + (kind == "open") - (kind == "close"))
        run.append(token)
    if run:
        yield run


def _is_algebra(text: str, token: Token, run: list[Token]) -> bool:
    """Whether a token can be a part of algebra where it stands; the run is what comes before it."""
    before, after = text[token.start - 1 : token.start], text[token.stop : token.stop + 1]
    if token.kind == "word":
        is_name = "_" in before + after and len(token.text) > 1 and token.text not in FUNCTIONS
        if before == "'" or after in ("'", "\u2019") or is_name:
            return False
        if len(token.text) == 1 or token.text in FUNCTIONS or token.text in _CONSTANTS:
            return True
        touches = before in tuple("0123456789+-*/^=()") or after in tuple("+-*/^=()")
        return bool(before or after) and touches and _PRODUCT.fullmatch(token.text) is not None
    if token.text in ("*", "**"):  # marks of emphasis touch one side only
        touches = bool(before.strip()), bool(after.strip())
        return all(touches) or (token.text == "*" and not any(touches))
    if token.kind == "factorial":
        if not run or run[-1].kind not in _ENDS_OPERAND:
            return False
        return after in tuple("/*+-^)=") or any(earlier.kind == "factorial" for earlier in run[-8:])
    if token.text == ":" and run and before + after == "  ":  # the ratio `1 : 2`, but not `Step 1 : 2 apples`
        return run[-1].kind == "number" and _LABEL.search(text[max(0, run[0].start - 12) : run[0].start]) is None
    if token.text in (":", "_"):
        return bool(before.strip()) and bool(after.strip()) and (token.text == "_" or (before + after).isdigit())
    return True


def _joins(last: Token, token: Token) -> bool:
    """Whether a token belongs to the same piece of algebra as the one before."""
    if last.kind not in _ENDS_OPERAND or token.kind not in _BEGINS_OPERAND:
        return True
    if last.stop == token.start:
        return not (last.kind == "word" and token.kind == "number")
    if last.kind == "command" or token.kind == "command":
        return True
    if last.kind == "word" and (last.text in FUNCTIONS or last.text in _CONSTANTS):
        return last.text in FUNCTIONS
    if token.kind == "word":
        return last.kind in ("number", "vulgar", "close", "symbol", "raised") and token.text not in _ALONE
    return token.kind in ("open", "root") and last.kind in ("close", "number")


def _balanced(run: list[Token]) -> Iterator[list[Token]]:
    """The parts of a run whose brackets are closed; commas outside brackets part them too."""
    unmatched: set[int] = set()
    opened: list[int] = []
    inside = bytearray(len(run))
    for index, token in enumerate(run):
        if token.kind == "open":
            opened.append(index)
        elif token.kind == "close":
            if opened:
                first = opened.pop()
                if not opened:
                    inside[first:index] = b"\1" * (index - first)
            else:
                unmatched.add(index)
    unmatched.update(opened)
    if opened:
        for first, index in _matched_within(run, set(opened)):
            inside[first:index] = b"\1" * (index - first)
    piece: list[Token] = []
    for index, token in enumerate(run):
        if index in unmatched or (token.kind == "comma" and not inside[index]):
            yield piece
            piece = []
        else:
            piece.append(token)
    yield piece


def _matched_within(run: list[Token], skipped: set[int]) -> Iterator[tuple[int, int]]:
    """The outermost closed groups of a run, where some brackets that are never closed are skipped."""
    opened: list[int] = []
    for index, token in enumerate(run):
        if token.kind == "open" and index not in skipped:
            opened.append(index)
        elif token.kind == "close" and opened:
            first = opened.pop()
            if not opened:
                yield first, index


def _trimmed(text: str, piece: list[Token]) -> list[Token]:
    """A piece without signs that have no operand; empty if nothing is left that means something."""
    first, last = 0, len(piece)
    while last and piece[last - 1].kind not in _ENDS_OPERAND:
        last -= 1
    while first < last and piece[first].kind not in _BEGINS_OPERAND and not _is_own_sign(text, piece, first, last):
        first += 1
    kept = piece[first:last]
    if len(kept) == 1 and kept[0].kind in ("word", "command", "raised"):
        lone = kept[0].text
        if lone in _LONE:
            return kept
        return kept if kept[0].kind == "word" and lone not in _ALONE and lone not in FUNCTIONS else []
    return kept


def _is_own_sign(text: str, piece: Sequence[Token], index: int, last: int) -> bool:
    """Whether a sign belongs to the operand that it touches, and nothing before it does."""
    token = piece[index]
    if token.text not in tuple(_MINUS) or index + 1 >= last or piece[index + 1].start != token.stop:
        return False
    return piece[index + 1].kind in _BEGINS_OPERAND and not text[token.start - 1 : token.start].strip(" \t\n(\"'=:*$")


def to_latex(algebra: str) -> str:
    """Algebra as LaTeX; what has a backslash is LaTeX already, and only its Unicode signs change."""
    if re.fullmatch(r"\d+,\d+", algebra) and not _THOUSANDS.fullmatch(algebra):
        return algebra.replace(",", ".")
    if "\\" in algebra:
        return _UNICODE.sub(lambda match: _SIGNS.get(match[0]) or _GREEK[match[0]], algebra)
    tokens = [token for token in _tokens(algebra, 0, len(algebra)) if token.kind != "blank"]
    return _Writer(algebra, tokens).write().strip()


class _Writer:
    """Writes tokens in LaTeX, from the first to the last."""

    def __init__(self, algebra: str, tokens: list[Token]) -> None:
        self._algebra = algebra
        self._tokens = tokens
        self._index = 0

    def write(self, closing: bool = False) -> str:
        """All tokens, or those up to the bracket that closes a group, without it."""
        parts: list[str] = []
        while self._index < len(self._tokens):
            if closing and self._tokens[self._index].kind == "close":
                break
            parts.append(self._next())
        return "".join(parts)

    def _next(self) -> str:
        token = self._tokens[self._index]
        self._index += 1
        if token.kind == "number":
            return self._number(token)
        if token.kind == "vulgar":
            top, _, bottom = unicodedata.normalize("NFKC", token.text).partition("\u2044")
            return rf"\frac{{{top}}}{{{bottom}}}"
        if token.kind == "raised":
            return f"^{{{unicodedata.normalize('NFKC', token.text).replace(chr(0x2212), '-')}}}"
        if token.kind == "root" or (token.text == "sqrt"):
            return rf"\sqrt{{{self._operand()}}}"
        if token.kind == "word":
            return self._word(token)
        if token.kind == "sign" and token.text in ("^", "**"):
            return f"^{{{self._operand()}}}"
        if token.text == "_":
            return f"_{{{self._operand()}}}"
        if token.text in ("{", "}"):
            return f"\\{token.text}"
        return _SIGNS.get(token.text, token.text)

    def _number(self, token: Token) -> str:
        if " " in token.text:
            whole, _, fraction = token.text.partition(" ")
            top, _, bottom = fraction.partition("/")
            return rf"{whole}\frac{{{top}}}{{{bottom}}}"
        if (power := _POWER_OF_TEN.search(token.text)) is not None:
            return rf"{token.text[: power.start()]}\times 10^{{{token.text[power.end() :]}}}"
        if "{" in token.text:
            return token.text.replace("{,}", "")
        text = (
            token.text.replace(",", "") if _THOUSANDS.fullmatch(token.text) and not self._in_list(token) else token.text
        )
        following = self._tokens[self._index : self._index + 3]
        if len(following) == 3 and following[0].text == "/" and following[1].kind == "number":
            after = following[2]
            alone = self._index < 2 or self._tokens[self._index - 2].text not in ("/", "^", "**")
            if alone and after.kind in ("word", "open", "root") and after.start > following[1].stop:
                self._index += 2
                return rf"\frac{{{text}}}{{{following[1].text}}}"
        return text

    def _in_list(self, token: Token) -> bool:
        """Whether a number stands in brackets, where a comma may separate."""
        return any(mark in self._algebra[: token.start] for mark in "([{")

    def _word(self, token: Token) -> str:
        if token.text in FUNCTIONS:
            return f"\\{token.text} "
        return _CONSTANTS.get(token.text) or _GREEK.get(token.text, token.text)

    def _operand(self) -> str:
        """The operand of a root or a power: a group without its brackets, or one token with its sign."""
        if self._index >= len(self._tokens):
            return ""
        token = self._tokens[self._index]
        if token.kind == "open" and token.text != "|":
            self._index += 1
            inner = self.write(closing=True)
            self._index += 1
            return inner
        if token.text in tuple("-\u2212+"):
            self._index += 1
            return token.text.replace("\u2212", "-") + self._operand()
        return self._next()
