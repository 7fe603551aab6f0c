from tests.support.markup import MARKUP, check_inert
from tests.support.talks import scored_dialogue, talk

from socratic_distill.evaluation import Comparison, Evaluation, Measure, StoredEvaluation

MEASURES = {
    "solved": Measure(0.75, 0.5, 1.0, 4),
    "teacher_kl": Measure(0.25, None, None, 40),
    "mathdial/success@1": Measure(None, None, None, 0),
    MARKUP: Measure(1.0, 0.0, 2.0, 3),
}


def evaluation(name="final"):
    dialogues = (scored_dialogue(talk("5 + 7 = 11.", "What is 5 + 5?", "12.", max_turns=1), 0.5),)
    return Evaluation(name, f"tinker://x/{MARKUP}", MEASURES, dialogues, (), lambda tokens: ["?"] * len(tokens))


def test_the_main_measures_come_first_with_interval_and_direction():
    text = check_inert(evaluation()._repr_html_())
    assert "solved ↑75% [50%, 100%]" in text
    assert text.index("teacher_kl") < text.index("solved") < text.index("mathdial/success@1")


def test_a_comparison_is_a_dict_that_shows_tutors_side_by_side():
    comparison = Comparison({"base": evaluation("base"), MARKUP: evaluation(MARKUP)})
    assert isinstance(comparison, dict) and list(comparison) == ["base", MARKUP]
    assert "75% [50%, 100%]75% [50%, 100%]" in check_inert(comparison._repr_html_())


def test_reprs_are_one_short_line():
    assert repr(evaluation()) == "Evaluation('final', dialogues=1, teacher_kl=0.250)"
    assert repr(StoredEvaluation(4, "x", {}, error="it\nfailed")) == (
        r"StoredEvaluation(batch=4, dialogues=0, error='it\nfailed')"
    )


def test_a_stored_evaluation_shows_its_error_as_text():
    assert "alert(1)" in check_inert(StoredEvaluation(4, "x", {}, error=MARKUP)._repr_html_())


def test_a_dialogue_of_an_evaluation_has_coloured_tokens():
    html = evaluation().dialogue(-1)._repr_html_()
    assert "rgba(42,142,210" in html or "rgba(226,116,20" in html
