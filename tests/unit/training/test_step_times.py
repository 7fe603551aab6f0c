"""Who waited for whom: by hand, over any times, and on the virtual service, whose ledger tells the same."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples
from tests.support.on_the_fake import train_virtually
from tests.support.rows import rows_of_run
from tests.support.virtual_runs import virtual_config

from socratic_distill import Seed
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.dialogues.reward_sums import Terms
from socratic_distill.dialogues.rewards import Rewarded
from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.testing.clock import run_virtual
from socratic_distill.testing.virtual import VirtualServiceClient
from socratic_distill.training.step_times import (
    StepTimes,
    Stopwatch,
    critical_seconds,
    dialogue_spans,
    span_row,
    time_metrics,
)

PHASES = ("opening", "student", "tutor", "teacher", "update", "weights", "waiting")
# Begins at 100; its weights are there at 104; its request is sent at 130 and answered at 150.
TIMES = StepTimes(began=100.0, renewed=104.0, taken=130.0, answered=150.0)


def timed_dialogue(*spans, scored=None):
    """A dialogue whose turns took these spans, in order; without scores where none are timed."""
    roles = ["student", "tutor"] * len(spans)
    turns = [
        Turn(role, "hm", (1,), (2,), (2,), (-1.0,), 0, "stop", span=span)  # pyright: ignore[reportArgumentType]
        for role, span in zip(roles, spans, strict=False)
    ]
    dialogue = Dialogue(Seed("s", "q", "12"), 3, 0, tuple(turns))
    if scored is None:
        return ScoredDialogue(dialogue)
    return ScoredDialogue(dialogue, teacher=(np.zeros(1),), span=scored)


SLOW = timed_dialogue((85, 98), (104, 110), (110, 120), (120, 127), (130, 140), scored=(127, 130))
QUICK = timed_dialogue((90, 95), (104, 106), (106, 112), (112, 116), (121, 139), scored=(116, 121))


def waited_for(times, *scored):
    """The phases that a step waited for, with their seconds."""
    return {phase: seconds for phase, seconds in critical_seconds(times, scored).items() if seconds}


# By hand


def test_time_metrics_are_seconds_by_phase_and_shares_of_the_step():
    assert time_metrics(TIMES, [QUICK, SLOW]) == pytest.approx(
        {
            "time/step": 50.0,
            "time/opening": 13.0,
            "time/student": 14.0 + 19.0,  # 106 to 120, 121 to 140
            "time/tutor": 6.0 + 4.0 + 7.0,  # 104 to 110, 112 to 116, 120 to 127
            "time/teacher": 5.0 + 3.0,
            "time/update": 20.0,
            "time/weights": 4.0,
            "time/critical/opening": 0.0,
            "time/critical/student": 10 / 50,
            "time/critical/tutor": 13 / 50,
            "time/critical/teacher": 3 / 50,
            "time/critical/update": 20 / 50,
            "time/critical/weights": 4 / 50,
            "time/critical/waiting": 0.0,
        }
    )


def test_a_step_may_wait_for_rewards_given_while_the_teachers_score():
    late = replace(SLOW, rewarded=Rewarded({}, Terms((), ()), span=(126, 134)))
    times = StepTimes(began=100.0, renewed=104.0, taken=134.0, answered=150.0)
    assert waited_for(times, QUICK, late) == {"update": 16, "reward": 8, "tutor": 12, "student": 10, "weights": 4}
    metrics = time_metrics(times, [QUICK, late])
    assert metrics["time/reward"] == 8.0 and metrics["time/critical/reward"] == 8 / 50
    assert sum(share for key, share in metrics.items() if key.startswith("time/critical/")) == pytest.approx(1.0)
    early = replace(SLOW, rewarded=Rewarded({}, Terms((), ()), span=(127, 129)))
    assert waited_for(TIMES, QUICK, early) == waited_for(TIMES, QUICK, SLOW)
    without_requests = replace(SLOW, rewarded=Rewarded({}, Terms((), ())))
    assert time_metrics(TIMES, [QUICK, without_requests]) == time_metrics(TIMES, [QUICK, SLOW])


def test_metrics_of_a_batch_without_dialogues_have_the_same_keys():
    empty = time_metrics(TIMES, [])
    assert list(empty) == list(time_metrics(TIMES, [QUICK, SLOW]))
    assert {key for key, value in empty.items() if value} == {
        "time/step", "time/update", "time/weights",
        "time/critical/update", "time/critical/weights", "time/critical/waiting",
    }  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12))))
@settings(max_examples=examples(100), deadline=None)
def test_seconds_of_a_phase_are_those_in_which_a_request_was_under_way(openings):
    spans = [(start, start + length) for start, length in openings]
    seconds = {at for start, end in spans for at in range(start, end)}
    assert time_metrics(TIMES, [timed_dialogue(span) for span in spans])["time/opening"] == len(seconds)


def test_the_step_waits_for_the_dialogue_that_was_scored_last():
    assert waited_for(TIMES, QUICK, SLOW) == {"update": 20, "teacher": 3, "tutor": 13, "student": 10, "weights": 4}
    assert waited_for(TIMES, SLOW, QUICK) == waited_for(TIMES, SLOW), "by order instead of time"
    # Its scores were there at 121: nobody knows what the nine seconds from then on were for.
    alone = {"update": 20, "waiting": 9, "teacher": 5, "tutor": 6, "student": 6, "weights": 4}
    assert waited_for(TIMES, QUICK) == alone
    # Asked for before those of the other one, and there after them.
    slowly_scored = timed_dialogue((85, 98), (104, 126), scored=(126, 130))
    assert waited_for(TIMES, slowly_scored, timed_dialogue((85, 98), (104, 127), scored=(127, 129)))["tutor"] == 22
    never_scored = timed_dialogue((90, 103), (104, 128))
    assert waited_for(TIMES, QUICK, never_scored) == alone


def test_the_answer_to_the_last_turn_is_never_waited_for():
    # The step was taken at 130, for a dialogue that failed then; the answer of the one that was scored was there.
    failed = timed_dialogue((90, 103), (104, 130))
    answered = timed_dialogue((90, 95), (104, 110), (115, 125), scored=(110, 115))
    expected = {"update": 20, "waiting": 15, "teacher": 5, "tutor": 6, "weights": 4}
    assert waited_for(TIMES, failed, answered) == expected


def test_an_opening_slower_than_the_weights_is_what_was_waited_for():
    long = timed_dialogue((90, 108), (108, 125), scored=(125, 130))
    assert waited_for(TIMES, long) == {"update": 20, "teacher": 5, "tutor": 17, "opening": 8}
    late = timed_dialogue((101, 108), (108, 125), scored=(125, 130))
    expected = {"update": 20, "teacher": 5, "tutor": 17, "opening": 7, "waiting": 1}
    assert waited_for(TIMES, late) == expected


def test_weights_that_outlast_an_opening_are_waited_for_and_it_is_not():
    """As in a run's first step: nothing is shorter where the opening is."""
    for opening in [(90, 101), (100, 103), (101, 104)]:
        dialogue = timed_dialogue(opening, (104, 125), scored=(125, 130))
        assert waited_for(TIMES, dialogue) == {"update": 20, "teacher": 5, "tutor": 21, "weights": 4}, opening


def test_a_place_that_came_later_than_the_weights_is_waited_for():
    dialogue = timed_dialogue((90, 95), (110, 125), scored=(125, 130))
    assert waited_for(TIMES, dialogue) == {"update": 20, "teacher": 5, "tutor": 15, "waiting": 6, "weights": 4}


def test_newer_weights_than_the_dialogue_began_with_are_not_waited_for():
    """With staleness: its first turns were on weights that were there before the step began."""
    dialogue = timed_dialogue((80, 85), (102, 125), scored=(125, 130))
    assert waited_for(TIMES, dialogue) == {"update": 20, "teacher": 5, "tutor": 23, "waiting": 2}


def test_what_lies_before_the_step_is_cut_off():
    ahead = timed_dialogue((80, 85), (85, 95), (95, 107), (107, 125), scored=(125, 130))
    assert waited_for(TIMES, ahead) == {"update": 20, "teacher": 5, "tutor": 18, "student": 7}
    done = timed_dialogue((50, 55), (55, 60), scored=(60, 65))
    assert waited_for(StepTimes(100, 104, 100, 120), done) == {"update": 20}
    assert time_metrics(TIMES, [ahead])["time/tutor"] == 10 + 18, "seconds of a phase count whenever they were"


def test_a_step_that_was_queued_early_waits_for_its_update_alone():
    dialogue = timed_dialogue((50, 55), (55, 60), (61, 70), scored=(60, 65))
    row = time_metrics(StepTimes(began=100, renewed=104, taken=90, answered=120), [dialogue])
    assert row["time/critical/update"] == 1.0 and row["time/step"] == 20.0
    assert row["time/update"] == 30.0
    assert sum(row[f"time/critical/{phase}"] for phase in PHASES) == 1.0


def test_a_batch_without_scores_waits_for_nothing_that_it_could_name():
    failed = [timed_dialogue((90, 103), (104, 130)), timed_dialogue()]
    assert waited_for(TIMES, *failed) == {"update": 20, "weights": 4, "waiting": 26}
    assert waited_for(StepTimes(100, 100, 130, 130), *failed) == {"waiting": 30}


def test_a_step_without_time_has_shares_of_zero():
    row = time_metrics(StepTimes(100, 100, 100, 100), [])
    assert row["time/step"] == 0.0 and set(row.values()) == {0.0}


def test_spans_of_a_dialogue_are_in_order_by_phase():
    dialogue = timed_dialogue((1, 2), (2, 3), (3, 4), (4, 5), (6, 9), scored=(5, 6))
    assert dialogue_spans(dialogue) == [
        ("opening", (1, 2)), ("tutor", (2, 3)), ("student", (3, 4)), ("tutor", (4, 5)),
        ("teacher", (5, 6)), ("student", (6, 9)),
    ]  # fmt: skip
    assert dialogue_spans(timed_dialogue()) == []


def test_span_row_is_rounded_seconds_since_the_step_began():
    dialogue = timed_dialogue((97.1234567, 99.9996), (100.0004, 103.1), (105.25, 107.0), scored=(103.1, 105.25))
    row = span_row(TIMES, dialogue)
    assert row == {"time/spans": [[-2.877, -0.0], [0.0, 3.1], [5.25, 7.0], [3.1, 5.25]]}
    assert json.loads(json.dumps(row)) == row


def test_span_row_has_a_span_for_each_turn_and_one_for_any_scores():
    assert span_row(TIMES, timed_dialogue((101, 102), (103, 104))) == {"time/spans": [[1, 2], [3, 4]]}
    assert span_row(TIMES, timed_dialogue((101, 102), (103, 104), scored=(104, 106)))["time/spans"][2:] == [[4, 6]]
    assert span_row(TIMES, timed_dialogue()) == {"time/spans": []}


# Over any times

moments = st.floats(0, 1000, allow_nan=False)
spans_of = st.lists(st.tuples(moments, moments).map(lambda span: tuple(sorted(span))), max_size=7)
dialogues_of = st.builds(
    lambda spans, scored: timed_dialogue(*spans, scored=scored),
    spans_of,
    st.none() | st.tuples(moments, moments).map(lambda span: tuple(sorted(span))),
)


@given(moments, st.floats(0.001, 500), moments, moments, st.lists(dialogues_of, max_size=4))
@settings(max_examples=examples(150), deadline=None)
def test_shares_are_never_negative_and_sum_to_one(began, length, renewed, taken, scored):
    answered = began + length
    row = time_metrics(StepTimes(began, renewed, min(taken, answered), answered), scored)
    shares = [row[f"time/critical/{phase}"] for phase in PHASES]
    assert sum(shares) == pytest.approx(1.0)
    assert all(0.0 <= share <= 1.0 + 1e-9 for share in shares), shares
    assert all(value >= 0.0 for value in row.values())


# The stopwatch


def test_stopwatch_notes_the_times_on_the_loops_clock():
    async def main():
        await asyncio.sleep(7)
        clock, times = Stopwatch(), []
        for step in (4, 5, 6):
            await asyncio.sleep(1)
            if step != 6:  # the save of these weights failed
                clock.renewed(step)
            await asyncio.sleep(2)
            clock.taken(step)
            await asyncio.sleep(3)
            times.append(clock.answered(step))
        return times

    assert run_virtual(main()) == [
        StepTimes(7, 8, 10, 13), StepTimes(13, 14, 16, 19), StepTimes(19, 19, 22, 25),
    ]  # fmt: skip


def test_stopwatch_tells_steps_apart_that_overlap():
    async def main():
        clock = Stopwatch()
        clock.renewed(0)
        clock.taken(0)
        await asyncio.sleep(1)
        clock.taken(1)
        await asyncio.sleep(4)
        first = clock.answered(0)
        clock.renewed(1)
        await asyncio.sleep(5)
        return first, clock.answered(1)

    assert run_virtual(main()) == (StepTimes(0, 0, 0, 5), StepTimes(5, 5, 1, 10))


# On the virtual service


@pytest.fixture
def train(make_config):
    """Trains in virtual time; gives the service, the rows of metrics and, of each step, those of dialogues."""

    def train(**changes):
        config = virtual_config(make_config, **({"groups_per_batch": 2, "max_steps": 4} | changes))
        service = train_virtually(VirtualServiceClient(), config)
        rows, dialogues = rows_of_run(config.log_path, without=())
        return service, rows, [[row for row in dialogues if row["step"] == step["step"]] for step in rows]

    return train


def seconds_of(row):
    """The seconds of a step that it waited for each phase."""
    return {phase: row[f"time/critical/{phase}"] * row["time/step"] for phase in PHASES}


@pytest.mark.parametrize(
    "changes",
    [{}, {"max_staleness": 1}, {"max_staleness": 3}, {"max_concurrent_dialogues": 2}, {"max_tokens": 1}],
    ids=str,
)
def test_waits_add_up_to_the_step_and_steps_to_the_run(train, changes):
    service, rows, _ = train(**changes)
    for row in rows:
        assert sum(seconds_of(row).values()) == pytest.approx(row["time/step"])
    steps = [one.answered for one in service.ledger if one.call == "optim_step"]
    lengths = [row["time/step"] for row in rows]
    assert lengths[1:] == pytest.approx(np.diff(steps))
    began = next(one.submitted for one in service.ledger if one.call == "save_weights_for_sampler")
    assert lengths[0] == pytest.approx(steps[0] - began)


def test_an_on_policy_run_waits_for_what_the_services_ledger_says(train):
    service, rows, _ = train()
    ledger = service.ledger
    steps = [one for one in ledger if one.call == "optim_step"]
    scores = [one for one in ledger if one.model == "teacher" and one.prompt_tokens]
    saves = [one for one in ledger if one.call == "save_weights_for_sampler"]
    opened = {one.path: one.answered for one in ledger if one.call == "create_sampling_client"}
    for row, step, before in zip(rows, steps, [None, *steps], strict=False):
        waited = seconds_of(row)
        assert row["time/update"] == pytest.approx(step.answered - step.submitted)
        assert waited["update"] == pytest.approx(step.answered - step.submitted)
        last = max((one for one in scores if one.answered <= step.submitted), key=lambda one: one.answered)
        assert waited["teacher"] == pytest.approx(last.answered - last.submitted)
        assert waited["waiting"] == pytest.approx(0.0, abs=1e-6), "strict order leaves no gap"
        if before is not None:
            save = min((one for one in saves if one.submitted >= before.submitted), key=lambda one: one.submitted)
            assert waited["weights"] == pytest.approx(opened[save.path] - before.answered)
            assert waited["opening"] == 0.0, "they were sampled while the step before trained"


def test_a_stale_run_waits_for_its_updates_alone(train):
    _, rows, _ = train(max_staleness=1)
    assert rows[0]["time/critical/update"] < 1
    assert [row["time/critical/update"] for row in rows[1:]] == pytest.approx([1.0] * 3)


def test_dialogues_that_need_each_others_places_are_waited_for(train):
    _, rows, _ = train(max_concurrent_dialogues=1)
    assert all(row["time/critical/waiting"] > 0.2 for row in rows)


def test_dialogues_keep_their_spans_and_what_runs_ahead_is_negative(train):
    _, rows, dialogues = train()
    for row, batch in zip(rows, dialogues, strict=True):
        taken, scored = row["time/step"] - row["time/update"], []
        for one in batch:
            *turns, score = one["time/spans"]
            assert len(turns) == len(one["turns"])
            assert all(start < end for start, end in one["time/spans"])
            if row["step"]:
                assert turns[0][1] < 0, "the opening waited for the step before"
                assert turns[1][0] == pytest.approx(row["time/weights"], abs=2e-3)
            scored.append(score[1])
        assert max(scored) == pytest.approx(taken, abs=2e-3)
