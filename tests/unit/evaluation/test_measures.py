import numpy as np
import pytest
from tests.support.talks import scored_dialogue, talk

from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.evaluation.definitions import MEASURES
from socratic_distill.evaluation.intervals import Measure, means
from socratic_distill.evaluation.judge import judge_parts
from socratic_distill.evaluation.measures import leaks, parts_of
from socratic_distill.evaluation.solving import solve_parts
from socratic_distill.training.metrics import dialogue_metrics

ASKED = talk("It is 11.", "What is 5 + 5?", "Hm, 10.", "And 2 more?", "So it is 12.", seed="a")
TOLD = talk("It is 11.", "It is 12.", "So it is 12.", seed="b")
UNSOLVED = talk("It is 11.", "Why is that?", "Still 11.", seed="c", max_turns=1)
AT_START = talk("It is 12.", seed="d")
NO_ROOM = talk(seed="e", ending="context")
FAILED = talk("It is 11.", "12, 12 and 12!", seed="f", ending="failed")
ALL = [scored_dialogue(one) for one in (ASKED, TOLD, UNSOLVED, AT_START, NO_ROOM, FAILED)]


def values(dialogues):
    return {name: one.value for name, one in means(parts_of(dialogues)).items()}


def test_every_measure_is_defined_and_every_defined_one_is_measured():
    measured = parts_of([]) | judge_parts([], []) | solve_parts([], [])
    assert measured.keys() == MEASURES.keys()
    assert set(means(measured).values()) == {Measure(None, None, None, 0)}


@pytest.mark.parametrize("one", MEASURES.values(), ids=lambda one: one.name)
def test_definitions_are_whole(one):
    assert one.description.endswith(".") and one.description[0].isupper()
    assert one.source and one.unit and one.direction in ("up", "down", "none") and one.kind in ("share", "mean")
    assert one.kind == "mean" or one.unit.startswith("share of")


def test_measures_of_dialogues_by_hand():
    found = values(ALL)
    assert found["solved"] == 3 / 5 and found["solved/untold"] == 2 / 5
    assert found["turns_to_solve"] == (2 + 1 + 0) / 3
    assert found["asks"] == 3 / 4 and found["first_reply/asks"] == 2 / 3 and found["first_reply/tells"] == 1 / 3
    assert found["leaks"] == 1 / 3
    assert found["mathdial/success@1"] == 2 / 5 and found["mathdial/success@2"] == 3 / 5
    assert found["mathdial/telling@1"] == found["mathdial/telling@7"] == 1 / 5
    assert found["mathdial/turns_to_success"] == (2 + 1 + 0) / 3
    assert found["reply_tokens"] == sum(len(t.tokens) for d in (ASKED, TOLD, UNSOLVED) for t in d.tutor_turns) / 4
    assert found["repetition"] == 0.0


def test_counts_are_of_what_the_mean_is_over():
    found = {name: one.count for name, one in means(parts_of(ALL)).items()}
    assert found["solved"] == found["mathdial/success@1"] == 5
    assert (found["leaks"], found["first_reply/asks"], found["asks"], found["turns_to_solve"]) == (3, 3, 4, 3)
    assert found["teacher_kl"] == sum(len(t.tokens) for d in (ASKED, TOLD, UNSOLVED) for t in d.tutor_turns)


def test_measures_agree_with_those_of_a_training_step():
    found = values(ALL[:-1])
    step = dialogue_metrics(ALL[:-1], lambda tokens: "")
    assert found["reply_tokens"] == step["reply_tokens/mean"]
    assert {name: found[name] for name in ("solved", "first_reply/asks", "first_reply/tells")} == {
        name: step[name] for name in ("solved", "first_reply/asks", "first_reply/tells")
    }
    assert found["teacher_kl"] == pytest.approx(step["teacher_kl"])


def test_teacher_kl_is_a_mean_over_tokens_with_an_interval_over_seeds():
    short, long = (
        scored_dialogue(talk("11", "No", "Hm.", seed="a"), gap=1.0),
        scored_dialogue(talk("11", "Count", "Hm.", seed="b"), gap=0.0),
    )
    found = means(parts_of([short, long]))["teacher_kl"]
    assert found.value == pytest.approx(3 / 9) and (found.low, found.high) == (0.0, 1.0) and found.count == 9


def test_dialogue_that_the_teacher_did_not_score_has_no_part_in_teacher_kl():
    unscored = ScoredDialogue(ASKED, tutor=tuple(np.asarray(turn.logprobs) for turn in ASKED.tutor_turns))
    assert means(parts_of([unscored]))["teacher_kl"] == Measure(None, None, None, 0)


def test_interval_is_over_seeds_not_dialogues():
    one_seed = [
        scored_dialogue(talk("It is 11.", "Why?", answer, seed="a", max_turns=1)) for answer in ("12", "11", "12")
    ]
    assert means(parts_of(one_seed))["solved"] == Measure(2 / 3, None, None, 3)


@pytest.mark.parametrize(
    ("texts", "leaked"),
    [
        (("It is 11.", "It is 12.", "12?"), True),
        (("It is 11.", "Why?", "Is it 12?", "Yes, 12."), False),
        (("Is it 12? No, 11.", "Of course it is 12."), False),
        (("It is 11.", "Why?", "Hm.", "Because of 112."), False),
        (("It is 11.",), False),
    ],
)
def test_leak_is_an_answer_that_the_tutor_says_first(texts, leaked):
    assert leaks(talk(*texts)) is leaked


def test_mathdials_rule_and_ours_are_told_apart():
    found = values([scored_dialogue(talk("Is it 12? No, 11.", "Why?", "Is it 12?", seed="a", max_turns=1))])
    assert found["mathdial/success@1"] == 1.0 and found["solved"] == 0.0


def test_repetition_is_a_mean_over_dialogues_that_have_enough_words():
    repeats = talk("11.", "What is 5 plus 7?", "11.", "What is 5 plus 7?", "11.", seed="a")
    dialogues = [
        scored_dialogue(repeats),
        scored_dialogue(TOLD),
        scored_dialogue(talk("11", "a b c d", "11", seed="z")),
    ]
    found = means(parts_of(dialogues))["repetition"]
    assert (found.value, found.count) == (0.25, 2)
