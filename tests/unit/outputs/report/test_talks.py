"""Dialogues in the short form of the page."""

import json
import re

import pytest
from hypothesis import given, strategies as st
from tests.support.written_runs import ASKS, row_of

from socratic_distill.outputs.report.embedding import to_json
from socratic_distill.outputs.report.facts import facts_of
from socratic_distill.outputs.report.talks import fitted, talk_of, talk_size
from socratic_distill.text import shown

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    | st.text(st.characters(categories=["Cs", "Po", "Sm"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20,
)  # fmt: skip


def short(row, batch=None):
    return talk_of(row, facts_of(row), 0, batch)


def test_a_dialogue_keeps_what_its_row_says():
    talk = fitted(short(row_of(step=4, seed="x", number=1, reward=0.5)), 10**6)
    turns = talk.pop("t")
    assert talk == {
        "r": 0, "s": 4, "d": "x", "n": 1, "a": "12", "w": 0.5, "ok": 1, "told": 0, "q": "What is 5 + 7?",
        "e": "5 + 7 = 11", "end": "solved",
    }  # fmt: skip
    assert turns[0] == {"x": ASKS[0]} and turns[2] == {"x": ASKS[2]}
    assert "".join(turns[1]["p"]) == ASKS[1] + "<" and "x" not in turns[1]
    assert set(turns[1]["u"]) == {-1000} and set(turns[1]["c"]) == {-1500} and turns[1]["v"] == 0


def test_rows_without_pieces_keep_their_text_and_token_ids():
    row = row_of()
    row["turns"][1].pop("pieces")
    turn = fitted(short(row), 10**6)["t"][1]
    assert turn["x"] == ASKS[1] and turn["k"] == row["turns"][1]["tokens"] and "p" not in turn


def test_turns_of_an_evaluation_have_no_version():
    talk = short(row_of(step=-1), batch=20)
    assert talk["b"] == 20 and "v" not in talk["t"][1]


def test_scores_that_are_missing_or_infinite_are_null():
    row = row_of()
    row["turns"][1]["teacher_logprobs"][:2] = [float("-inf"), None]
    turn = short(row)["t"][1]
    assert turn["c"][:3] == [None, None, -1500]
    row["turns"][1].pop("teacher_logprobs")
    assert short(row)["t"][1]["c"] == []


def test_weights_are_kept_where_there_are_some():
    row = row_of()
    assert {"h", "f"}.isdisjoint(short(row)["t"][1])
    count = len(row["turns"][1]["tokens"])
    row["turns"][1] |= {"weights": [0.0, *[1.25] * (count - 1)], "forward_weights": [1.0]}
    turn = short(row)["t"][1]
    assert turn["h"] == [0, *[1250] * (count - 1)] and "f" not in turn, "one weight for many tokens is none"


def test_a_long_dialogue_loses_its_last_figures_then_its_last_turns():
    talk = short(row_of(tuple("Is it 1? " * 9 for _ in range(9))))
    whole = talk_size(fitted(talk, 10**6))
    some = fitted(talk, whole * 2 // 3)
    left_out = ["no" in turn for turn in some["t"][1::2]]
    assert left_out == sorted(left_out) and True in left_out and False in left_out
    assert all("x" in turn for turn in some["t"] if "no" in turn) and "cut" not in some
    assert talk_size(some) < whole
    few = fitted(talk, whole // 12)
    assert few["cut"] == 9 - len(few["t"]) > 0 and "u" not in json.dumps(few["t"])
    assert len(fitted(talk, 0)["t"]) == 1, "the student's first turn always stays"


@given(values)
def test_embedded_json_reads_back_and_holds_nothing_that_html_reads(value):
    text = to_json(value)
    told = re.sub(r"\\u(202[a-e]|206[6-9])", r"\\\\u\1", json.dumps(value))
    assert json.loads(text) == json.loads(told)
    assert not {"<", ">", "&", "\u2028", "\u2029"} & set(text.decode())


def test_embedded_json_refuses_what_is_no_number():
    with pytest.raises(ValueError):
        to_json({"a": float("nan")})


@given(st.text(st.characters()))
def test_printable_text_can_be_written(text):
    assert shown(text).encode().decode() == shown(text)


def test_marks_that_turn_text_around_are_shown_as_escapes():
    assert json.loads(to_json({"a": "x\u202ey\u2069"})) == {"a": r"x\u202ey\u2069"}
