from typing import Any, cast

import pytest
from tests.support.casts import cast_of
from tests.support.chat_templates import PLAIN, ids, make_renderer
from tests.support.talks import Voice, talk

from socratic_distill.dialogues.attempts import final_messages
from socratic_distill.dialogues.cast import Teachers
from socratic_distill.dialogues.dialogue import Message
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.evaluation.intervals import Measure, means
from socratic_distill.evaluation.solving import SolveRates, solve_parts, solve_rates

ALTERNATING = (
    "{% for m in messages[2:] %}{% if m.role == messages[loop.index0 + 1].role %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + PLAIN
)
NOBODY = cast(Any, None)
SOLVED = talk("It is 11.", "What is 5 + 5?", "So it is 12.", seed="a")
LOST = talk("It is 11.", "Why?", "Still 11.", seed="b", max_turns=1)
FINAL = "once more on your own"


def last_message(prompt):
    return prompt.rpartition("<user>")[2]


def helped(prompt, seed):
    """A student whose one in four attempts is right, and three in four after a talk that ends with 12."""
    if FINAL not in last_message(prompt):
        return ["11", "It is 11.", "5 + 7 = 12", "12 or 11"]
    return ["12", "12.0", "It is $12", "No idea."] if "So it is 12." in prompt else ["11"] * 4


@pytest.fixture
def make_cast(make_config):
    def build(reply, room=None, template=PLAIN):
        student = Speaker("student", Voice(reply), make_renderer(template), max_tokens=20, temperature=1.0)
        fields = dict(tutor=NOBODY, student=student, teachers=Teachers({}, {}))
        return cast_of(make_config, **fields, max_turns=lambda step: 2, max_context=room, seed=3)

    return build


async def test_solve_rates_are_the_shares_of_right_attempts_before_and_after(make_cast):
    found = await solve_rates([SOLVED, LOST], make_cast(helped), k=4, concurrency=2)
    assert found == [SolveRates(0.25, 0.75), SolveRates(0.25, 0.0)]


async def test_before_is_asked_once_a_seed_and_after_with_the_dialogue(make_cast):
    playing = make_cast(helped)
    await solve_rates([SOLVED, SOLVED, LOST], playing, k=4, concurrency=1)
    asked = [prompt for prompt, _, _ in playing.students.client.asked]
    openings = [prompt for prompt in asked if FINAL not in prompt]
    assert len(openings) == 2 and len(asked) == 5
    assert "Your mistake: 5 + 7 = 11" in openings[0] and "Curious." in openings[0]
    assert last_message(openings[0]) == "Tell me how you solved the problem.<end>\n<bot>"
    after = next(prompt for prompt in asked if FINAL in prompt)
    assert after.startswith(openings[0] + "It is 11.<end>\n<user>What is 5 + 5?<end>\n<bot>So it is 12.<end>\n<user>")


async def test_attempts_are_drawn_apart_and_alike_in_each_run(make_cast):
    runs = []
    for _ in range(2):
        playing = make_cast(helped)
        await solve_rates([SOLVED, LOST], playing, k=4, concurrency=1)
        runs.append([(seed, count) for _, seed, count in playing.students.client.asked])
    assert runs[0] == runs[1] and len({seed for seed, _ in runs[0]}) == 4
    assert {count for _, count in runs[0]} == {4}, "one request has all attempts"


async def test_dialogue_that_outgrew_the_context_has_a_rate_before_alone(make_cast):
    opening = len(
        ids(make_renderer().text([Message("system", "x" * 400), Message("user", "Tell me how you solved it.")]))
    )
    playing = make_cast(helped, room=10 * opening)
    long = talk("It is 11.", "Why? " * 4 * opening, "Hm.", seed="long")
    assert await solve_rates([long, SOLVED], playing, k=4, concurrency=2) == [
        SolveRates(0.25, None),
        SolveRates(0.25, 0.75),
    ]
    assert await solve_rates([SOLVED], make_cast(helped, room=10), k=4, concurrency=2) == [SolveRates()]


async def test_failed_dialogue_and_one_without_turns_are_not_tried_after(make_cast):
    playing = make_cast(helped)
    dialogues = [talk(seed="x", ending="context"), talk("11", "Why?", seed="y", ending="failed")]
    assert await solve_rates(dialogues, playing, k=4, concurrency=2) == [SolveRates(0.25, None), SolveRates()]
    assert len(playing.students.client.asked) == 1


async def test_failed_call_is_recorded_and_leaves_the_others_alone(make_cast):
    def reply(prompt, seed):
        if FINAL in prompt and "Still 11." in prompt:
            raise ConnectionError("gone")
        return helped(prompt, seed)

    found = await solve_rates([LOST, SOLVED], make_cast(reply), k=4, concurrency=2)
    assert found == [SolveRates(0.25, None, "ConnectionError: gone"), SolveRates(0.25, 0.75)]


async def test_talk_that_the_tutor_ended_still_alternates(make_cast):
    ended = talk("It is 11.", "Look again.", ending="context")
    playing = make_cast(lambda prompt, seed: "12", template=ALTERNATING)
    assert await solve_rates([ended], playing, k=1, concurrency=1) == [SolveRates(1.0, 1.0)]
    (asked,) = (prompt for prompt, _, _ in playing.students.client.asked if FINAL in prompt)
    assert "<user>Look again.\n\nThe talk is over." in asked


def test_question_joins_the_tutors_last_message_or_follows_the_students():
    opening, reply = Message("user", "Tell me."), Message("assistant", tokens=(5,))
    assert final_messages([opening], "Now?") == [Message("user", "Tell me.\n\nNow?")]
    assert final_messages([opening, reply], "Now?") == [opening, reply, Message("user", "Now?")]


def test_solve_measures_are_over_dialogues_with_both_rates():
    dialogues = [talk(seed=name) for name in "abcd"]
    rates = [SolveRates(0.25, 0.75), SolveRates(0.0, 0.0), SolveRates(1.0, None), SolveRates()]
    found = means(solve_parts(rates, dialogues))
    assert {name: (one.value, one.count) for name, one in found.items()} == {
        "solve_rate/before": (0.125, 2),
        "solve_rate/after": (0.375, 2),
        "solve_rate/delta": (0.25, 2),
    }
    assert found["solve_rate/delta"] == Measure(0.25, 0.0, 0.5, 2)
