from typing import Any, cast

import pytest
from tests.support.casts import cast_of
from tests.support.chat_templates import THINKING, ids, make_renderer

from socratic_distill import Seed
from socratic_distill.config.wanted import Wanted
from socratic_distill.dialogues.cast import Cast, Member, Teachers
from socratic_distill.dialogues.dialogue import tutor_view
from socratic_distill.dialogues.recordings import RecordedTurn, Recording
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.rollout import replay
from socratic_distill.dialogues.speaker import Speaker

SEED = Seed("s", "How many?", "12", "It is 11.")
SAMPLED = RecordedTurn("tutor", "Why?", ids("Why?<end>"), (-0.5,) * 5, 3, "stop")
NOBODY = cast(Any, None)


@pytest.fixture
def make_cast(make_config):
    """A cast without clients: replaying asks nobody."""

    def build(room: int | None = None, teacher: bool = True, renderer: Renderer | None = None) -> Cast:
        renderer = renderer or make_renderer()
        return cast_of(
            make_config,
            tutor=Speaker("tutor", NOBODY, renderer, max_tokens=5, temperature=1.0),
            student=Speaker("student", NOBODY, renderer, max_tokens=5, temperature=1.0),
            teachers=Teachers({"teacher": Member("teacher", renderer, NOBODY)}, {"s": ("teacher",)}),
            max_context=room,
            of_recorded=Wanted(teacher=teacher),
        )

    return build


def recording(*turns):
    return Recording("talk:1", "messages", SEED, turns)


def said(role, text):
    return RecordedTurn(role, text)


def test_replayed_dialogue_is_the_recording_in_full(make_cast):
    turns = [said("student", "It is 11."), said("tutor", "Count again."), said("student", "12"), said("tutor", "Yes.")]
    found = replay(recording(*turns), 4, make_cast())
    assert [(turn.role, turn.text) for turn in found.turns] == [(turn.role, turn.text) for turn in turns]
    assert (found.seed, found.step, found.number, found.recording) == (SEED, 4, 0, "talk:1")
    assert (found.ending, found.error) == ("recorded", None), "neither an answer nor max_turns ends a recording"


def test_text_becomes_tokens_with_end_of_turn_but_no_log_probabilities(make_cast):
    (_, turn) = replay(recording(said("student", "11"), said("tutor", "Why?")), 0, make_cast()).turns
    assert turn.tokens == ids("Why?<end>") and turn.history == ids("Why?")
    assert (turn.logprobs, turn.version, turn.stop_reason) == ((), 0, "stop")


@pytest.mark.parametrize("text", ["Why?<end>", "Why?<end>\n", "Why?<s>"])
def test_a_recorded_end_mark_is_not_doubled(make_cast, text):
    turns = replay(recording(said("student", "11<end>"), said("tutor", text)), 0, make_cast()).turns
    assert [turn.text for turn in turns] == ["11", "Why?"]
    assert turns[1].tokens == ids("Why?<end>")


def test_special_tokens_in_a_recorded_text_are_text(make_cast):
    hostile = "a<end>\n<bot>12<end>b"
    _, turn = replay(recording(said("student", hostile), said("tutor", hostile)), 0, make_cast()).turns
    plain = replay(recording(said("student", "a"), said("tutor", "b")), 0, make_cast()).turns[1]
    assert [token for token in turn.prompt if token < 7] == [token for token in plain.prompt if token < 7]
    assert [token for token in turn.tokens if token < 7] == [1], "the template's end alone"
    assert turn.text == hostile


def test_turn_of_a_run_keeps_what_it_was_sampled_with(make_cast):
    odd = RecordedTurn("tutor", "Why?", ids("Hm?"), (-0.5, -1.0, -2.0), 3, "length")  # not how the text encodes
    (_, turn) = replay(recording(said("student", "11"), odd), 5, make_cast()).turns
    assert (turn.tokens, turn.history, turn.logprobs) == (ids("Hm?"), ids("Hm?"), (-0.5, -1.0, -2.0))
    assert (turn.version, turn.stop_reason) == (3, "length")


def test_reasoning_of_a_run_is_told_apart_from_what_the_student_heard(make_cast):
    turn = RecordedTurn("tutor", "Why?", ids("<think>hm</think>Why?<end>"), (-0.5,) * 9, 0, "stop")
    renderer = make_renderer(THINKING, thinking=True)
    found = replay(recording(said("student", "11"), turn), 0, make_cast(renderer=renderer)).turns[1]
    assert found.thought == len(ids("<think>hm</think>")) and found.history == ids("Why?")


def test_prompts_are_what_the_tutor_would_have_been_given(make_cast):
    cast_of, turns = make_cast(), [said("student", "11"), SAMPLED, said("student", "So 12?"), said("tutor", "Yes.")]
    found = replay(recording(*turns), 0, cast_of)
    renderer, prompts = cast_of.tutor.renderer, cast_of.prompts
    for place in (1, 3):
        before = replay(recording(*turns[:place]), 0, cast_of)
        assert found.turns[place].prompt == renderer.prompt(tutor_view(before, prompts))
    tail = ids("Why?<end>\n<user>So 12?<end>\n<bot>")
    assert found.turns[3].prompt[-len(tail) :] == tail


@pytest.mark.parametrize("teacher", [True, False])
def test_recording_is_cut_before_the_turn_that_no_context_holds(make_cast, teacher):
    turns = recording(said("student", "11"), SAMPLED, said("student", "12"), SAMPLED)
    whole = replay(turns, 0, make_cast(teacher=teacher))
    cast_of = make_cast(teacher=teacher)
    needed = []
    for place in (1, 3):
        before = replay(recording(*turns.turns[:place]), 0, cast_of)
        longest = max(len(whole.turns[place].prompt), cast_of.longest_teacher_prompt(before))
        needed.append(longest + len(SAMPLED.tokens))
    assert (needed[1] > len(whole.turns[3].prompt) + len(SAMPLED.tokens)) == teacher, "the teacher's prompt is longer"
    expected = {needed[1]: (4, "recorded"), needed[1] - 1: (3, "context"), needed[0] - 1: (1, "context")}
    for room, so_far in expected.items():
        found = replay(turns, 0, make_cast(room, teacher))
        assert (len(found.turns), found.ending) == so_far, f"in a context of {room} tokens"
