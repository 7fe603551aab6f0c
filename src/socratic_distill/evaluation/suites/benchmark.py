"""`benchmark`: one published suite on tutors of a run, or on its judge."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.log_path import is_url
from socratic_distill.config.named_models import with_known_names
from socratic_distill.config.paths import resolved
from socratic_distill.config.teachers import plan_teachers, tutor_template
from socratic_distill.config.trust import check_files
from socratic_distill.dialogues.casting import open_judge, open_teacher_client, weights_of
from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.seeds import seeds_of
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.distillation.scorer import Scorer
from socratic_distill.errors import ConfigError, raise_all
from socratic_distill.evaluation.evaluator import Candidate, Progress
from socratic_distill.evaluation.intervals import means
from socratic_distill.evaluation.judge import load_judge_prompt
from socratic_distill.evaluation.paired import sums_by_seed
from socratic_distill.evaluation.suites.asking import Asker, RewardAsker
from socratic_distill.evaluation.suites.catalogue import suite_named
from socratic_distill.evaluation.suites.items import AnsweredItems
from socratic_distill.evaluation.suites.results import Benchmark, SuiteResult, add_results
from socratic_distill.evaluation.suites.suite import Answer, Asked, Item, Suite, Wish
from socratic_distill.evaluation.tutors import named_weights, open_candidate, say_which
from socratic_distill.run.layout import SUITES
from socratic_distill.service.connect import Service, connect, get_tokenizer, smallest_context
from socratic_distill.service.endpoints import check_endpoints
from socratic_distill.service.handover import hand_over
from socratic_distill.service.interface import RestClient, ServiceClient
from socratic_distill.service.offer import settle_models
from socratic_distill.service.waiting import run_blocking

Path_ = str | PathLike[str]


def benchmark(
    config: SocraticConfig,
    suite: str,
    data: Path_,
    tutors: Sequence[str] = ("final",),
    *,
    limit: int | None = None,
    reward_model: Path_ | None = None,
    progress: Progress | None = None,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> Benchmark:
    """Measures tutors of a run, or its judge, by a published suite, and leaves the results in the run directory.

    Each answer is stored at once in `suites/<suite>/`. A benchmark that was stopped goes on where it was: the same
    weights, data and settings use the stored answers. Items that failed are asked again. Every tutor gets the suite's
    own prompts, without the prompt that it tutors with.

    Args:
        config: the run; its service, its models and its random seed.
        suite: a name in `SUITES`.
        data: directory or file with the suite's data, as published; `SUITES` says what it holds.
        tutors: as for `compare`. A suite that measures judges measures config.judge, and ignores this.
        limit: take only so many rows of each file. None: all.
        reward_model: directory of MathTutorBench's reward model. None: the config's judge stands in, if there is one.
        progress: called after each item, with a name, how many items were answered, and how many there are.
        service_client: as for `train`.
        rest_client: as for `train`.

    Returns:
        The suite's results of these tutors, and those that were in the run directory before.

    Raises:
        CheckpointNotFound: the run has no such sampler weights, or the service has deleted them.
        ConfigError: there is no such suite or tutor, the run is in a store, or a judge is measured and there is none.
        SuiteError: the data cannot be read, or hold nothing that can be measured.
        ServiceError: the service failed a call.
        StorageError: an answer or the results cannot be written.
        EventLoopRunning: an asyncio loop already runs in this thread; await `benchmark_async`.
    """
    hand_over(config, service_client, rest_client)
    options: dict[str, Any] = {"limit": limit, "reward_model": reward_model, "progress": progress}
    options |= {"service_client": service_client, "rest_client": rest_client}
    return run_blocking(lambda: benchmark_async(config, suite, data, tutors, **options), "benchmark")


async def benchmark_async(
    config: SocraticConfig,
    suite: str,
    data: Path_,
    tutors: Sequence[str] = ("final",),
    *,
    limit: int | None = None,
    reward_model: Path_ | None = None,
    progress: Progress | None = None,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> Benchmark:
    """The same as `benchmark`, on the asyncio loop that awaits it."""
    hand_over(config, service_client, rest_client)
    measured = suite_named(suite)
    log_path = _own_directory(config)
    wish = wish_of(config, measured, data, limit, reward_model)
    items, notes = measured.items(wish)
    if isinstance(tutors, str) or (not tutors and not measured.measures_judge) or len(set(tutors)) < len(tutors):
        raise ConfigError(
            f'tutors is {tutors!r}; expected one or more names, each once, such as ["base", "teacher", "final"]'
        )
    named = {} if measured.measures_judge else {name: named_weights(config, name) for name in tutors}
    say_which(config, named)
    check_endpoints(config)
    service = await connect(config, service_client, rest_client)
    config, problems = await settle_models(with_known_names(config), service, [], is_trained=False)
    raise_all(problems)
    trial = _Trial(config, service, measured, wish, items, tuple(notes), log_path / SUITES / suite, progress)
    if measured.measures_judge:
        assert config.judge is not None, "a suite that measures judges refuses a config without one"
        name = config.judge.model_name
        return add_results(log_path, Benchmark(measured.about, {name: await trial.on_judge(name)}))
    candidates = [await open_candidate(config, service, name, weights) for name, weights in named.items()]
    results = {candidate.name: await trial.on_tutor(candidate) for candidate in candidates}
    return add_results(log_path, Benchmark(measured.about, results))


def wish_of(
    config: SocraticConfig, suite: Suite, data: Path_, limit: int | None = None, reward_model: Path_ | None = None
) -> Wish:
    """What a user asks of a suite, with what it needs of the run.

    Raises:
        ConfigError: the limit is not positive, or a judge is measured and the config has none.
        UntrustedConfig: the config was read from a run directory, and names files that the user did not allow.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit={limit}; expected at least 1, or None for all rows")
    prompt, training = "", frozenset[str]()
    if suite.measures_judge:
        if config.judge is None:
            raise ConfigError(
                f"the suite {suite.about.name!r} measures a judge, and the config has none; set judge to its model"
            )
        check_files(config, "judge")
        prompt = load_judge_prompt(config.judge.prompt_file, config.subject)
        training = frozenset(seed.question for seed in seeds_of(config))
    model = None if reward_model is None else Path(resolved(reward_model))
    has_judge = config.judge is not None
    return Wish(Path(resolved(data)), limit, config.seed, model, prompt, training, has_judge)


def _own_directory(config: SocraticConfig) -> Path:
    if is_url(config.log_path):
        raise ConfigError(
            f"{config.log_path} is in a store, where only its run writes; copy the run to a directory and take that"
        )
    return Path(resolved(config.log_path))


@dataclass
class _Trial:
    """A suite on one run.

    Attributes:
        config: the run's config, with full model names.
        service: runs the models.
        suite: what is measured.
        wish: what the user asked for.
        items: the suite's items.
        notes: on what is left out.
        directory: of the stored answers.
        progress: as for `benchmark`.
    """

    config: SocraticConfig
    service: Service
    suite: Suite
    wish: Wish
    items: list[Item]
    notes: tuple[str, ...]
    directory: Path
    progress: Progress | None

    async def on_tutor(self, candidate: Candidate) -> SuiteResult:
        """What the suite finds of a tutor."""
        asker, model = await self._tutor(candidate)
        answers = await self._asked("tutor", candidate.name, asker, {"model": model}, self.items)
        follow_up = self.suite.follow_up(self.items, answers, self.wish)
        for role, ask in (("judge", self._judged), ("reward_model", self._rewarded)):
            if of_role := [item for item in follow_up if item.asked == role]:
                answers |= await ask(of_role, f"{role} of {candidate.name}")
        return self._result(model, candidate.batch, [*self.items, *follow_up], answers)

    async def on_judge(self, name: str) -> SuiteResult:
        """What the suite finds of the config's judge."""
        return self._result(name, None, self.items, await self._judged(self.items, name))

    async def _judged(self, items: Sequence[Item], name: str) -> dict[str, Answer]:
        judge, config = self.config.judge, self.config
        assert judge is not None, "without a judge there are no items for one"
        asker = Asker(
            await open_judge(judge, config, self.service),
            config.seed,
            config.max_concurrent_dialogues,
            keeps_limit=True,
        )
        return await self._asked("judge", name, asker, judge.model_dump(mode="json"), items)

    async def _rewarded(self, items: Sequence[Item], name: str) -> dict[str, Answer]:
        path = self.wish.reward_model
        assert path is not None, "without a reward model there are no items for one"
        from socratic_distill.local.reward_model import RewardModel

        asker = RewardAsker(await asyncio.to_thread(RewardModel, path))
        return await self._asked("reward_model", name, asker, {"path": str(path)}, items)

    async def _asked(
        self, role: Asked, name: str, asker: Asker | RewardAsker, identity: Mapping[str, Any], items: Sequence[Item]
    ) -> dict[str, Answer]:
        kept = AnsweredItems(self.directory, items, {"role": role, "seed": self.config.seed, **identity})
        numbers = iter(range(1, len(items) + 1))

        def done() -> None:
            number = next(numbers)
            if self.progress is not None:
                self.progress(name, number, len(items))

        return await asker.ask_all(items, kept, done)

    async def _tutor(self, candidate: Candidate) -> tuple[Asker, str]:
        """Who asks a tutor, greedily, and the weights or model that it is."""
        config, client, model = self.config, candidate.client, candidate.tutor
        template, name = tutor_template(config), config.tutor_model_name
        if client is None:
            teacher = next(plan for plan in plan_teachers(config) if plan.name == candidate.teacher)
            client, model = await open_teacher_client(teacher, self.service), weights_of(teacher)
            template, name = teacher.template, teacher.model_name
        renderer = Renderer(Codec(await get_tokenizer(client)), name, template, config.system_role)
        context = config.max_context_tokens or await smallest_context(self.service.rest, {name})
        speaker = Speaker("tutor", client, renderer, max_tokens=1, temperature=0.0)
        scorer = Scorer.for_server(config.base_url)
        return Asker(speaker, config.seed, config.max_concurrent_dialogues, context, scorer), model

    def _result(
        self, model: str, batch: int | None, items: Sequence[Item], answers: Mapping[str, Answer]
    ) -> SuiteResult:
        figures = self.suite.figures(items, answers, self.wish)
        failed = [answer.error for answer in answers.values() if answer.error is not None]
        notes = [*self.notes, *figures.notes]
        if failed:
            notes.append(f"{len(failed)} of {len(items)} items have no answer and are left out; the first: {failed[0]}")
        judge = self.config.judge
        return SuiteResult(
            model,
            {**means(figures.parts), **figures.measures},
            batch,
            {name: dict(of) for name, of in sums_by_seed(figures.parts).items()},
            len(items),
            len(failed),
            {"limit": self.wish.limit, "judge": None if judge is None else judge_identity(self.config)},
            tuple(notes),
            {name: sum(getattr(of, name) for of in answers.values()) for name in ("sent", "cached", "sampled")},
        )


def judge_identity(config: SocraticConfig) -> dict[str, Any]:
    """What decides a judge's verdicts: its model, how it samples, and its prompt file; JSON."""
    assert config.judge is not None, "the config has a judge"
    return config.judge.model_dump(mode="json")
