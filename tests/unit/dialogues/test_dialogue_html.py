from hypothesis import given, settings, strategies as st
from tests.support.markup import MARKUP, check_inert
from tests.support.talks import talk
from tests.support.written_runs import ASKS, row_of

from socratic_distill.dialogues.stored import StoredDialogue

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text() | st.just(MARKUP),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = ["seed", "step", "number", "question", "expected_answer", "initial_error", "ending", "error", "turns", "reward"]
TURN_KEYS = ["role", "text", "pieces", "tutor_logprobs", "teacher_logprobs", "weights", "stop_reason"]


def turn_of(gap, piece="ok"):
    logprobs = {"tutor_logprobs": [-1.0], "teacher_logprobs": [-1.0 + gap]}
    return {"role": "tutor", "text": piece, "pieces": [piece], "stop_reason": "length", **logprobs}


def html_of(**changes):
    return StoredDialogue(row_of() | changes)._repr_html_()


def test_tokens_are_orange_where_the_teacher_likes_them_less_else_blue():
    less, more, same = (html_of(turns=[turn_of(gap)]) for gap in (-0.5, 0.5, 0.0))
    assert 'rgba(226,116,20,0.20)" title="tutor −1.00, teacher −1.50, difference −0.50 nats">ok' in less
    assert 'rgba(42,142,210,0.20)" title=' in more
    assert '<span style="border-radius:3px" title=' in same
    assert "underline" in html_of(turns=[turn_of(-1.0)]).replace("underlined", "")
    assert "underline" not in less.replace("underlined", "")


def test_a_tokens_weights_are_told_where_it_has_some():
    weights = {"weights": [0.5], "forward_weights": [0.0]}
    html = html_of(turns=[turn_of(0.5) | weights])
    assert 'difference 0.50 nats, weight 0.50, weight in forward divergences 0.00"' in html
    assert "weight" not in html_of(turns=[turn_of(0.5)]) and "weight 0" not in html_of(
        turns=[turn_of(0.5) | {"weights": []}]
    )


def test_turns_without_scores_are_plain_text():
    html = html_of(turns=[{"role": "tutor", "text": "What is 5 + 5?"}])
    assert "What is 5 + 5?" in html and "rgba(226" not in html


def test_prompts_are_folded_and_escaped():
    html = StoredDialogue(row_of(), {"the tutor's prompt": MARKUP})._repr_html_()
    assert html.count("<details>") == 1
    assert "alert(1)" in check_inert(html)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING), st.dictionaries(st.sampled_from(TURN_KEYS), ANYTHING))
def test_a_strangers_row_is_shown_as_text_whatever_it_holds(row, turn):
    for changes in (row, {"turns": [turn_of(0.5) | turn]}):
        dialogue = StoredDialogue(row_of() | changes)
        check_inert(dialogue._repr_html_())
        assert repr(dialogue) and str(dialogue) is not None


def test_a_played_dialogue_shows_its_turns_and_its_repr_is_short():
    dialogue = talk(*ASKS, seed=MARKUP, max_turns=1)
    assert ASKS[1] in check_inert(dialogue._repr_html_())
    assert repr(dialogue) == f"Dialogue(seed={MARKUP!r}, step=0, number=0, turns=3, ending='solved')"


def test_a_stored_dialogue_prints_its_turns():
    dialogue = StoredDialogue(row_of(seed="s1", step=3))
    assert str(dialogue) == "student: 5 + 7 = 11.\n  tutor: What is 5 + 5?\nstudent: 10, so 5 + 7 = 12."
    assert repr(dialogue) == "StoredDialogue(seed='s1', step=3, number=0, turns=3, ending='solved')"
    assert (dialogue.solved, dialogue.told, dialogue.ending) == (True, False, "solved")
