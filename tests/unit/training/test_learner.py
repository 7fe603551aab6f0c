"""Training steps: their requests go out in order without waiting, and a failure is known before anything follows it."""

import asyncio
import dataclasses
import gc
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from tinker import Datum, ModelInput, TensorData

from socratic_distill import CheckpointManager, ServiceError, TrainingError, load_checkpoints
from socratic_distill.distillation.objective import TrainingExample
from socratic_distill.testing import FakeServiceClient, Fault
from socratic_distill.testing.clock import run_virtual
from socratic_distill.testing.virtual import VirtualServiceClient
from socratic_distill.training.learner import Learner
from socratic_distill.training.save_plan import SaveSchedule
from socratic_distill.training.saver import SaveFacts, Saver

TTL = {"sampler": 3600, "periodic": None, "rolling": None, "interrupted": None, "final": None}
RATE = 0.25


def example(first: int, length: int = 3) -> TrainingExample:
    """A datum of `length` positions, told from others by its first token."""
    tokens = [first + i for i in range(length + 1)]
    sampled = np.full(length, -13.0, np.float32)  # near what the toy says: the ratios are near 1
    datum = Datum(
        ModelInput.from_ints(tokens[:-1]),
        {
            "target_tokens": TensorData.from_numpy(np.asarray(tokens[1:], np.int64)),
            "logprobs": TensorData.from_numpy(sampled),
            "advantages": TensorData.from_numpy(np.linspace(-1, 2, length).astype(np.float32)),
        },
    )
    return TrainingExample(datum, "importance_sampling", np.ones(length, bool), sampled)


class Bench:
    """A learner on a training client."""

    def __init__(self, path, service=None, client=None, version=4, faults=()):
        self.path = path
        self.service = service or FakeServiceClient(faults=faults)
        self.client = client or self.service.create_lora_training_client("small").result()
        facts = SaveFacts(run_id="run-1", config_digest="d1", began=0)
        plan = SaveSchedule(None, None, None, TTL)
        self.saver = Saver(self.client, CheckpointManager(path), None, plan, facts, 3, Counter())
        self.learner = Learner(self.client, self.saver, lambda _: {"learning_rate": RATE}, version)

    def send(self, *minibatches, batch=7):
        """Hands a whole step over."""
        update = self.learner.begin(batch)
        for examples in minibatches:
            self.learner.add(update, examples)
        self.learner.step(update)
        return update

    @property
    def sent(self):
        return [call.call for call in self.service.calls if call.server_run is not None]


@pytest.fixture
def bench(tmp_path):
    return lambda **options: Bench(tmp_path, **options)


PASS, STEP, SAVE = "forward_backward", "optim_step", "save_weights_for_sampler"
WHOLE = ([example(5), example(6, 4)], [example(7)], [example(8), example(9, 2)])


# What is sent


async def test_requests_go_out_at_once_and_in_order(bench):
    one = bench()
    update = one.learner.begin(7)
    sent = []
    for examples in WHOLE:
        one.learner.add(update, examples)
        sent.append(one.sent)
    one.learner.step(update)
    # Not once has the loop run in between: nothing was waited for.
    assert sent == [[PASS], [PASS] * 2, [PASS] * 3]
    assert one.sent == [PASS, PASS, PASS, STEP, SAVE]
    assert [call.arguments["datums"] for call in one.service.calls if call.call == PASS] == [2, 1, 2]
    await update.answer()


def test_a_step_shares_one_cycle_of_the_service(tmp_path):
    async def main():
        service = VirtualServiceClient()
        one = Bench(tmp_path, service, await service.create_lora_training_client("small"))
        await one.send(*WHOLE).answer()
        return service.ledger

    ledger = run_virtual(main())
    trained = [served for served in ledger if served.call in (PASS, STEP)]
    assert {(served.submitted, served.started, served.ended) for served in trained} == {(0.2, 10.0, 20.0)}
    assert ledger[-1].call == SAVE and (ledger[-1].submitted, ledger[-1].started) == (0.2, 20.0)


async def test_weights_no_dialogue_uses_are_not_saved_but_count_as_a_version(bench):
    one = bench(version=4)
    update = one.learner.begin(7)
    one.learner.add(update, WHOLE[0])
    one.learner.step(update, to_play_with=False)
    assert one.sent == [PASS, STEP] and update.sampler is None and one.learner.version == 5
    await update.answer()


async def test_the_step_is_adams_at_the_learning_rate_with_the_configured_loss(bench):
    one = bench()
    await one.send(*WHOLE).answer()
    arguments = {call.call: call.arguments for call in one.service.calls}
    assert arguments[PASS]["loss_fn"] == "importance_sampling"
    assert arguments[STEP]["learning_rate"] == RATE
    assert arguments[SAVE]["name"] == "000008" and arguments[SAVE]["ttl_seconds"] == 3600


async def test_a_loss_with_options_is_sent_all_of_them_and_others_none(bench):
    one = bench()
    clip = {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}
    await one.send([example(5), dataclasses.replace(example(6), loss_fn="ppo", options=clip)]).answer()
    passes = [call.arguments for call in one.service.calls if call.call == PASS]
    assert [(sent["loss_fn"], sent.get("loss_fn_config")) for sent in passes] == [
        ("importance_sampling", None),
        ("ppo", clip),
    ]


async def test_versions_count_steps_and_the_save_tells_the_one_behind_it(bench):
    one = bench(version=4)
    first, second = one.send([example(5)], batch=7), one.send([example(6)], batch=8)
    assert (first.version, second.version, one.learner.version) == (4, 5, 6)
    assert first.sampler is not None and second.sampler is not None
    assert [(pending.record.batch, pending.record.version) for pending in (first.sampler, second.sampler)] == [
        (8, 5),
        (9, 6),
    ]
    assert await one.saver.confirm(first.sampler) == "tinker://fake-0001:train:0/sampler_weights/000008"


async def test_the_next_steps_passes_may_go_out_before_this_ones_answers(bench):
    one = bench()
    first = one.send([example(5)], batch=7)
    second = one.learner.begin(8)
    one.learner.add(second, [example(6)])
    assert one.sent == [PASS, STEP, SAVE, PASS]
    await first.answer()
    one.learner.step(second)
    await second.answer()
    assert one.sent == [PASS, STEP, SAVE, PASS, STEP, SAVE]


@pytest.mark.parametrize("minibatches", [(), ([],), ([], [], [])])
async def test_a_batch_without_examples_takes_no_step(bench, minibatches):
    one = bench(version=4)
    update = one.send(*minibatches)
    assert one.sent == [] and update.sampler is None
    assert one.learner.version == update.version == 4
    assert await update.answer() == ([], {})


async def test_a_minibatch_without_examples_is_left_out(bench):
    one = bench()
    update = one.send([], [example(5)], [])
    assert one.sent == [PASS, STEP, SAVE]
    logprobs, _ = await update.answer()
    assert len(logprobs) == len(update.examples) == 1


# What is answered


async def test_logprobs_come_in_the_order_of_the_examples_and_metrics_as_sums(bench, tmp_path):
    parts = bench()
    update = parts.send(*WHOLE)
    logprobs, metrics = await update.answer()
    assert update.examples == [one for examples in WHOLE for one in examples]
    whole = Bench(tmp_path / "whole").send([one for examples in WHOLE for one in examples])
    wanted, sums = await whole.answer()
    assert [len(one) for one in logprobs] == [3, 4, 3, 3, 2]
    assert all((one == other).all() for one, other in zip(logprobs, wanted, strict=True))
    assert len({one.tobytes() for one in logprobs}) == 5, "the examples cannot be told apart"
    assert metrics.keys() == sums.keys() == {"loss:sum"}
    assert metrics["loss:sum"] == pytest.approx(sums["loss:sum"]) and abs(sums["loss:sum"]) > 0.1
    single = (await Bench(tmp_path / "single").send(WHOLE[0]).answer())[1]
    assert single["loss:sum"] != pytest.approx(sums["loss:sum"]), "one pass weighs nothing beside the others"


async def test_the_weights_behind_a_step_do_not_depend_on_how_it_was_cut(bench, tmp_path):
    def weights(one):
        return one.client._weights.sampler_arrays()

    parts, whole = bench(), Bench(tmp_path / "whole")
    await parts.send(*WHOLE).answer()
    await whole.send([one for examples in WHOLE for one in examples]).answer()
    moved = [np.abs(array).max() for array in weights(whole).values()]
    assert max(moved) > 0.1
    for name, array in weights(whole).items():
        np.testing.assert_allclose(weights(parts)[name], array, rtol=0, atol=1e-9 * np.abs(array).max())


# Failures

LOST = [500, "connection", "timeout", "request_failed", "lost_answer", "poisoned"]


@pytest.mark.parametrize("error", LOST)
@pytest.mark.parametrize(("call", "nth"), [(PASS, 1), (PASS, 3), (STEP, 1)])
async def test_a_failed_call_is_told_as_the_loss_of_the_batch(bench, call, nth, error):
    one = bench(faults=[Fault(call, nth=nth, error=error)])
    with pytest.raises(TrainingError, match=r"training step of batch 7 failed .* Start the same script again"):
        await one.send(*WHOLE).answer()
    assert load_checkpoints(one.path) == []


@pytest.mark.virtual_time
async def test_a_gap_in_the_requests_is_raised_and_later_ones_not_waited_for(bench):
    one = bench(faults=[Fault(PASS, nth=2, error="submission", seconds=0.01)])
    update = one.send(*WHOLE)
    async with asyncio.timeout(5):
        with pytest.raises(TrainingError, match="batch 7"):
            await update.answer()


@pytest.mark.parametrize(("status", "advice"), [(401, "TINKER_API_KEY"), (402, "billed"), (403, "rights")])
async def test_what_stays_refused_is_no_loss_that_reopening_would_mend(bench, status, advice):
    one = bench(faults=[Fault(PASS, error=status)])
    with pytest.raises(ServiceError, match=advice) as refused:
        await one.send([example(5)]).answer()
    assert not isinstance(refused.value, TrainingError)


@pytest.mark.virtual_time
@pytest.mark.parametrize("follows", ["add", "add nothing", "step"])
async def test_nothing_follows_a_pass_that_is_known_to_have_failed(bench, follows):
    one = bench(faults=[Fault(PASS, nth=2)])
    update = one.learner.begin(7)
    one.learner.add(update, [example(5)])
    one.learner.add(update, [example(6)])
    await asyncio.sleep(0.01)  # the answers come
    with pytest.raises(TrainingError, match="batch 7"):
        if follows == "step":
            one.learner.step(update)
        else:
            one.learner.add(update, [example(7)] if follows == "add" else [])
    assert one.sent == [PASS, PASS] and one.learner.version == 4
    assert len(update.examples) == 2, "what was not sent is not trained on"


@pytest.mark.parametrize("call", [PASS, STEP, SAVE])
async def test_a_request_that_cannot_be_made_is_a_lost_client(bench, call):
    def refuse(*arguments, **options):
        raise RuntimeError("the client is closed")

    real = FakeServiceClient().create_lora_training_client("small").result()
    calls = {name: getattr(real, name) for name in (PASS, STEP, SAVE, "save_state")}
    one = bench(client=SimpleNamespace(**(calls | {call: refuse})))
    with pytest.raises(TrainingError, match="the client is closed"):
        one.send([example(5)])


async def test_failed_sampler_weights_are_the_savers_business_and_not_the_steps(bench):
    one = bench(faults=[Fault(SAVE, error="request_failed")])
    update = one.send([example(5)])
    logprobs, _ = await update.answer()
    assert len(logprobs) == 1
    assert update.sampler is not None and await one.saver.confirm(update.sampler) is None


async def test_failures_that_nobody_comes_to_hear_are_not_told_by_asyncio(bench):
    complaints = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    one = bench(faults=[Fault(PASS, times=3), Fault(STEP)])
    update = one.send(*WHOLE)
    with pytest.raises(TrainingError):
        await update.answer()
    await asyncio.sleep(0)
    del update
    gc.collect()
    assert complaints == []


@pytest.mark.virtual_time
async def test_cancelling_whoever_hands_over_takes_no_request_back(bench):
    """A request that is cancelled leaves a hole in the client's row of requests."""
    one = bench(faults=[Fault(PASS, error="slow", seconds=0.05)])
    update = one.learner.begin(7)

    async def hand_over():
        one.learner.add(update, [example(5)])
        await asyncio.sleep(60)

    task = asyncio.create_task(hand_over())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    one.learner.step(update)
    logprobs, _ = await update.answer()
    assert len(logprobs) == 1
