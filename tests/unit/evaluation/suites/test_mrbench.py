"""How far a judge agrees with people: on dialogues and labels of our own."""

import json
import random
from pathlib import Path

import pytest

from socratic_distill import SuiteError
from socratic_distill.evaluation.intervals import means
from socratic_distill.evaluation.judge import load_judge_prompt
from socratic_distill.evaluation.suites.definitions import DIMENSIONS
from socratic_distill.evaluation.suites.mrbench import REVEALING, MRBench
from socratic_distill.evaluation.suites.statistics import Pair, cohens_kappa, f1_average
from socratic_distill.evaluation.suites.suite import Answer, Wish

DEGREES = ("Yes", "To some extent", "No")
TONES = ("Encouraging", "Neutral", "Offensive")
REVEALS = ("No", "Yes (and the answer is correct)", "Yes (but the answer is incorrect)")
PROBLEM = "Mia has 14 boxes with 3 pens in each of them. How many pens has she?"


def labels(drawn):
    return {
        name: drawn.choice(REVEALS if name == REVEALING else TONES if name == "Tutor_Tone" else DEGREES)
        for name in DIMENSIONS
    }


def dialogue(place, tutors=3):
    drawn = random.Random(place)
    return {
        "conversation_id": f"c{place}",
        "conversation_history": (
            f"Tutor: Hi! {PROBLEM}\u00a0\n\u00a0Student: It is {place}.\nI added.\u00a0\n\u00a0Tutor: Why?"
        ),
        "Ground_Truth_Solution": "14 * 3 = 42\n 42",
        "anno_llm_responses": {
            f"t{i}": {"response": f"What is 3 times {i}?", "annotation": labels(drawn)} for i in range(tutors)
        },
    }


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "MRBench_V2.json"
    path.write_text(json.dumps([dialogue(place) for place in range(12)]))
    return path


def wish(data, **fields):
    return Wish(data, judge_prompt=load_judge_prompt(), **fields)


def said(item, label):
    if item.task == REVEALING:
        return f"So.\nVERDICT: {'LEAK' if label == 'yes' else 'NO LEAK'}"
    return f"So.\nVERDICT: {label.upper()}"


def measured(items, replies):
    answers = {item.id: Answer(reply) for item, reply in zip(items, replies, strict=True)}
    found = MRBench().figures(items, answers, Wish(Path()))
    return means(found.parts) | dict(found.measures)


def test_every_labelled_reply_is_asked_about_in_each_dimension(data):
    items, notes = MRBench().items(wish(data))
    assert len(items) == 12 * 3 * len(DIMENSIONS) and not notes
    assert len(MRBench().items(wish(data, limit=2))[0]) == 2 * 3 * len(DIMENSIONS)
    assert all(item.asked == "judge" for item in items)
    assert MRBench().items(wish(data.parent))[0] == items, "a directory with the file will do"


def test_revealing_is_asked_with_the_prompt_on_leaks(data):
    items, _ = MRBench().items(Wish(data, judge_prompt="{question}|{expected_answer}|{dialogue}"))
    prompt = next(item.prompt for item in items if item.task == REVEALING)
    assert prompt == (
        f'as in the talk|42|tutor: "Hi! {PROBLEM}"\nstudent: "It is 0.\\nI added."\ntutor: "Why?"\n'
        'tutor: "What is 3 times 0?"'
    )


def test_other_dimensions_name_their_verdicts(data):
    items, _ = MRBench().items(wish(data))
    tone = next(item.prompt for item in items if item.task == "Tutor_Tone")
    assert tone.endswith("VERDICT: ENCOURAGING\nVERDICT: NEUTRAL\nVERDICT: OFFENSIVE") and "What is 3 times 0?" in tone


def test_judge_that_agrees_with_people_has_kappa_one(data):
    items, _ = MRBench().items(wish(data))
    found = measured(items, [said(item, item.facts["label"]) for item in items])
    for dimension in DIMENSIONS:
        assert found[f"mrbench/{dimension}/accuracy"].value == found[f"mrbench/{dimension}/kappa"].value == 1.0


def test_judge_that_always_says_the_same_has_kappa_zero(data):
    items, _ = MRBench().items(wish(data))
    found = measured(items, [said(item, "neutral" if item.task == "Tutor_Tone" else "yes") for item in items])
    assert {found[f"mrbench/{dimension}/kappa"].value for dimension in DIMENSIONS} == {0.0}


@pytest.mark.parametrize("reply", ["I would say yes.", "VERDICT: MAYBE", "", "VERDICT: YES\nor\nVERDICT: NO"])
def test_reply_that_is_no_verdict_agrees_with_nobody(data, reply):
    items, _ = MRBench().items(wish(data))
    found = measured(items, [reply] * len(items))
    assert found["mrbench/Coherence/accuracy"].value == 0.0 and found["mrbench/Coherence/unparsed"].value == 1.0
    assert found["mrbench/Coherence/kappa"].value == 0.0


def test_dialogues_on_problems_of_the_training_are_left_out(data):
    with pytest.raises(SuiteError, match="no labelled reply"):
        MRBench().items(wish(data, training=frozenset({PROBLEM.replace(" ", "  ")})))
    rows = json.loads(data.read_text())
    rows[0]["conversation_history"] = "Tutor: Something else. What is it?\nStudent: 3."
    data.write_text(json.dumps(rows))
    items, notes = MRBench().items(wish(data, training=frozenset({PROBLEM, "short"})))
    assert {item.cluster for item in items} == {"c0"} and "11 of 12 dialogues" in notes[0]


def test_data_without_labels_are_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps([dialogue(0) | {"anno_llm_responses": {"t": {"response": "x"}}}]))
    with pytest.raises(SuiteError, match="has no annotation"):
        MRBench().items(wish(path))


def kappa_by_hand(pairs):
    """Cohen's kappa from its definition, counted pair by pair."""
    n = len(pairs)
    observed = sum(right == given for right, given in pairs) / n
    names = {label for pair in pairs for label in pair}
    chance = sum(
        sum(right == name for right, _ in pairs) * sum(given == name for _, given in pairs) for name in names
    ) / (n * n)
    return (observed - chance) / (1 - chance)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_and_accuracy_equal_an_independent_count(data, seed):
    items, _ = MRBench().items(wish(data))
    drawn = random.Random(seed)
    given = [
        drawn.choice(
            ("yes", "no") if item.task == REVEALING else TONES if item.task == "Tutor_Tone" else DEGREES
        ).lower()
        for item in items
    ]
    found = measured(items, [said(item, label) for item, label in zip(items, given, strict=True)])
    for dimension in DIMENSIONS:
        pairs = [
            (item.facts["label"], label) for item, label in zip(items, given, strict=True) if item.task == dimension
        ]
        kappa, accuracy = (found[f"mrbench/{dimension}/{name}"] for name in ("kappa", "accuracy"))
        assert kappa.value == pytest.approx(kappa_by_hand(pairs))
        assert accuracy.value == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
        assert kappa.low is not None and kappa.high is not None and kappa.low < kappa.high
        assert kappa.count == len(pairs) == 36


def test_published_example_of_kappa():
    """The table of the article on Cohen's kappa in handbooks: 20 both yes, 15 both no, 5 and 10 apart."""
    pairs = [(1, 1)] * 20 + [(0, 0)] * 15 + [(1, 0)] * 5 + [(0, 1)] * 10
    found = cohens_kappa([Pair(str(i), *pair) for i, pair in enumerate(pairs)], 2)
    assert found.value == pytest.approx(0.4)
    assert found.low is not None and found.high is not None and 0.1 < found.low < 0.2 and 0.6 < found.high < 0.7


def test_kappa_without_pairs_or_with_one_cluster():
    assert cohens_kappa([], 2).value is None
    alone = cohens_kappa([Pair("a", 0, 0), Pair("a", 1, 1)], 2)
    assert (alone.value, alone.low) == (1.0, None)


def test_f1_averages_count_labels_that_either_side_gives():
    pairs = [Pair(str(i), *pair) for i, pair in enumerate([(0, 0), (0, 0), (1, 2), (1, 1)])]
    assert f1_average(pairs, 4, weighted=False).value == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert f1_average(pairs, 4, weighted=True).value == pytest.approx((2 * 1 + 2 * 2 / 3) / 4)
