"""The bounds on a run's time: by hand, against a trainer that is as fast as can be, and over our own."""

import asyncio
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from tests.benchmarks.critical_path import observed, on_policy, training_cycle
from tests.support.examples import examples
from tests.support.on_the_fake import train_virtually
from tinker import AdamParams, Datum, ModelInput, SamplingParams, TensorData

from socratic_distill.in_process import ServiceFuture
from socratic_distill.testing.clock import run_virtual
from socratic_distill.testing.latency import Latency
from socratic_distill.testing.virtual import Served, VirtualServiceClient

LATENCY = Latency()  # round trip 0.2 s, cycle 10 s, saves 4 s and 8 s
FAST = Latency(cycle=0.25, sampler_save=0.5, state_save=0.5)  # dialogues take longer, and no lost second is hidden
DATUM = Datum(
    ModelInput.from_ints([5, 6, 7]),
    {"target_tokens": TensorData([6, 7, 8], "int64"), "weights": TensorData([1.0] * 3, "float32")},
)


# By hand


class Book:
    """A ledger written by hand, of a trainer that asks for one thing at a time, a second after the answer before.

    Replies have a letter each, and prompts are strings of them: "AB" holds the replies A and B.
    """

    def __init__(self):
        self.ledger = []
        self.now = 0.0

    def note(self, call, seconds=0.0, **facts):
        answered = self.now + 0.2 + seconds
        times = (self.now, self.now + 0.1, self.now + 0.1 + seconds, answered)
        self.ledger.append(Served(call, facts.pop("server_run", None), facts.pop("model", None), *times, **facts))
        self.now = answered + 1

    def open(self, model=None, path=None):
        self.note("create_sampling_client", model=model, path=path)

    def sample(self, model, prompt, replies, seconds, path=None):
        said = [reply(letter) for letter in replies]
        self.read("sample", model, prompt, seconds, path=path, replies=said, longest=12)

    def score(self, prompt, seconds, call="compute_logprobs", **facts):
        self.read(call, "teacher", prompt, seconds, **facts)

    def read(self, call, model, prompt, seconds, **facts):
        tokens = np.concatenate([[1, 2, 3, 4], *map(said_again, prompt), [5]]).astype(np.int32)
        self.note(call, seconds, model=model, prompt=tokens, **facts)

    def train(self, *calls):
        for call in calls:
            call, _, path = call.partition(" ")
            seconds = {"save_state": 8.0, "save_weights_for_sampler": 4.0}.get(call, 10.0)
            self.note(call, seconds, server_run="run", path=path or None)


def reply(letter):
    """Twelve tokens of its own, the last of which ends the turn."""
    return np.asarray([*range(100 * ord(letter), 100 * ord(letter) + 11), 99], np.int32)


def said_again(letter):
    """A reply as it stands in later prompts: another first token, for the blank that is gone, and no last one."""
    return [50, *reply(letter)[1:-1]]


def begin(book):
    """Clients, and the first weights: there at 0.7 + 4 + 0.1 + 0.2 = 5.0, if the save is asked for at 0.6."""
    book.note("create_lora_training_client", model="tutor")  # asked for at 0.0
    book.open("student")  # 1.2, open at 1.4
    book.open("teacher")  # 2.4, open at 2.6
    book.train("save_weights_for_sampler w0")  # arrives at 3.7, done at 7.7
    book.open(path="w0")  # could be open at 7.7 + 0.1 + 0.2 = 8.0


FB, STEP, SAMPLER, STATE = "forward_backward", "optim_step", "save_weights_for_sampler", "save_state"


def two_steps(after_first=(SAMPLER + " w1", STATE)):
    """One dialogue of one turn a step."""
    book = Book()
    begin(book)
    book.sample("student", "", "A", 3.0)
    book.sample("tutor", "A", "B", 1.0, path="w0")
    book.score("AB", 0.5)
    book.sample("student", "AB", "C", 2.0)
    book.train(FB, STEP, *after_first)
    book.open(path="w1")
    book.sample("student", "", "D", 4.0)
    book.sample("tutor", "D", "E", 2.0, path="w1")
    book.score("DE", 0.5)
    book.train(FB, STEP, SAMPLER + " w2")
    return book.ledger


def test_on_policy_is_the_longest_chain():
    schedule = on_policy(two_steps(), LATENCY)
    # The opening is there at 1.4 + 3.2 = 4.6, the weights at 8.0, the tutor's turn at 9.2, the score at 9.9: its pass
    # arrives at 10.0. The weights are saved at 24.0, open at 24.3; then 26.5, 27.2; but the state is saved until 32.
    assert schedule.steps == pytest.approx([20.0, 50.0])
    assert schedule.total == pytest.approx(50 + 4 + 0.1)
    assert schedule.seconds_a_step == pytest.approx(30.0)


def test_a_state_that_is_not_saved_holds_no_step_up():
    assert on_policy(two_steps([SAMPLER + " w1"]), LATENCY).steps == pytest.approx([20.0, 40.0])


def test_a_state_waits_for_the_sampler_weights_of_its_step():
    orders = ([SAMPLER + " w1", STATE], [STATE, SAMPLER + " w1"])
    # With a cycle of 1 s: a step until 11, weights until 15, the state until 23, and the pass that came at 18.3.
    for order in orders:
        assert on_policy(two_steps(order), Latency(cycle=1.0)).steps == pytest.approx([11.0, 24.0])


def test_weights_need_no_client_of_their_own_to_be_opened():
    ledger, latency = two_steps([SAMPLER + " w1"]), Latency(cycle=0.25)
    # In the queue at 10.0; weights until 14.25, open at 14.55 or, at once, at 14.35; in the queue 3.0 s later.
    assert on_policy(ledger, latency).steps == pytest.approx([10.25, 18.0])
    at_once = [one for one in ledger if one.path != "w1" or one.call != "create_sampling_client"]
    assert on_policy(at_once, latency).steps == pytest.approx([10.25, 17.75])


def test_weights_of_an_earlier_run_are_there_when_they_were_opened():
    ledger = [one for one in two_steps() if one.path != "w0" or one.call != SAMPLER]
    # Open at 9.0; then 10.2, 10.9, and the cycle at 10 has begun.
    assert on_policy(ledger, LATENCY).steps == pytest.approx([30.0, 60.0])


def test_a_score_that_comes_late_misses_the_cycle():
    ledger = two_steps()
    (first, _) = [number for number, one in enumerate(ledger) if one.call == "compute_logprobs"]
    ledger[first] = replace(ledger[first], ended=ledger[first].ended + 0.2)
    assert on_policy(ledger, LATENCY).steps == pytest.approx([30.0, 60.0])


def test_the_longest_of_the_dialogues_counts():
    book = Book()
    begin(book)
    book.sample("student", "", "AB", 3.0)  # a group's openings in one request, there at 4.6
    book.sample("tutor", "A", "C", 1.0, path="w0")
    book.sample("tutor", "B", "D", 6.0, path="w0")
    book.sample("student", "BD", "F", 5.0)
    book.sample("student", "AC", "E", 1.0)
    book.sample("tutor", "ACE", "G", 1.0, path="w0")
    book.sample("tutor", "BDF", "H", 7.5, path="w0")
    book.score("ACEG", 9.0, call="sample", longest=1, replies=[np.asarray([4])])
    book.score("BDFH", 1.0)
    book.train(FB, FB, STEP)
    # Weights at 8.0; B: 8.0 + 6.2 + 5.2 + 7.7 + 1.2 = 28.3, in the queue at 28.4; A: 20.8.
    assert on_policy(book.ledger, LATENCY).steps == pytest.approx([40.0])
    book.ledger[8] = replace(book.ledger[8], ended=book.ledger[8].ended + 2.0)  # the student's answer F
    assert on_policy(book.ledger, LATENCY).steps == pytest.approx([50.0])


def test_the_answer_to_the_last_turn_holds_up_the_end_of_the_run_alone():
    ledger = two_steps()
    (answer,) = [number for number, one in enumerate(ledger) if one.replies and one.replies[0][0] == reply("C")[0]]
    ledger[answer] = replace(ledger[answer], ended=ledger[answer].started + 100.0)
    schedule = on_policy(ledger, LATENCY)
    assert schedule.steps == pytest.approx([20.0, 50.0])
    assert schedule.total == pytest.approx(9.2 + 100.2)


def test_training_cycle_waits_for_the_first_pass_alone():
    ledger = two_steps()
    (first, _) = [one.submitted for one in ledger if one.call == FB]
    assert first == pytest.approx(21.3)
    schedule = training_cycle(ledger, LATENCY)
    # 30 to 40; the saves 40 to 52; 60 to 70; the last save until 74.
    assert schedule.steps == pytest.approx([40.0, 70.0])
    assert schedule.total == pytest.approx(74.1)


def test_training_cycle_saves_the_state_after_the_sampler_weights():
    ledger = two_steps([SAMPLER + " w1", FB, STATE])
    assert training_cycle(ledger, LATENCY).steps == pytest.approx([40.0, 70.0])


def test_observed_is_what_was():
    ledger = two_steps()
    (first, second) = [one for one in ledger if one.call == STEP]
    schedule = observed(ledger)
    assert schedule.steps.tolist() == [first.ended, second.ended]
    assert schedule.total == ledger[-1].answered
    for one in ledger:
        one.submitted, one.ended, one.answered = one.submitted + 5, one.ended + 5, one.answered + 5
    assert observed(ledger).steps == pytest.approx(schedule.steps), "not counted from the first request on"
    assert observed(ledger).total == pytest.approx(schedule.total)


def test_of_replies_alike_the_one_that_is_there_is_meant():
    ledger = two_steps()
    (late,) = [number for number, one in enumerate(ledger) if one.replies and one.replies[0][0] == reply("D")[0]]
    # As the first step's opening, which it cannot be, and late enough to tell.
    ledger[late] = replace(ledger[late], replies=[reply("A")], ended=ledger[late].started + 20.0)
    with_twins = [one if one.prompt is None else replace(one, prompt=_renamed(one.prompt)) for one in ledger]
    assert on_policy(with_twins, LATENCY).steps == pytest.approx([20.0, 50.0])


def _renamed(prompt):
    """The prompt with A for D."""
    there = (prompt >= reply("D")[0]) & (prompt < reply("D")[0] + 12)
    return np.where(there, prompt - reply("D")[0] + reply("A")[0], prompt)


def test_a_reply_that_was_cut_is_found_to_its_last_token():
    ledger = two_steps()
    (first,) = [number for number, one in enumerate(ledger) if one.replies and one.replies[0][0] == reply("A")[0]]
    (tutor,) = [number for number, one in enumerate(ledger) if one.replies and one.replies[0][0] == reply("B")[0]]
    cut = reply("A")[:-1]
    # Another opening, long to sample, whose words are the last ones of the cut reply.
    alike = np.asarray([50, *cut[-5:], 99], np.int32)
    other = replace(ledger[first], replies=[alike], ended=ledger[first].ended + 30, submitted=0.0, answered=0.0)
    ledger[first] = replace(ledger[first], replies=[cut])
    ledger[tutor] = replace(ledger[tutor], prompt=np.asarray([1, 2, 50, *cut[1:], 5], np.int32))
    assert on_policy([*ledger[:first], other, *ledger[first:]], LATENCY).steps == pytest.approx([20.0, 50.0])


def test_a_reply_too_short_to_be_found_only_lowers_the_bound():
    ledger = two_steps()
    (short,) = [number for number, one in enumerate(ledger) if one.replies and one.replies[0][0] == reply("A")[0]]
    ledger[short] = replace(ledger[short], replies=[np.asarray([7, 99])], ended=ledger[short].ended + 50.0)
    assert on_policy(ledger, LATENCY).steps == pytest.approx([20.0, 50.0])


# Refusals


def test_a_run_that_was_not_on_policy_is_refused():
    ledger = two_steps()
    mixed = [replace(one, path="w0") if one.path == "w1" and one.prompt is not None else one for one in ledger]
    with pytest.raises(ValueError, match="not on-policy"):
        on_policy(mixed, LATENCY)


def test_a_dialogue_on_two_weights_is_refused():
    ledger = two_steps()
    ledger[7] = replace(ledger[7], path="w1")
    assert ledger[7].call == "compute_logprobs"
    with pytest.raises(ValueError, match="not on-policy"):
        on_policy(ledger, LATENCY)


def test_a_ledger_without_tokens_is_refused():
    with pytest.raises(ValueError, match="keep_tokens=True"):
        on_policy([replace(one, prompt=None, replies=()) for one in two_steps()], LATENCY)


@pytest.mark.parametrize("bound", [on_policy, training_cycle])
def test_a_ledger_of_no_step_or_of_two_training_clients_is_refused(bound):
    ledger = two_steps()
    with pytest.raises(ValueError, match="1 clients and 0 steps"):
        bound(ledger[:7], LATENCY)
    with pytest.raises(ValueError, match="2 clients and 2 steps"):
        bound([*ledger[:-1], replace(ledger[-1], server_run="another")], LATENCY)


def test_one_step_has_no_steady_state():
    with pytest.raises(ValueError, match="at least 2"):
        _ = observed([one for one in two_steps()[:-2] if one.submitted < 40]).seconds_a_step


# A trainer that is as fast as strict on-policy order allows, where its pauses are 0


async def train_on_policy(service, pause, dialogues, turns=2, steps=2):
    """Trains on one score a dialogue; `await pause()` stands wherever a trainer could lose time."""
    training = await service.create_lora_training_client("tutor")
    teacher = await service.create_sampling_client(base_model="teacher")
    student = await service.create_sampling_client(base_model="student")
    save = training.save_weights_for_sampler("0")

    async def speak(client, kind, said):
        await pause()
        params = SamplingParams(seed=sum(said), max_tokens=100)
        return [*said, *(await client.sample(ModelInput.from_ints([kind, *said]), 1, params)).sequences[0].tokens]

    async def play(opening, tutor):
        said = await opening
        for turn in range(turns):
            said = await speak(tutor, 5, said if turn == 0 else await speak(student, 4, said))
        await pause()
        await teacher.compute_logprobs(ModelInput.from_ints([6, *said]))

    numbers = range(dialogues)
    openings = [
        [asyncio.ensure_future(speak(student, 4, [20 * step + number])) for number in numbers] for step in range(steps)
    ]
    asked = []
    for step in range(steps):
        path = (await save).path
        await pause()
        tutor = await service.create_sampling_client(model_path=path)
        await asyncio.gather(*(play(one, tutor) for one in openings[step]))
        for _ in numbers:
            training.forward_backward([DATUM], "cross_entropy")
        await pause()
        asked.append(training.optim_step(AdamParams()))
        save = training.save_weights_for_sampler(str(step + 1))
        await pause()
        asked += [save, training.save_state(str(step))]
        await pause()
    for one in asked:
        await one


def ledger_of(pauses, latency, dialogues, make=VirtualServiceClient):
    """The ledger of that trainer, which takes the pauses in turn and none afterwards, seconds."""
    left = iter(pauses)

    async def main():
        service = make(latency, keep_tokens=True)
        await train_on_policy(service, lambda: asyncio.sleep(next(left, 0.0)), dialogues)
        return service.ledger

    return run_virtual(main())


@pytest.mark.parametrize("dialogues", [1, 3])
@pytest.mark.parametrize("latency", [FAST, LATENCY], ids=["fast", "default"])
def test_on_policy_is_what_a_trainer_takes_that_never_pauses(dialogues, latency):
    ledger = ledger_of([], latency, dialogues)
    was, bound = observed(ledger), on_policy(ledger, latency)
    assert bound.steps == pytest.approx(was.steps, abs=1e-3)
    assert bound.total == pytest.approx(was.total, abs=1e-3)


pauses_of = st.lists(st.sampled_from([0.0, 0.0, 0.5, 3.0, 12.0]), max_size=30)


@settings(max_examples=examples(25), deadline=None)
@given(pauses_of, st.sampled_from([FAST, LATENCY]), st.integers(1, 2))
def test_neither_bound_exceeds_what_was(pauses, latency, dialogues):
    ledger = ledger_of(pauses, latency, dialogues)
    was = observed(ledger)
    for bound in (on_policy(ledger, latency), training_cycle(ledger, latency)):
        assert (bound.steps <= was.steps + 1e-6).all()
        assert bound.total <= was.total + 1e-6


@settings(max_examples=examples(15), deadline=None)
@given(pauses_of)
def test_on_policy_does_not_see_how_long_a_trainer_paused(pauses):
    bounds = [on_policy(ledger_of(one, FAST, 1), FAST) for one in (pauses, [])]
    assert bounds[0].steps == pytest.approx(bounds[1].steps, abs=1e-3)


calls_of = st.lists(st.sampled_from([FB, FB, STEP, SAMPLER, STATE]), max_size=15)


@settings(max_examples=examples(50), deadline=None)
@given(calls_of, st.lists(st.integers(0, 120), min_size=16, max_size=16))
def test_training_cycle_never_exceeds_the_observed_time_in_any_call_order(calls, waits):
    times = np.cumsum(waits) / 8

    async def main():
        service = VirtualServiceClient()
        training = await service.create_lora_training_client("tutor")
        asked = []
        for number, (call, at) in enumerate(zip([*calls, STEP], times, strict=False)):
            await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))
            arguments = {FB: ([DATUM], "cross_entropy"), STEP: (AdamParams(),)}.get(call, (str(number),))
            asked.append(getattr(training, call)(*arguments))
        for one in asked:
            await one
        return service.ledger

    ledger = run_virtual(main())
    was, bound = observed(ledger), training_cycle(ledger, LATENCY)
    assert (bound.steps <= was.steps + 1e-6).all()


# Trainers that lose time


class LateScores(VirtualServiceClient):
    """A service whose trainer asks for scores a second too late."""

    late = 1.0

    def submit(self, call, action, *, read=None, **arguments):
        if read is None or not read.scored:
            return super().submit(call, action, read=read, **arguments)
        ask, late = super().submit, Future()

        def send() -> None:
            answer = ask(call, action, read=read, **arguments).future()
            answer.add_done_callback(lambda done: late.set_result(done.result()))

        asyncio.get_running_loop().call_later(self.late, send)
        return ServiceFuture(late)


class VeryLateScores(LateScores):
    late = 6.0


def slowness(was, bound):
    """How much longer than the bound the steps of a run took in the steady state, as a fraction."""
    return was.seconds_a_step / bound.seconds_a_step - 1


def test_scores_asked_for_a_second_late_cost_a_second_a_step():
    ledger = ledger_of([], FAST, 3, LateScores)
    was, bound = observed(ledger), on_policy(ledger, FAST)
    assert slowness(was, bound) > 0.03
    assert was.seconds_a_step - bound.seconds_a_step == pytest.approx(1.0, abs=0.25)


@pytest.fixture
def train(make_config):
    """Runs our trainer and gives the ledger."""

    def train(latency, make=VirtualServiceClient, **options):
        names = {f"{role}_model_name": role for role in ("tutor", "student", "teacher")}
        shape = {"max_tokens": 512, "max_steps": 8, "groups_per_batch": 3, "num_envs": 2, "save_every": 3}
        config = make_config(**(names | shape | options))

        return train_virtually(make(latency, keep_tokens=True), config).ledger

    return train


def test_on_policy_our_trainer_is_within_3_percent_of_the_longest_chain(train):
    ledger = train(LATENCY)
    assert -1e-6 < slowness(observed(ledger), on_policy(ledger, LATENCY)) <= 0.03


def test_our_trainer_with_late_scores_is_not(train):
    latency = Latency(cycle=5.0)  # shorter than they are late: a cycle is missed
    ledger = train(latency, VeryLateScores)
    assert slowness(observed(ledger), on_policy(ledger, latency)) > 0.03


def test_three_steps_ahead_we_are_within_5_percent_of_the_training_cycle(train):
    ledger = train(LATENCY, max_staleness=3, max_steps=12)
    assert -1e-6 < slowness(observed(ledger), training_cycle(ledger, LATENCY)) <= 0.05


def test_a_trainer_that_waits_for_dialogues_leaves_training_cycles_unused(train):
    ledger = train(LATENCY)
    assert slowness(observed(ledger), training_cycle(ledger, LATENCY)) > 0.05


def test_a_run_ahead_of_its_weights_has_no_on_policy_schedule(train):
    ledger = train(LATENCY, max_staleness=3)
    with pytest.raises(ValueError, match="not on-policy"):
        on_policy(ledger, LATENCY)
