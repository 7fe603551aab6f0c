"""Asks tutors of a run, or its judge, the items of a suite, and counts."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.named_models import with_known_names
from socratic_distill.config.teachers import plan_teachers, tutor_template
from socratic_distill.dialogues.casting import open_judge, open_teacher_client
from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.distillation.scorer import Scorer
from socratic_distill.errors import raise_all
from socratic_distill.evaluation.evaluator import Candidate, Progress
from socratic_distill.evaluation.intervals import means
from socratic_distill.evaluation.paired import sums_by_seed
from socratic_distill.evaluation.suites.asking import Asker, RewardAsker
from socratic_distill.evaluation.suites.items import AnsweredItems
from socratic_distill.evaluation.suites.order import Model, Order, asker_of, judge_identity, model_of
from socratic_distill.evaluation.suites.results import Benchmark, SuiteResult
from socratic_distill.evaluation.suites.suite import Answer, Asked, Item
from socratic_distill.evaluation.tutors import Weights, open_candidate
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.layout import SUITES
from socratic_distill.service.connect import Service, connect, get_tokenizer, smallest_context
from socratic_distill.service.endpoints import check_endpoints
from socratic_distill.service.interface import RestClient, ServiceClient
from socratic_distill.service.offer import settle_models


async def measure_suite(
    config: SocraticConfig,
    order: Order,
    named: Mapping[str, Weights | None],
    run: RunDirectory,
    *,
    progress: Progress | None = None,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> Benchmark:
    """Asks tutors of a run, or its judge, the items of a suite, and counts. Each answer is stored at once.

    Args:
        config: the run; its service, its models and its random seed.
        order: the suite.
        named: the tutors, with their weights; a suite that measures judges ignores them.
        run: where the answers are stored.
        progress: as for `benchmark`.
        service_client: as for `train`.
        rest_client: as for `train`.

    Returns:
        The results of these tutors, or of the judge.

    Raises:
        As `benchmark`.
    """
    check_endpoints(config)
    service = await connect(config, service_client, rest_client)
    config, problems = await settle_models(with_known_names(config), service, [], is_trained=False)
    raise_all(problems)
    trial = _Trial(config, service, order, run, progress)
    if order.suite.measures_judge:
        assert config.judge is not None, "a suite that measures judges refuses a config without one"
        name = config.judge.model_name
        return Benchmark(order.suite.about, {name: await trial.on_judge(name)})
    candidates = [await open_candidate(config, service, name, weights) for name, weights in named.items()]
    models = {name: model_of(config, name, weights) for name, weights in named.items()}
    results = {candidate.name: await trial.on_tutor(candidate, models[candidate.name]) for candidate in candidates}
    return Benchmark(order.suite.about, results)


@dataclass
class _Trial:
    """A suite on one run.

    Attributes:
        config: the run's config, with full model names.
        service: runs the models.
        order: what is measured.
        run: stores the answers.
        progress: as for `benchmark`.
    """

    config: SocraticConfig
    service: Service
    order: Order
    run: RunDirectory
    progress: Progress | None

    async def on_tutor(self, candidate: Candidate, model: Model) -> SuiteResult:
        """What the suite finds of a tutor."""
        asker, identity = await self._tutor(candidate, model), {"model": model.identity}
        answers = await self._asked("tutor", candidate.name, asker, identity, self.order.items)
        follow_up = self.order.suite.follow_up(self.order.items, answers, self.order.wish)
        for role, ask in (("judge", self._judged), ("reward_model", self._rewarded)):
            if of_role := [item for item in follow_up if item.asked == role]:
                answers |= await ask(of_role, f"{role} of {candidate.name}")
        return self._result(model.identity, candidate.batch, [*self.order.items, *follow_up], answers)

    async def on_judge(self, name: str) -> SuiteResult:
        """What the suite finds of the config's judge."""
        return self._result(name, None, self.order.items, await self._judged(self.order.items, name))

    async def _judged(self, items: Sequence[Item], name: str) -> dict[str, Answer]:
        judge, config = self.config.judge, self.config
        assert judge is not None, "without a judge there are no items for one"
        asker = Asker(
            await open_judge(judge, config, self.service),
            config.seed,
            config.max_concurrent_dialogues,
            keeps_limit=True,
        )
        return await self._asked("judge", name, asker, judge_identity(config), items)

    async def _rewarded(self, items: Sequence[Item], name: str) -> dict[str, Answer]:
        path = self.order.wish.reward_model
        assert path is not None, "without a reward model there are no items for one"
        from socratic_distill.local.reward_model import RewardModel

        asker = RewardAsker(await asyncio.to_thread(RewardModel, path))
        return await self._asked("reward_model", name, asker, {"path": str(path)}, items)

    async def _asked(
        self, role: Asked, name: str, asker: Asker | RewardAsker, identity: Mapping[str, Any], items: Sequence[Item]
    ) -> dict[str, Answer]:
        directory = self.run.path / SUITES / self.order.name
        kept = AnsweredItems(directory, items, asker_of(role, self.config, identity))
        numbers = iter(range(1, len(items) + 1))

        def done() -> None:
            self.run.note_added()
            number = next(numbers)
            if self.progress is not None:
                self.progress(name, number, len(items))

        return await asker.ask_all(items, kept, done)

    async def _tutor(self, candidate: Candidate, model: Model) -> Asker:
        """Who asks a tutor, greedily."""
        config, client, template = self.config, candidate.client, tutor_template(self.config)
        if client is None:
            teacher = next(plan for plan in plan_teachers(config) if plan.name == candidate.teacher)
            client = await open_teacher_client(teacher, self.service)
            template = teacher.template
        renderer = Renderer(Codec(await get_tokenizer(client)), model.base, template, config.system_role)
        context = config.max_context_tokens or await smallest_context(self.service.rest, {model.base})
        speaker = Speaker("tutor", client, renderer, max_tokens=1, temperature=0.0)
        scorer = Scorer.for_server(config.base_url)
        return Asker(speaker, config.seed, config.max_concurrent_dialogues, context, scorer)

    def _result(
        self, model: str, batch: int | None, items: Sequence[Item], answers: Mapping[str, Answer]
    ) -> SuiteResult:
        figures = self.order.suite.figures(items, answers, self.order.wish)
        failed = [answer.error for answer in answers.values() if answer.error is not None]
        notes = [*self.order.notes, *figures.notes]
        if failed:
            notes.append(f"{len(failed)} of {len(items)} items have no answer and are left out; the first: {failed[0]}")
        wish, judge = self.order.wish, self.config.judge
        asked = {"limit": wish.limit, "max_tokens": wish.max_tokens}
        return SuiteResult(
            model,
            {**means(figures.parts), **figures.measures},
            batch,
            {name: dict(of) for name, of in sums_by_seed(figures.parts).items()},
            len(items),
            len(failed),
            asked | {"judge": None if judge is None else judge_identity(self.config)},
            tuple(notes),
            {name: sum(getattr(of, name) for of in answers.values()) for name in ("sent", "cached", "sampled")},
        )
