"""A dialogue as HTML for notebooks, in the colours of the report. Pure.

The colours are see-through and between the report's light and dark ones, so that they suit either theme.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from socratic_distill.files.rows import number
from socratic_distill.text.html import SOFT, escaped, folded, soft, titled

_LESS, _MORE = "226,116,20", "42,142,210"  # the teacher finds a token less likely than the tutor, or likelier
_STRENGTH = 0.5
_WEIGHTS = {"weight": "weights", "weight in forward divergences": "forward_weights"}
_STRONG = 1.0  # nats
_FULL = 3.0  # nats at which a colour is at its strongest
_LEGEND = (
    f'<span style="background:rgba({_LESS},.35)">less</span> and '
    f'<span style="background:rgba({_MORE},.35)">more</span> likely to the teacher than to the tutor; underlined from '
    "1 nat on"
)

Row = Mapping[str, Any]


def gaps(turn: Row) -> list[float | None]:
    """Teacher minus tutor log-probability of each token of a turn, nats; None where one is unknown.

    Args:
        turn: of a row of `dialogues.jsonl`.

    Returns:
        One number a token, `[T]`; empty if no teacher scored the turn.
    """
    teacher, tutor = turn.get("teacher_logprobs"), turn.get("tutor_logprobs")
    if not isinstance(teacher, list) or not isinstance(tutor, list) or len(teacher) != len(tutor):
        return []
    pairs = [(number(ours), number(theirs)) for ours, theirs in zip(teacher, tutor, strict=True)]
    return [None if ours is None or theirs is None else ours - theirs for ours, theirs in pairs]


def outcome(solved: bool, told: bool, ending: str) -> list[str]:
    """How a dialogue ended, as marks; each once."""
    return list(dict.fromkeys(["solved" if solved else "not solved", "told" if told else "not told", ending]))


def dialogue_html(row: Row, marks: Sequence[str], prompts: Mapping[str, str]) -> str:
    """A dialogue to read: problem, turns, and how it ended; each token coloured by teacher minus tutor.

    Args:
        row: a row of `dialogues.jsonl`. Tokens need `pieces` and the log-probabilities of both; other turns are text.
        marks: what is said of it as a whole, such as "solved".
        prompts: the sides' system prompts, by the title to fold them under.
    """
    turns = row.get("turns")
    turns = [turn for turn in turns if isinstance(turn, Mapping)] if isinstance(turns, list) else []
    step = row.get("step")
    place = f"step {step}, " if isinstance(step, int) and step >= 0 else ""
    title = escaped(row.get("seed")) + " " + soft(escaped(f"{place}dialogue {row.get('number')}"))
    problem = [("Problem", "question"), ("Answer", "expected_answer"), ("Mistake", "initial_error")]
    parts = [_said(name, row[key]) for name, key in problem if row.get(key) is not None]
    parts += [_turn(turn) for turn in turns]
    parts.append(_line(" · ".join(map(escaped, marks))))
    if row.get("error"):
        parts.append(_line(f"error: {escaped(row['error'])}"))
    if any(_is_coloured(turn) for turn in turns):
        parts.append(_line(_LEGEND))
    parts += [folded(soft(escaped(name)), _text(escaped(text))) for name, text in prompts.items()]
    return titled(title, *parts)


def _is_coloured(turn: Row) -> bool:
    pieces = turn.get("pieces")
    return isinstance(pieces, list) and bool(pieces) and len(gaps(turn)) == len(pieces)


def _turn(turn: Row) -> str:
    is_tutor = turn.get("role") == "tutor"
    cut = soft(" (cut at the token limit)") if turn.get("stop_reason") == "length" else ""
    text = _tokens(turn) if _is_coloured(turn) else escaped(turn.get("text", ""))
    side = "border-left:3px solid rgba(128,128,128,.6);" if is_tutor else "border-left:3px solid transparent;"
    who = "Tutor" if is_tutor else "Student"
    by = soft(f" (teacher {escaped(turn['by'])})") if turn.get("by") else ""
    return f'<div style="{side}padding:2px 0 2px 10px;margin:4px 0">{soft(who)}{by}{cut}{_text(text)}</div>'


def _tokens(turn: Row) -> str:
    tutor, teacher = turn["tutor_logprobs"], turn["teacher_logprobs"]
    weights = {name: turn[key] for name, key in _WEIGHTS.items() if _fits(turn.get(key), len(tutor))}
    ends = turn.get("stop_reason") != "length"
    spans = []
    for index, (piece, gap) in enumerate(zip(turn["pieces"], gaps(turn), strict=True)):
        is_end = ends and index == len(turn["pieces"]) - 1
        tip = f"tutor {_nats(tutor[index])}, teacher {_nats(teacher[index])}, difference {_nats(gap)} nats"
        tip += "".join(f", {name} {_nats(values[index])}" for name, values in weights.items())
        style = _style(gap) + (f";{SOFT};font-size:85%" if is_end else "")
        spans.append(f'<span style="{style}" title="{escaped(tip)}">{escaped(piece)}</span>')
    return "".join(spans)


def _fits(values: object, count: int) -> bool:
    return isinstance(values, list) and len(values) == count


def _style(gap: float | None) -> str:
    if not gap or not math.isfinite(gap):
        return "border-radius:3px"
    colour = _LESS if gap < 0 else _MORE
    alpha = min(1.0, math.sqrt(abs(gap) / _FULL)) * _STRENGTH
    style = f"border-radius:3px;background:rgba({colour},{alpha:.2f})"
    if abs(gap) < _STRONG:
        return style
    return f"{style};text-decoration:underline {'solid' if gap < 0 else 'dotted'} rgb({colour})"


def _nats(value: object) -> str:
    known = number(value)
    return "unknown" if known is None else f"{known:.2f}".replace("-", "\N{MINUS SIGN}")


def _said(name: str, text: object) -> str:
    return f'<div style="white-space:pre-wrap;unicode-bidi:plaintext">{soft(name)} {escaped(text)}</div>'


def _text(html: str) -> str:
    return f'<div style="white-space:pre-wrap;unicode-bidi:plaintext">{html}</div>'


def _line(html: str) -> str:
    return f'<div style="{SOFT};margin-top:4px">{html}</div>' if html else ""
