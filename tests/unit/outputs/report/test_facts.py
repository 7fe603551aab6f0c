"""The facts of a row are the measures of its dialogue."""

import pytest
from tests.support.talks import scored_dialogue, talk
from tests.support.written_runs import ASKS, FAILS, TELLS, row_of

from socratic_distill.distillation.rows import dialogue_row
from socratic_distill.evaluation.intervals import means
from socratic_distill.evaluation.measures import parts_of
from socratic_distill.outputs.report.facts import FIGURES, facts_of, gaps

TALKS = [
    talk(*ASKS), talk(*TELLS), talk(*FAILS, max_turns=1), talk("It is 12."), talk("1"),
    talk("5", "Is it 1,2?", "Is it 12?", "Yes! 12.", "12", max_turns=5),
]  # fmt: skip


@pytest.mark.parametrize("dialogue", TALKS)
def test_a_dialogue_has_the_figures_of_an_evaluation_of_it(dialogue):
    one = scored_dialogue(dialogue, gap=0.25)
    facts = facts_of(dialogue_row(one, lambda tokens: [""] * len(tokens)))
    wanted = means(parts_of([one]))
    for name, total, count in zip(FIGURES, facts.totals, facts.counts, strict=True):
        assert (total / count if count else None) == pytest.approx(wanted[name].value), name
        assert count == wanted[name].count, name
    assert (facts.solved, facts.told) == (dialogue.solved, dialogue.told)


def test_recorded_and_failed_dialogues_are_not_played():
    assert facts_of(row_of()).played
    assert not facts_of(row_of(recording="r1")).played
    assert not facts_of(row_of(ending="failed")).played


def test_tokens_without_a_score_have_no_gap():
    turn = {"tutor_logprobs": [-1.0, -2.0, None], "teacher_logprobs": [-1.5, float("-inf"), -1.0]}
    assert gaps(turn)[0] == -0.5
    row = row_of(("5", "a", "6"), gap=0.0)
    row["turns"][1] |= {"tokens": [1, 2, 3], **turn}
    place = FIGURES.index("teacher_kl")
    facts = facts_of(row)
    assert (facts.totals[place], facts.counts[place]) == (0.5, 1)
    assert gaps({"tutor_logprobs": [-1.0], "teacher_logprobs": [-1.0, -2.0]}) == gaps({}) == []


@pytest.mark.parametrize("changes", [{"turns": None}, {"turns": [{"role": "judge", "text": ""}]}, {"turns": [1]}])
def test_what_is_no_dialogue_raises(changes):
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        facts_of(row_of(**changes))
