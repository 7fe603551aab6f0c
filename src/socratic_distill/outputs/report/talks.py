"""A dialogue as the page holds it: short keys, and log-probabilities in thousandths of a nat. Pure.

`embedding.to_json` writes it; `assets/dialogues.js` and `tokens.js` read it. What there is nothing of is left out.

| of a dialogue | | of a turn | |
|---|---|---|---|
| `i` | id in the page | `x` | text, left out where the pieces tell it |
| `r` | number of its run | `stop` | 1 where it was cut at the token limit |
| `b` | batch of the evaluation that it is from | `w` | 1 for the tutor's; what follows is of these |
| `s`, `d`, `n` | step, seed, number | `v` | version of the weights |
| `q`, `a`, `e` | question, answer, mistake | `p` | text of each token, `[T]` |
| `end`, `err` | ending, error | `k` | token ids, `[T]`, where there are no texts |
| `rec`, `w` | recording, reward | `u`, `c` | log-probabilities of tutor and teacher, `[T]` or empty |
| `ok`, `told` | 1 for solved, for told | `h`, `f` | token weights, those of forward divergences, thousandths |
| `t`, `cut` | turns; how many were left out | `no` | 1 where a long dialogue's figures were left out |
"""

from collections.abc import Mapping
from typing import Any

from socratic_distill.files.rows import number, whole
from socratic_distill.outputs.report.embedding import to_json
from socratic_distill.outputs.report.facts import Facts

_FIGURES = ("p", "k", "u", "c", "h", "f")
_FIGURES_OF = {"u": "tutor_logprobs", "c": "teacher_logprobs", "h": "weights", "f": "forward_weights"}


def talk_of(row: Mapping[str, Any], facts: Facts, run: int, batch: int | None) -> dict[str, Any]:
    """A row of dialogues.jsonl, or of an evaluation, as the page holds it.

    Args:
        row: the dialogue.
        facts: what it says in short.
        run: number of its run in the page.
        batch: of the evaluation that it is from; None for one of training.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, ArithmeticError: it is no dialogue.
    """
    texts = {
        "q": row.get("question"), "e": row.get("initial_error"), "end": row.get("ending"), "err": row.get("error"),
        "rec": row.get("recording"),
    }  # fmt: skip
    fields = {
        "r": run, "b": batch, "s": whole(row.get("step")), "d": str(row.get("seed")), "n": whole(row.get("number")),
        "a": str(row["expected_answer"]), "w": number(row.get("reward")), "ok": int(facts.solved),
        "told": int(facts.told), **{key: None if value is None else str(value) for key, value in texts.items()},
    }  # fmt: skip
    # In an evaluation the weights have no version: they stand still.
    turns = [_tutor_turn(turn, batch is None) if turn["role"] == "tutor" else _turn(turn) for turn in row["turns"]]
    return {key: value for key, value in fields.items() if value is not None} | {"t": turns}


def fitted(talk: dict[str, Any], most: int) -> dict[str, Any]:
    """A dialogue in at most about so many bytes: figures of its last turns go first, then its last turns.

    Args:
        talk: what `talk_of` gave, which holds each turn's text.
        most: bytes.
    """
    turns = list(talk["t"])
    sizes = [talk_size(turn) for turn in turns]
    excess = talk_size({**talk, "t": []}) + sum(sizes) - most
    for index in reversed(range(len(turns))):
        if excess > 0 and "u" in turns[index]:
            turns[index] = {key: value for key, value in turns[index].items() if key not in _FIGURES} | {"no": 1}
            excess += talk_size(turns[index]) - sizes[index]
            sizes[index] = talk_size(turns[index])
    kept = len(turns)
    while excess > 0 and kept > 1:
        kept -= 1
        excess -= sizes[kept]
    cut = {"cut": len(turns) - kept} if kept < len(turns) else {}
    return {**talk, "t": [_short(turn) for turn in turns[:kept]], **cut}


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    return {"x": str(turn["text"])} | ({"stop": 1} if turn.get("stop_reason") == "length" else {})


def _tutor_turn(turn: Mapping[str, Any], versioned: bool) -> dict[str, Any]:
    tokens, pieces = turn["tokens"], turn.get("pieces") or []
    # Rows of runs that wrote no pieces: the page numbers the tokens.
    named = {"p": list(map(str, pieces))} if len(pieces) == len(tokens) else {"k": list(map(whole, tokens))}
    version = {"v": whole(turn.get("version"))} if versioned else {}
    figures_of_tokens = {short: turn.get(long) for short, long in _FIGURES_OF.items()}
    figures = {
        short: [_thousandths(value) for value in values]
        for short, values in figures_of_tokens.items()
        if values and len(values) == len(tokens)
    }
    return {**_turn(turn), "w": 1, **version, **named, **({"u": [], "c": []} | figures)}


def _short(turn: dict[str, Any]) -> dict[str, Any]:
    """Without the text that the pieces tell already."""
    return {key: value for key, value in turn.items() if key != "x"} if "p" in turn else turn


def _thousandths(value: object) -> int | None:
    nats = number(value)
    return None if nats is None else round(nats * 1000)


def talk_size(value: Mapping[str, Any]) -> int:
    """About how many bytes it takes in the page."""
    return len(to_json(value)) + 1
