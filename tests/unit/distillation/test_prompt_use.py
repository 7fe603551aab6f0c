"""What prompts cost: how few of a prompt's tokens are scored, and that the metrics say what the service counted."""

import asyncio
from collections import Counter
from typing import Any

import numpy as np
import pytest
from tests.support.on_the_fake import train_virtually
from tests.support.partial import Partial
from tests.support.rows import rows_of_run
from tests.support.virtual_runs import virtual_config
from tinker.lib.public_interfaces import sampling_client
from tinker.types import SampledSequence, SampleResponse

from socratic_distill import Seed, TeacherError
from socratic_distill.config.wanted import Wanted
from socratic_distill.dialogues.cast import Member, Teachers
from socratic_distill.dialogues.dialogue import Dialogue, PromptUse, Turn
from socratic_distill.dialogues.prompts import Prompts
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.distillation.datums import merge_turns
from socratic_distill.distillation.scorer import Scorer
from socratic_distill.distillation.scoring import ScoredDialogue, score
from socratic_distill.in_process import status_error
from socratic_distill.testing.latency import Latency
from socratic_distill.testing.virtual import VirtualServiceClient
from socratic_distill.training.metrics import dialogue_metrics

ROLES = ("tutor", "student", "teacher")
# Two tutor turns: the first one's tokens begin at 2 of 6.
(SEQUENCE,) = merge_turns([([1, 2], [3, 4]), ([1, 2, 3, 4, 5], [6])])
(OTHER,) = merge_turns([([1, 2, 3, 4, 5, 6, 7], [8, 9])])


class Server(Partial):
    """Scores prompts, by position; answers requests with `prompt_logprobs_last_n` in its own way.

    Attributes:
        asked: the `prompt_logprobs_last_n` of each request.
    """

    def __init__(self, way="honours", cached=0, scores=True):
        self.asked = []
        self._way, self._cached, self._scores = way, cached, scores

    async def sample(
        self, prompt, num_samples, sampling_params, include_prompt_logprobs=False, prompt_logprobs_last_n=None
    ):
        assert num_samples == 1 and sampling_params.max_tokens == 1 and include_prompt_logprobs
        self.asked.append(prompt_logprobs_last_n)
        await asyncio.sleep(0)
        if isinstance(self._way, Exception):
            raise self._way
        if prompt_logprobs_last_n is not None and self._way == "refuses":
            raise status_error(400, "Extra inputs are not permitted: prompt_logprobs_last_n")
        values = -np.arange(prompt.length, dtype=np.float32) / 8
        values[0] = np.nan
        if prompt_logprobs_last_n is not None and self._way == "honours":
            values[:-prompt_logprobs_last_n] = np.nan
        response = SampleResponse(
            sequences=[SampledSequence(stop_reason="length", sequence_id="0", tokens_np=np.zeros(1, np.int32))],
            prompt_logprobs_np=values if self._scores else None,
            prompt_cache_hit_tokens=self._cached,
        )
        # As the SDK does with an answer, before its caller has it.
        sampling_client._check_prompt_logprobs_last_n_honored(response, prompt_logprobs_last_n)
        return response


async def scores_of(scorer, client, sequence=SEQUENCE):
    scores = await scorer.score(client, sequence, "teacher")
    return [array.tolist() for array in scores.own], scores.use


async def test_scores_are_asked_for_from_the_first_tutor_token_on():
    server = Server()
    scorer = Scorer()
    assert await scores_of(scorer, server) == ([[-0.25, -0.375], [-0.625]], PromptUse(6, 0, 1))
    assert await scores_of(scorer, server, OTHER) == ([[-0.875, -1.0]], PromptUse(9, 0, 1))
    assert server.asked == [4, 2]


@pytest.mark.parametrize("way", ["ignores", "refuses"])
async def test_a_server_that_does_not_honour_it_is_asked_once(way):
    """Way "ignores" ends in the SDK's own RuntimeError, "refuses" in a 400 of the server."""
    server, honours = Server(way), Server()
    scorer = Scorer()
    for sequence in (SEQUENCE, OTHER, SEQUENCE):
        assert await scores_of(scorer, server, sequence) == await scores_of(Scorer(), honours, sequence)
    assert server.asked == [4, None, None, None], "it is asked again although it was noticed"


async def test_requests_already_on_their_way_are_each_asked_once_more():
    server = Server("refuses")
    scorer = Scorer()
    answers = await asyncio.gather(*(scores_of(scorer, server) for _ in range(5)))
    assert all(scores == [[-0.25, -0.375], [-0.625]] for scores, _ in answers)
    assert server.asked == [4] * 5 + [None] * 5
    await scores_of(scorer, server)
    assert server.asked[10:] == [None]


async def test_the_tutor_is_not_asked_for_what_the_server_refused_a_teacher():
    teacher, tutor = Server("ignores"), Server()
    scorer = Scorer()
    await scores_of(scorer, teacher)
    await scores_of(scorer, tutor)
    assert tutor.asked == [None]


@pytest.mark.parametrize(
    "error",
    [status_error(400, "prompt too long"), status_error(500, "last_n"), RuntimeError("no"), ConnectionError("gone")],
    ids=repr,
)
async def test_other_errors_pass_through_and_change_nothing(error):
    failing, server = Server(error), Server()
    scorer = Scorer()
    with pytest.raises(type(error)) as raised:
        await scorer.score(failing, SEQUENCE, "teacher")
    assert raised.value is error and failing.asked == [4]
    await scores_of(scorer, server)
    assert server.asked == [4], "one failure of another kind ended the saving"


async def test_an_error_of_the_second_request_passes_through():
    class Failing(Server):
        async def sample(self, *arguments, prompt_logprobs_last_n=None, **options):
            if prompt_logprobs_last_n is None:
                self.asked.append(None)
                raise ConnectionError("gone")
            return await super().sample(*arguments, prompt_logprobs_last_n=prompt_logprobs_last_n, **options)

    server = Failing("refuses")
    with pytest.raises(ConnectionError, match="gone"):
        await Scorer().score(server, SEQUENCE, "teacher")
    assert server.asked == [4, None]


@pytest.mark.parametrize("way", ["honours", "refuses"])
async def test_an_answer_without_scores_is_refused(way):
    server = Server(way, scores=False)
    with pytest.raises(TeacherError, match="teacher, seed 's': no log-probabilities for 6 tokens"):
        await Scorer().score(server, SEQUENCE, "teacher, seed 's'")


async def test_what_the_server_had_cached_is_told_and_adds_up():
    server = Server(cached=2)
    uses = [(await scores_of(Scorer(), server, sequence))[1] for sequence in (SEQUENCE, OTHER)]
    assert uses == [PromptUse(6, 2, 1), PromptUse(9, 2, 1)], "each samples a token that nobody looks at"
    assert sum(uses, PromptUse()) == PromptUse(15, 4, 2)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
async def test_a_dialogue_in_several_sequences_costs_all_of_them(temperature):
    """As under a template that drops reasoning from earlier turns: no prompt continues the one before."""

    class Apart:
        seed = 0
        prompts = Prompts("", {"teacher": ""}, "", "", "")

        def __init__(self, client, teacher):
            self.tutor = Speaker("tutor", client, None, 9, temperature)  # pyright: ignore[reportArgumentType]
            member = Member("teacher", None, teacher)  # pyright: ignore[reportArgumentType]
            self.teachers = Teachers({"teacher": member}, {"s": ("teacher",)})

        def wanted(self, dialogue):
            return Wanted()

        def teacher_prompt(self, dialogue, member):
            return (9,) * len(dialogue.turns) + (7,)

    turns = [
        Turn(role, "hm", prompt, tokens, tokens, (-1.0,) * len(tokens), 0, "stop")
        for role, prompt, tokens in [
            ("student", (1,), (2,)), ("tutor", (1, 1), (4, 5, 6)), ("student", (1,), (3,)), ("tutor", (2, 2, 2), (8,)),
        ]
    ]  # fmt: skip
    teacher, tutor = Server(cached=1), Server(cached=3)
    cast: Any = Apart(tutor, teacher)
    one = await score(Dialogue(Seed("s", "q", "12"), 0, 0, tuple(turns)), cast, Scorer())
    assert teacher.asked == [3, 1]
    assert one.use == PromptUse((2 + 3) + (4 + 1), 1 + 1, 1 + 1)
    assert [array.tolist() for array in one.teacher] == [[-0.25, -0.375, -0.5], [-0.5]]
    if temperature == 1.0:
        assert tutor.asked == [] and one.tutor_use == PromptUse()
    else:
        assert tutor.asked == [3, 1] and one.tutor_use == PromptUse((2 + 3) + (3 + 1), 3 + 3, 1 + 1)


# By hand


def test_prompt_tokens_are_summed_by_who_read_them():
    def turn(role, use):
        return Turn(role, "hm", (1,), (2,), (2,), (-1.0,), 0, "stop", use=use)

    def dialogue(number, *uses):
        roles = ["student", "tutor"] * 3
        turns = tuple(turn(role, use) for role, use in zip(roles, uses, strict=False))
        return Dialogue(Seed("s", "q", "12"), 0, number, turns)

    first = dialogue(0, PromptUse(100, 1, 7), PromptUse(2000, 20, 5), PromptUse(300, 3), PromptUse(4000, 40))
    second = dialogue(1, PromptUse(), PromptUse(70_000, 700, 60))
    scored = [
        ScoredDialogue(first, use=PromptUse(500_000, 5000), tutor_use=PromptUse(6_000_000, 60_000, 100)),
        ScoredDialogue(second, use=PromptUse(10_000_000, 7)),
        ScoredDialogue(Dialogue(Seed("s", "q", "12"), 0, 2).end("failed", "boom")),
    ]
    row = dialogue_metrics(scored, lambda tokens: "")
    assert {key: value for key, value in row.items() if key.startswith("prompt_tokens/")} == {
        "prompt_tokens/tutor": 6_076_000,
        "prompt_tokens/tutor_cached": 60_760,
        "prompt_tokens/student": 400,
        "prompt_tokens/student_cached": 4,
        "prompt_tokens/teacher": 10_500_000,
        "prompt_tokens/teacher_cached": 5007,
    }
    assert {key: value for key, value in row.items() if key.startswith("sampled_tokens/")} == {
        "sampled_tokens/tutor": 165,
        "sampled_tokens/student": 7,
        "sampled_tokens/teacher": 0,
    }


# Over a run on the virtual service


class Watched(VirtualServiceClient):
    """A virtual service that keeps which prompts were scored, and of how many of their last tokens.

    Args:
        honours: whether it takes `prompt_logprobs_last_n`; else such a request is answered with 400.
    """

    def __init__(self, *arguments, honours=True, **options):
        super().__init__(*arguments, **options)
        self.scorings, self.refused, self._honours = [], [], honours

    def submit(self, call, action, *, read=None, **arguments):
        if read is not None and read.scored:
            self.scorings.append((arguments["base_model"], tuple(read.prompt.to_ints()), read.last_n))
        if read is None or read.last_n is None or self._honours:
            return super().submit(call, action, read=read, **arguments)

        def refuse():
            raise status_error(400, "unknown field prompt_logprobs_last_n")

        answer = super().submit(call, refuse, read=read, **arguments)
        self.refused.append(self.ledger.pop())
        return answer


@pytest.fixture
def train(make_config):
    """Trains in virtual time; gives the service, the rows of metrics and those of dialogues."""

    def train(*arguments, honours=True, **changes):
        config = virtual_config(make_config, **({"groups_per_batch": 2, "max_steps": 3} | changes))
        service = train_virtually(Watched(*arguments, honours=honours), config)
        return service, *rows_of_run(config.log_path, without=())

    return train


def counted(service):
    """What the ledger says was sent and cached, by base model."""
    sent, cached = Counter(), Counter()
    for one in service.ledger:
        if one.prompt_tokens:
            sent[one.model] += one.prompt_tokens
            cached[one.model] += one.cached_tokens
    return {role: (sent[role], cached[role]) for role in ROLES}


def told(rows):
    """What the metrics say, likewise."""
    return {
        role: tuple(sum(row[f"prompt_tokens/{role}{end}"] for row in rows) for end in ("", "_cached")) for role in ROLES
    }


@pytest.mark.parametrize(
    "changes",
    [{}, {"max_staleness": 2}, {"temperature": 0.7}, {"num_envs": 1}, {"max_turns": 5, "max_tokens": 60}],
    ids=str,
)
def test_metrics_say_what_the_service_counted(train, changes):
    service, rows, _ = train(**changes)
    assert told(rows) == counted(service)
    assert all(sent > 0 for sent, _ in counted(service).values())
    assert counted(service)["student"][1] > 0 and counted(service)["tutor"][1] > 0


def test_prompts_that_were_refused_for_a_while_are_counted_once(train):
    service, rows, _ = train(Latency(max_concurrent=2))
    assert any(one.refused for one in service.ledger)
    assert told(rows) == counted(service)


def test_openings_are_one_request_a_group_and_counted_once(train):
    service, rows, _ = train(num_envs=4)
    requests = Counter(call.arguments["num_samples"] for call in service.calls if call.call == "sample")
    assert requests[4] == 2 * 3, "a group's openings are not one request"
    assert told(rows)["student"] == counted(service)["student"]


def test_a_run_scores_each_dialogue_from_its_first_tutor_token_on(train):
    service, _, dialogues = train(max_turns=3)
    teacher = [(prompt, last_n) for model, prompt, last_n in service.scorings if model == "teacher"]
    assert len(teacher) == len(service.scorings) == len(dialogues), "not one request a dialogue"
    firsts = Counter(tuple(one["turns"][1]["tokens"]) for one in dialogues)
    for prompt, last_n in teacher:
        found = [tokens for tokens in firsts if prompt[-last_n:][: len(tokens)] == tokens]
        assert found, "the scores begin elsewhere than the tutor's first turn"
        firsts[found[0]] -= 1
    assert not any(firsts.values())


def test_tokens_of_a_tempered_tutor_are_scored_from_the_first_one_on_too(train):
    service, _, dialogues = train(temperature=0.7)
    lengths = Counter(model for model, _, _ in service.scorings)
    assert lengths == {"tutor": len(dialogues), "teacher": len(dialogues)}
    firsts = {tuple(one["turns"][1]["tokens"]) for one in dialogues}
    for _, prompt, last_n in service.scorings:
        assert any(prompt[-last_n:][: len(tokens)] == tokens for tokens in firsts)


def test_a_server_that_refuses_costs_requests_but_changes_no_dialogue(train, tmp_path):
    def without_times(rows):
        return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in rows]

    _, _, expected = train(log_path=tmp_path / "honours")
    service, rows, dialogues = train(honours=False, log_path=tmp_path / "refuses")
    assert without_times(dialogues) == without_times(expected)
    last_ns = [last_n for _, _, last_n in service.scorings]
    first_whole = last_ns.index(None)
    asked = sum(last_n is not None for last_n in last_ns)
    assert asked == len(service.refused) <= 4, "asked again in a later batch"
    assert len(last_ns) - asked == len(dialogues) and first_whole <= asked
    assert told(rows) == counted(service)
    assert told(rows)["teacher"][1] == 0, "whole prompts cannot come from the cache"
