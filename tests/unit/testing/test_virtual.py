"""The virtual service: every call answered when the latency model says, whatever becomes of it."""

import asyncio
import math
from collections import Counter

import numpy as np
import pytest
import tinker
from tests.support.on_the_fake import train_on_fake_async
from tinker import AdamParams, Datum, ModelInput, SamplingParams, TensorData

from socratic_distill.testing import Fault
from socratic_distill.testing.clock import run_virtual
from socratic_distill.testing.latency import Latency
from socratic_distill.testing.virtual import VirtualServiceClient

DATUM = Datum(
    ModelInput.from_ints([5, 6, 7]),
    {"target_tokens": TensorData([6, 7, 8], "int64"), "weights": TensorData([1.0] * 3, "float32")},
)
STEP = AdamParams(learning_rate=0.1)
PREFILL = {"tutor": 50e-6, "student": 100e-6, "teacher": 200e-6, "another": 50e-6}  # seconds a prompt token
TOKEN = {"tutor": 8e-3, "student": 20e-3, "teacher": 8e-3, "another": 8e-3}  # seconds an output token


def prompt(length, first=7):
    """A prompt `[length]`; those of other first tokens share nothing with it."""
    return ModelInput.from_ints([first, *(i % 200 + 4 for i in range(1, length))])


def sampling(seed, max_tokens=None):
    return SamplingParams(max_tokens=max_tokens, seed=seed)


def on_service(main, **options):
    """Runs `main(service)` on virtual time; gives the service and what it returned."""
    service = VirtualServiceClient(**options)
    return service, run_virtual(main(service))


def now():
    return asyncio.get_running_loop().time()


def only(service, call):
    (served,) = [one for one in service.ledger if one.call == call]
    return served


def seconds(served):
    return served.ended - served.started


# Sampling and scoring


@pytest.mark.parametrize("model", PREFILL)
def test_a_sample_takes_its_prompt_and_its_reply_and_a_round_trip(model):
    async def main(service):
        client = await service.create_sampling_client(base_model=model)
        reply = (await client.sample(prompt(100), 1, sampling(3))).sequences[0].tokens
        return len(reply), now()

    service, (length, ended) = on_service(main)
    served = only(service, "sample")
    assert (served.submitted, served.started) == pytest.approx((0.2, 0.3))
    assert seconds(served) == pytest.approx(100 * PREFILL[model] + length * TOKEN[model])
    assert served.answered == pytest.approx(served.ended + 0.1)
    assert ended == served.answered
    assert (served.model, served.prompt_tokens, served.output_tokens, served.cached_tokens) == (model, 100, length, 0)


def test_replies_to_one_prompt_take_its_time_once_and_the_longest_replys():
    async def main(service):
        client = await service.create_sampling_client(base_model="student")
        return [len(one.tokens) for one in (await client.sample(prompt(100), 5, sampling(3))).sequences]

    service, lengths = on_service(main)
    served = only(service, "sample")
    assert len(set(lengths)) > 1
    assert seconds(served) == pytest.approx(100 * 100e-6 + max(lengths) * 20e-3)
    assert (served.longest, served.output_tokens) == (max(lengths), sum(lengths))


def test_scoring_takes_its_whole_prompt_known_or_not():
    async def main(service):
        client = await service.create_sampling_client(base_model="teacher")
        for _ in range(2):
            assert len(await client.compute_logprobs(prompt(100))) == 100
            await client.sample(prompt(100), 1, sampling(3, 1), include_prompt_logprobs=True)

    service, _ = on_service(main)
    durations = [seconds(one) for one in service.ledger[1:]]
    assert durations == pytest.approx([100 * 200e-6, 100 * 200e-6 + 8e-3] * 2)
    assert [one.cached_tokens for one in service.ledger[1:]] == [0] * 4


@pytest.mark.parametrize(("last_n", "cached"), [(20, 96), (100, 64), (163, 1)])
def test_scoring_the_last_tokens_uses_the_cache_for_those_before_them(last_n, cached):
    async def main(service):
        client = await service.create_sampling_client(base_model="teacher")
        await client.compute_logprobs(prompt(100))  # 96 tokens in whole blocks
        await client.compute_logprobs(prompt(164), prompt_logprobs_last_n=last_n)

    service, _ = on_service(main)
    served = service.ledger[-1]
    assert served.cached_tokens == cached
    assert seconds(served) == pytest.approx((164 - cached) * 200e-6)


def test_the_answer_tells_how_much_of_the_prompt_was_cached():
    async def main(service):
        client = await service.create_sampling_client(base_model="tutor")
        first = await client.sample(prompt(50), 1, sampling(3))
        said = ModelInput.from_ints([*prompt(50).to_ints(), *first.sequences[0].tokens, 5])
        later = [
            await client.sample(said, 1, sampling(3)),
            await client.sample(said, 1, sampling(3, 1), include_prompt_logprobs=True),
            await client.sample(said, 1, sampling(3, 1), include_prompt_logprobs=True, prompt_logprobs_last_n=10),
            await client.sample(prompt(50, first=8), 1, sampling(3)),
        ]
        return said.length, [one.prompt_cache_hit_tokens for one in (first, *later)]

    service, (length, hits) = on_service(main)
    # What the tutor said is known as well as what it read.
    assert hits == [0, (length - 1) // 16 * 16, 0, min(length // 16 * 16, length - 10), 0]
    assert hits[1] > 50
    assert hits == [one.cached_tokens for one in service.ledger if one.call == "sample"]


def test_new_weights_know_no_prompts():
    async def main(service):
        training = await service.create_lora_training_client("tutor")
        for name in ("a", "b"):
            path = (await training.save_weights_for_sampler(name)).path
            client = await service.create_sampling_client(model_path=path)
            for _ in range(2):
                await client.sample(prompt(100), 1, sampling(3))

    service, _ = on_service(main)
    served = [one for one in service.ledger if one.call == "sample"]
    assert [one.cached_tokens for one in served] == [0, 96, 0, 96]
    assert [str(one.path)[-1] for one in served] == ["a", "a", "b", "b"]
    assert {one.model for one in served} == {"tutor"}


# Replies


@pytest.mark.parametrize(("model", "mean"), [("tutor", 90), ("student", 160)])
@pytest.mark.parametrize("spread", [0.3, 0.7])
def test_lengths_are_log_normal_around_the_models_mean(model, mean, spread):
    async def main(service):
        client = await service.create_sampling_client(base_model=model)
        answers = await asyncio.gather(*(client.sample(prompt(20), 4, sampling(seed)) for seed in range(500)))
        return [len(one.tokens) for answer in answers for one in answer.sequences]

    _, lengths = on_service(main, latency=Latency(spread=spread))
    logarithms = np.log(lengths)
    assert np.mean(lengths) == pytest.approx(mean, rel=0.05)
    assert np.std(logarithms) == pytest.approx(spread, rel=0.1)
    assert np.median(lengths) == pytest.approx(mean * math.exp(-(spread**2) / 2), rel=0.05)
    assert abs(np.mean(((logarithms - logarithms.mean()) / logarithms.std()) ** 3)) < 0.2, "the logarithms are skewed"


def test_a_reply_depends_on_its_seed_alone():
    async def main(service):
        client = await service.create_sampling_client(base_model="tutor")
        replies = []
        for seed in (1, 2, 1):
            (one,) = (await client.sample(prompt(20), 1, sampling(seed))).sequences
            replies.append((one.tokens, one.logprobs))
        return replies

    _, (first, second, again) = on_service(main)
    _, (elsewhere, *_) = on_service(main)
    assert first == again == elsewhere
    assert first != second


def test_a_reply_ends_its_turn_or_is_cut_at_the_limit():
    async def main(service):
        client = await service.create_sampling_client(base_model="tutor")
        answer = await client.sample(prompt(20), 200, sampling(3, max_tokens=80))
        return answer.sequences, service.tokenizer.eos_token_id

    _, (sequences, end) = on_service(main)
    assert {one.stop_reason for one in sequences} == {"stop", "length"}
    for one in sequences:
        assert (one.stop_reason == "stop") == (one.tokens[-1] == end)
        assert len(one.tokens) == 80 or one.stop_reason == "stop"
        assert len(one.logprobs or []) == len(one.tokens) <= 80


# Scoring features


def test_scripted_scores_are_the_same_however_they_are_asked_for():
    tokens = prompt(12).to_ints()
    ids = np.stack([tokens[1:], tokens[:-1]], axis=1)

    async def main(service):
        client = await service.create_sampling_client(base_model="teacher")
        options = {"include_prompt_logprobs": True, "topk_prompt_logprobs": 500, "topk_sample_logprobs": 500}
        options |= {"target_prompt_logprobs": TensorData.from_numpy(ids), "prompt_alt_tokens_k": 3}
        answer = await client.sample(prompt(12), 1, sampling(3), **options)
        other = ModelInput.from_ints([*tokens[:-1], tokens[-2]])
        return answer, await client.compute_logprobs(prompt(12)), await client.compute_logprobs(other)

    _, (answer, scores, others) = on_service(main)
    assert answer.prompt_logprobs == scores
    targets, drawn = answer.target_prompt_logprobs.to_numpy(), answer.prompt_alt_tokens
    assert targets[:, 0].tolist() == scores[1:]
    assert targets[-1, 1] == others[-1]
    for row, token, score in zip(answer.topk_prompt_logprobs[1:], tokens[1:], scores[1:], strict=True):
        assert dict(row)[token] == score and row[0][1] == max(dict(row).values())
    for row, chosen, logprobs in zip(
        answer.topk_prompt_logprobs[1:], drawn.tokens.tolist(), drawn.logprobs.tolist(), strict=True
    ):
        assert [dict(row)[token] for token in chosen] == logprobs
    (reply,) = answer.sequences
    for row, token, score in zip(reply.topk_logprobs, reply.tokens, reply.logprobs, strict=True):
        assert dict(row)[token] == score


@pytest.mark.parametrize(
    ("question", "cached"),
    [
        ({"prompt_alt_tokens_k": 2}, 0),
        ({"topk_prompt_logprobs": 2}, 0),
        ({"targets": 90}, 90),  # row 89
        ({"targets": 90, "include_prompt_logprobs": True, "prompt_logprobs_last_n": 20}, 80),
        ({"targets": 50, "include_prompt_logprobs": True, "prompt_logprobs_last_n": 20}, 50),
        ({"targets": 90, "include_prompt_logprobs": True, "prompt_alt_tokens_k": 2, "prompt_logprobs_last_n": 20}, 0),
        ({"topk_sample_logprobs": 2}, 96),
    ],
)
def test_what_stands_before_the_first_scored_token_comes_from_the_cache(question, cached):
    options = dict(question)
    if "targets" in options:
        ids = np.full((99, 1), -1)
        ids[options.pop("targets") - 1 :] = 5
        options["target_prompt_logprobs"] = TensorData.from_numpy(ids)

    async def main(service):
        client = await service.create_sampling_client(base_model="teacher")
        await client.compute_logprobs(prompt(100))  # 96 tokens in whole blocks
        await client.sample(prompt(100), 1, sampling(3, 1), **options)

    service, _ = on_service(main)
    assert service.ledger[-1].cached_tokens == cached
    assert seconds(service.ledger[-1]) == pytest.approx((100 - cached) * 200e-6 + 8e-3)


def test_a_lacking_feature_is_refused_on_virtual_time_too():
    async def main(service):
        client = await service.create_sampling_client(base_model="teacher")
        with pytest.raises(tinker.BadRequestError, match="prompt_alt_tokens_k"):
            await client.sample(prompt(100), 1, sampling(3, 1), prompt_alt_tokens_k=2)
        return now()

    assert on_service(main, lacks=["prompt_alt_tokens_k"])[1] > 0.4


# Training


def test_training_calls_run_on_the_cycle_with_answers_half_a_trip_later():
    async def main(service):
        training = await service.create_lora_training_client("tutor")
        asked = [
            training.forward_backward([DATUM], "cross_entropy"),
            training.optim_step(STEP),
            training.save_weights_for_sampler("a"),
            training.save_state("a"),
        ]
        times = []
        for one in asked:
            await one
            times.append(now())
        return times

    service, times = on_service(main)
    assert times == pytest.approx([20.1, 20.1, 24.1, 32.1])
    spans = [(one.started, one.ended) for one in service.ledger[1:]]
    assert spans == [(10, 20), (10, 20), (20, 24), (24, 32)]


def test_each_training_client_has_a_queue_of_its_own():
    async def main(service):
        first, second = [await service.create_lora_training_client("tutor") for _ in range(2)]
        asked = [one.save_state("a") for one in (first, second)]
        await asyncio.gather(*asked)

    service, _ = on_service(main)
    (one, other) = [served for served in service.ledger if served.call == "save_state"]
    assert one.server_run != other.server_run
    assert (one.started, one.ended) == (other.started, other.ended) == pytest.approx((0.5, 8.5))


def test_other_calls_take_a_round_trip():
    async def main(service):
        await service.create_lora_training_client("tutor")
        return now()

    assert on_service(main)[1] == pytest.approx(0.2)
    assert on_service(main, latency=Latency(round_trip=3.0))[1] == pytest.approx(3.0)


# Limits


def busy(count, **options):
    """`count` samples asked for at once; the service and how many answers there were."""

    async def main(service):
        client = await service.create_sampling_client(base_model="student")
        answers = await asyncio.gather(*(client.sample(prompt(30), 1, sampling(seed)) for seed in range(count)))
        return len(answers)

    return on_service(main, latency=Latency(**options))


def most_at_once(ledger):
    """Largest number of samples in service at one time."""
    changes = [change for one in ledger if one.call == "sample" for change in ((one.started, 1), (one.ended, -1))]
    return max(np.cumsum([change for _, change in sorted(changes)]))


def test_without_a_limit_all_are_served_at_once():
    service, answers = busy(40)
    assert answers == 40
    assert most_at_once(service.ledger) == 40
    assert not any(one.refused for one in service.ledger)


def test_a_limit_is_never_exceeded_and_everyone_is_served_in_the_end():
    service, answers = busy(40, max_concurrent=3)
    samples = [one for one in service.ledger if one.call == "sample"]
    assert answers == 40
    assert most_at_once(service.ledger) == 3
    assert Counter(one.refused > 0 for one in samples) == {False: 3, True: 37}
    assert len(samples) == service.count("sample") == 40, "refusals multiplied the requests"
    assert max(one.answered for one in samples) > max(one.answered for one in busy(40)[0].ledger)


def test_a_refused_request_comes_again_after_a_wait_that_doubles():
    service, _ = busy(8, max_concurrent=1, retry=0.5)
    for one in service.ledger[1:]:
        # It arrived after half a round trip; each refusal takes a whole one and a wait.
        waits = sum(0.2 + min(0.5 * 2**number, 30.0) for number in range(one.refused))
        assert one.started == pytest.approx(one.submitted + 0.1 + waits)
    assert max(one.refused for one in service.ledger) > 2


# Failures


def test_a_failed_sample_is_answered_once_its_prompt_was_read():
    async def main(service):
        client = await service.create_sampling_client(base_model="tutor")
        with pytest.raises(tinker.InternalServerError):
            await client.sample(prompt(100), 1, sampling(3))
        return now(), len((await client.sample(prompt(100), 1, sampling(3))).sequences)

    service, (failed, count) = on_service(main, faults=[Fault("sample")])
    assert failed == pytest.approx(0.2 + 0.2 + 100 * 50e-6)
    assert count == 1
    assert service.ledger[1].output_tokens == 0


@pytest.mark.parametrize("error", [500, "lost_answer"])
def test_a_failed_training_call_is_answered_at_the_end_of_its_cycle(error):
    async def main(service):
        training = await service.create_lora_training_client("tutor")
        with pytest.raises((tinker.InternalServerError, tinker.APIConnectionError)):
            await training.optim_step(STEP)
        failed = now()
        await training.optim_step(STEP)
        return failed, now()

    assert on_service(main, faults=[Fault("optim_step", error=error)])[1] == pytest.approx((20.1, 40.1))


def test_what_stands_behind_a_hole_is_never_answered():
    async def main(service):
        training = await service.create_lora_training_client("tutor")
        lost, behind = training.optim_step(STEP), training.save_state("a")
        with pytest.raises(tinker.APIConnectionError):
            await lost
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(behind, 3600)

    service, _ = on_service(main, faults=[Fault("optim_step", error="submission")])
    assert service.ledger[-1].call == "save_state"
    assert service.ledger[-1].answered == 0.0


def test_a_slow_answer_comes_late():
    async def main(service):
        await asyncio.wait_for(service.create_lora_training_client("tutor"), 60)
        return now()

    faults = [Fault("create_lora_training_client", error="slow", seconds=5)]
    assert on_service(main, faults=faults)[1] >= 5


def test_a_cancelled_request_holds_no_other_up():
    async def main(service):
        client = await service.create_sampling_client(base_model="student")
        errors = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        dropped, kept = (asyncio.ensure_future(_sample(client, seed)) for seed in (3, 4))
        await asyncio.sleep(0.5)
        dropped.cancel()
        await kept
        ended = now()
        await asyncio.sleep(3600)
        assert dropped.cancelled()
        assert not errors, "the answer to the cancelled request was handed over"
        return ended

    service, ended = on_service(main)
    assert ended == service.ledger[-1].answered


async def _sample(client, seed):
    return await client.sample(prompt(50), 1, sampling(seed))


# The ledger


def test_the_ledger_keeps_tokens_where_it_is_asked_to():
    async def main(service):
        client = await service.create_sampling_client(base_model="student")
        return [one.tokens for one in (await client.sample(prompt(50), 2, sampling(3))).sequences]

    service, replies = on_service(main, keep_tokens=True)
    kept = only(service, "sample")
    assert kept.prompt is not None
    assert kept.prompt.tolist() == prompt(50).to_ints()
    assert [one.tolist() for one in kept.replies] == replies
    plain = only(on_service(main)[0], "sample")
    assert (plain.prompt, plain.replies) == (None, ())


@pytest.mark.parametrize("max_concurrent", [None, 2])
def test_two_runs_of_the_trainer_give_one_ledger(make_config, tmp_path, max_concurrent):
    async def main(service, name):
        config = make_config(log_path=tmp_path / name, max_steps=3)
        return await train_on_fake_async(service, config)

    latency = Latency(max_concurrent=max_concurrent)
    first, second = (
        on_service(lambda service, name=name: main(service, name), latency=latency)[0].ledger for name in "ab"
    )
    assert first == second
    assert sum(one.call == "optim_step" for one in first) == 3
    assert [one.submitted for one in first] == sorted(one.submitted for one in first)
