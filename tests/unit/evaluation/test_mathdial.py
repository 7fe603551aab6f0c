"""Success@k and Telling@k against figures that the dataset's own script gave.

`scripts/record_mathdial.py` recorded them and documents how; the ten conversations are self-written, and each holds
something that a looser reading of numbers or turns would get wrong.
"""

import doctest
import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from socratic_distill import Seed
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.errors import ConfigError
from socratic_distill.evaluation import mathdial
from socratic_distill.evaluation.mathdial import rounds, success_at_k, telling_at_k, turns_to_success

SAMPLES = Path(__file__).parents[2] / "data_samples"
TALKS = [json.loads(line) for line in (SAMPLES / "mathdial_tricky.jsonl").read_text(encoding="utf-8").splitlines()]
RECORDED = json.loads((SAMPLES / "mathdial_recorded.json").read_text(encoding="utf-8"))["self_written"]

turns_of_all_kinds = st.lists(
    st.tuples(st.sampled_from(["tutor", "student"]), st.sampled_from(["Why?", "6", "It is 6,0"]))
)


def turns_of(conversation):
    parts = [part.partition(":") for part in conversation.split("|EOM|")]
    return [("tutor" if name == "Teacher" else "student", text) for name, _, text in parts]


def answer_of(ground_truth):
    return ground_truth.split("\n")[-1].strip().split("\\n")[-1].strip()


def digits(measure, turns, answer):
    return "".join(str(int(measure(turns, answer, k))) for k in range(1, 8))


def test_ten_conversations_are_recorded():
    assert len(TALKS) == 10 and RECORDED.keys() == {talk["name"] for talk in TALKS}
    assert len(set(RECORDED.values())) > 5, "the conversations hardly differ in what they test"


@pytest.mark.parametrize("talk", TALKS, ids=lambda talk: talk["name"])
def test_measures_equal_those_of_the_datasets_script(talk):
    turns, answer = turns_of(talk["conversation"]), answer_of(talk["ground_truth"])
    found = f"{digits(success_at_k, turns, answer)} {digits(telling_at_k, turns, answer)}"
    assert found == RECORDED[talk["name"]]


def test_doctests_of_mathdial_hold():
    assert doctest.testmod(mathdial).failed == 0


@pytest.mark.parametrize(
    ("text", "answer", "is_match"),
    [
        ("6.00000001", "6", True),
        ("6.000001", "6", False),
        ("1,2", "12", True),
        ("-6", "6", True),
        ("6", "-6", False),
        ("six", "6", False),
        ("6 eggs", "6 eggs", False),
        ("6", "6 eggs", False),
        ("6", "", False),
        ("1000", "1e3", True),
        ("12", "١٢", True),
        ("١٢", "12", False),
        ("1" * 400, "inf", False),
        ("0", "nan", False),
    ],
)
def test_numbers_match_as_in_the_datasets_script(text, answer, is_match):
    assert success_at_k([("student", text)], answer, 0) is is_match


def test_turns_to_success_is_the_index_of_the_first_match():
    turns = [("student", "5"), ("tutor", "6"), ("student", "Oh."), ("student", "6"), ("student", "6")]
    assert turns_to_success(turns, "6") == 2
    assert turns_to_success(turns, "7") is None and turns_to_success([], "6") is None


@given(turns_of_all_kinds, st.integers(0, 7))
def test_measures_agree_with_turns_to_success_and_never_fall_with_k(turns, k):
    index = turns_to_success(turns, "6")
    assert success_at_k(turns, "6", k) is (index is not None and index <= k)
    assert success_at_k(turns, "6", k) <= success_at_k(turns, "6", k + 1)
    assert telling_at_k(turns, "6", k) <= telling_at_k(turns, "6", k + 1)


def test_unknown_role_is_refused():
    with pytest.raises(ConfigError, match="role 'assistant'; expected"):
        success_at_k([("student", "5"), ("assistant", "6")], "6", 3)


def dialogue_of(*texts):
    dialogue = Dialogue(Seed("s", "What is 2 + 4?", "6"), 0, 0)
    for text in texts:
        dialogue = dialogue.with_turn(Turn(dialogue.speaker, text, (1,), (5,), (5,), (-0.5,), 0, "stop"))
    return dialogue


def test_rounds_of_a_dialogue_count_from_the_tutors_first_reply():
    told = rounds(dialogue_of("It is 5.", "No, 6.", "Oh, 6."))
    assert [success_at_k(told, "6", k) for k in (0, 1)] == [False, True]
    assert [telling_at_k(told, "6", k) for k in (0, 1)] == [False, True]


def test_tutor_that_confirms_what_the_student_said_has_not_told():
    confirmed = rounds(dialogue_of("It is 5.", "Why?", "Is it 6?", "Yes, 6.", "Fine."))
    assert success_at_k(confirmed, "6", 1) and not telling_at_k(confirmed, "6", 7)
