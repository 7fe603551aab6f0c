"""Finds every problem that would stop a run's start, before anything is paid for.

The order of the checks: this machine (trackers, prices, directory, disk), the plan (rewards, seeds, prompts), the
service's models and the teachers' checkpoints, what the run starts from, whether it fits this machine's memory, and
whether models, prompts and objective fit each other. Each check is one that the start itself makes, so that a problem
always has the same message. Here the checks go on after the first problem.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Protocol, runtime_checkable
from uuid import uuid4

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.log_path import is_url
from socratic_distill.config.named_models import named_models, with_known_names
from socratic_distill.config.rewards import judge_rewards
from socratic_distill.config.teachers import plan_teachers
from socratic_distill.cost.costs import check_limit, tariff_of
from socratic_distill.dialogues.casting import open_frozen_models, open_judge
from socratic_distill.dialogues.compatibility import check_room
from socratic_distill.dialogues.vocabulary import warn_of_unknown_words
from socratic_distill.errors import (
    ForeignDirectory,
    ModelNotOffered,
    NotEnoughMemory,
    PreflightError,
    RunLocked,
    ServiceError,
    SocraticError,
    StartError,
    StorageError,
    TrainingError,
    UnsupportedFeature,
    UnsupportedServer,
    raise_all,
)
from socratic_distill.outputs.trackers import check_trackers
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.drift import model_names, read_fingerprint
from socratic_distill.run.layout import check_directory
from socratic_distill.run.plan import Plan, read_plan
from socratic_distill.run.room import check_storage
from socratic_distill.run.start import Start
from socratic_distill.service.connect import Service, connect, get_tokenizer, open_sampling_client
from socratic_distill.service.failures import status_of
from socratic_distill.service.interface import RestClient, SamplingClient, ServiceClient
from socratic_distill.service.offer import check_teachers, settle_models
from socratic_distill.service.waiting import in_thread, run_blocking
from socratic_distill.service.watched import Watch
from socratic_distill.text import get_logger
from socratic_distill.text.html import escaped, table, titled, without_secrets
from socratic_distill.training.handshake import shake_hands
from socratic_distill.training.memory import check_memory
from socratic_distill.training.opening import check_start
from socratic_distill.training.start_checks import CHECKS

_log = get_logger(__name__)
# Refusals that are about one request, not about the service as a whole.
_OF_ONE_REQUEST = (400, 404, 409, 422)


@runtime_checkable
class TellsOfLora(Protocol):
    """A service, such as the local engine, that can say before the start what it will train of a model."""

    def check_training(self, base_model: str) -> Awaitable[str]:
        """The share of a model's linear weights that a LoRA reaches, and which path reads it; raises if none does."""
        ...


@dataclass(frozen=True)
class Preflight:
    """What would stop a run's start.

    Attributes:
        problems: each as the run itself would raise it; the message says what to do. Empty: the run can start.
        models: the full name of each model, by config field.
        start: what the run would start from; None if that is unknown.
        lora: which share of the tutor's linear weights its LoRA reaches, and which path of the local engine reads the
            tutor, in words; None if the service does not say.
        memory: what the run takes of this machine's memory, in words; None if the service computes elsewhere, or the
            plan could not be read.
    """

    problems: tuple[SocraticError, ...]
    models: Mapping[str, str]
    start: Start | None
    lora: str | None = None
    memory: str | None = None

    def _repr_html_(self) -> str:
        """The problems, or that there are none, with the models and the start, for notebooks."""
        title = f"{len(self.problems)} problems" if self.problems else "OK, ready to start"
        lines = "".join(
            f'<li style="white-space:pre-wrap">{without_secrets(problem)}</li>' for problem in self.problems
        )
        rows = [[escaped(name), escaped(model)] for name, model in self.models.items()]
        rows += [["start", without_secrets(self.start)]] if self.start is not None else []
        rows += [["LoRA", escaped(self.lora)]] if self.lora is not None else []
        rows += [["memory", escaped(self.memory.splitlines()[0])]] if self.memory is not None else []
        return titled(title, f"<ol>{lines}</ol>" if lines else "", table(rows))

    def raise_problems(self) -> None:
        """Returns if the run can start.

        Raises:
            SocraticError: the problem, if there is one.
            PreflightError: there are several.
        """
        raise_all(self.problems)


def preflight(
    config: SocraticConfig, *, service_client: ServiceClient | None = None, rest_client: RestClient | None = None
) -> Preflight:
    """Finds every problem that would stop a run's start, without playing, training or saving anything.

    An unknown server is asked for the features that the objective needs, by a request of four tokens each;
    `features.json` in log_path remembers the answers. Nothing else is billed or written.

    Args:
        config: as for `train`.
        service_client: as for `train`.
        rest_client: as for `train`.

    Raises:
        EventLoopRunning: an asyncio loop already runs in this thread; await `preflight_async`.
    """
    return run_blocking(
        lambda: preflight_async(config, service_client=service_client, rest_client=rest_client), "preflight"
    )


async def preflight_async(
    config: SocraticConfig, *, service_client: ServiceClient | None = None, rest_client: RestClient | None = None
) -> Preflight:
    """The same as `preflight`, on the asyncio loop that it is awaited on."""
    return await _Look(config).everywhere(lambda: connect(config, service_client, rest_client))


class AllProblems:
    """When start-up fails, also reports every other problem that would have stopped it.

    Problems on this machine are reported before the service is contacted.
    """

    def __init__(
        self, config: SocraticConfig, service_client: ServiceClient | None, rest_client: RestClient | None
    ) -> None:
        """Checks nothing yet.

        Args:
            config: the run's.
            service_client: as for `train`.
            rest_client: as for `train`.
        """
        self._config = config
        self._clients = (service_client, rest_client)
        self._service: Service | None = None

    async def connect(self, watch: Watch) -> Service:
        """The run's service, its requests watched; raises as `socratic_distill.service.connect.connect`."""
        self._service = await connect(self._config, *self._clients, watch)
        return self._service

    @asynccontextmanager
    async def reported(self) -> AsyncIterator[None]:
        """Adds all other problems to an error raised within; temporary errors, and a lock, are raised alone."""
        try:
            yield
        except (TrainingError, RunLocked):
            raise
        except SocraticError as error:
            known = error.problems if isinstance(error, PreflightError) else (error,)
            problems = [problem for problem in await self._find(error) if not isinstance(problem, TrainingError)]
            others = [problem for problem in problems if not any(_is_same(problem, other) for other in known)]
            if others:
                raise PreflightError([*known, *others]) from error
            raise

    async def _find(self, error: SocraticError) -> Sequence[SocraticError]:
        service = None if _is_service_wide(error) else self._service
        try:
            return (await _Look(self._config).everywhere(None if service is None else lambda: _given(service))).problems
        except Exception as unexpected:  # the first error must not be lost
            _log.warning("other problems were not looked for: %s: %s", type(unexpected).__name__, unexpected)
            return ()


async def _given(service: Service) -> Service:
    return service


class _Look:
    """All checks, one after another, whatever they find."""

    def __init__(self, config: SocraticConfig) -> None:
        self._config = config
        self._run = RunDirectory(config.log_path)
        self._problems: list[SocraticError] = []
        self._are_teachers_there = False
        self._is_silent = False  # the service answers no more requests
        self._lora: str | None = None
        self._memory: str | None = None

    async def everywhere(self, connected: Callable[[], Awaitable[Service]] | None) -> Preflight:
        """Checks this machine, and then the service; None: this machine alone."""
        self._machine()
        if is_url(self._config.log_path):  # a copy of the small files is read; the object store is not written
            with self._gathered():
                self._run = RunDirectory(await in_thread(readable, self._config.log_path, _decides_the_start))
        plan, service = self._plan(), None
        if connected is not None:
            with self._gathered():
                service = await connected()
        config = with_known_names(self._config) if plan is None else plan.config
        if service is not None:
            config = await self._models(config, service)
        start = await self._start(config, plan, service)
        if service is not None:
            await self._fits_memory(config, plan, service)
            await self._models_together(config, plan, service)
        return Preflight(tuple(self._problems), named_models(config), start, self._lora, self._memory)

    def _machine(self) -> None:
        with self._gathered():
            check_trackers(self._config.trackers)
        with self._gathered():
            check_limit(self._config, tariff_of(with_known_names(self._config)))
        with self._gathered():
            check_directory(self._config.log_path)
        with self._gathered():
            check_storage(self._config)

    def _plan(self) -> Plan | None:
        if self._has(StorageError):  # a directory that cannot be made holds no run; an empty one stands in
            self._run = RunDirectory(Path(gettempdir()) / uuid4().hex)
        for check in CHECKS:
            with self._gathered():
                check(self._config)
        with self._gathered():
            plan = read_plan(self._config, self._run)
            if not self._has(StorageError):
                check_storage(self._config, plan.total)
            return plan
        return None

    def _has(self, kind: type[SocraticError]) -> bool:
        return any(isinstance(problem, kind) for problem in self._problems)

    async def _models(self, config: SocraticConfig, service: Service) -> SocraticConfig:
        with self._gathered():
            recorded = model_names(read_fingerprint(self._run.path))
            config, problems = await settle_models(config, service, recorded)
            self._problems += problems
        with self._gathered():
            problems = [] if self._is_silent else await check_teachers(plan_teachers(config), service.rest)
            self._problems += problems
            self._are_teachers_there = not problems
        return config

    async def _start(self, config: SocraticConfig, plan: Plan | None, service: Service | None) -> Start | None:
        rest = None if service is None or self._is_silent else service.rest
        with self._gathered():
            return await check_start(config, self._run, rest, () if plan is None else plan.drift)
        return None

    async def _fits_memory(self, config: SocraticConfig, plan: Plan | None, service: Service) -> None:
        if plan is not None:
            with self._gathered():
                settled = replace(plan, config=config, briefing=plan.briefing.renamed(config))
                self._memory = await check_memory(settled, service, in_detail=True)

    async def _models_together(self, config: SocraticConfig, plan: Plan | None, service: Service) -> None:
        """Opens the models, and checks that they, the prompts and the objective fit each other."""
        names = dict.fromkeys(named_models(config).values())
        refusals = [problem for problem in self._problems if isinstance(problem, ModelNotOffered)]
        refused = {problem.name for problem in refusals}
        clients: dict[str, SamplingClient] = {}
        if any(problem.proposal is not None for problem in refusals):  # other models will be taken: none is opened
            return
        if self._has(NotEnoughMemory):  # opening a model would load it
            return
        for name in names:
            if name not in refused and not self._is_silent:
                with self._gathered():
                    client = await open_sampling_client(service.client, f"the model {name!r}", base_model=name)
                    await get_tokenizer(client)
                    clients[name] = client
        if plan is not None and len(clients) == len(names) and self._are_teachers_there:
            with self._gathered():
                briefing = plan.briefing.renamed(config)
                frozen = await open_frozen_models(config, briefing, service, clients[config.tutor_model_name])
                cast = frozen.cast(None, version=0)
                warn_of_unknown_words(cast, plan.played_seeds)
                check_room(cast, plan.played_seeds)
            for _, judge in judge_rewards(config.rewards):
                with self._gathered():
                    await open_judge(judge, config, service)
        if config.tutor_model_name in clients and isinstance(service.client, TellsOfLora):
            with self._gathered():
                self._lora = await service.client.check_training(config.tutor_model_name)
        if config.tutor_model_name in clients and not self._is_silent:
            await self._server(config, service, clients[config.tutor_model_name])

    async def _server(self, config: SocraticConfig, service: Service, client: SamplingClient) -> None:
        with TemporaryDirectory() as elsewhere, self._gathered():
            # The answers are remembered in log_path, unless nothing may be written there.
            is_elsewhere = self._has(StorageError) or self._has(ForeignDirectory)
            directory = Path(elsewhere) if is_elsewhere else self._run.path
            await shake_hands(config, service, client, directory, is_quick=bool(self._problems))

    @contextmanager
    def _gathered(self) -> Iterator[None]:
        """Notes an error of ours; the checks go on."""
        try:
            yield
        except SocraticError as error:
            problems = error.problems if isinstance(error, PreflightError) else (error,)
            # A file or a key that two checks need is one problem.
            known = {(type(problem), str(problem)) for problem in self._problems}
            self._problems += [problem for problem in problems if (type(problem), str(problem)) not in known]
            self._is_silent = self._is_silent or _is_service_wide(error)


def _decides_the_start(path: str) -> bool:
    """Whether a file of a run directory says what its run starts from, rather than what it did."""
    return not path.startswith(("dialogues", "evaluations", "report"))


def _is_service_wide(error: SocraticError) -> bool:
    """Whether other requests to the service would fail too."""
    if isinstance(error, UnsupportedServer):
        return True
    if not isinstance(error, ServiceError) or isinstance(error, UnsupportedFeature):
        return False
    cause = error.__cause__
    return not isinstance(cause, Exception) or status_of(cause) not in _OF_ONE_REQUEST


def _is_same(first: SocraticError, second: SocraticError) -> bool:
    """Whether two errors are about one problem. A start has one StartError at a time."""
    if isinstance(first, StartError) and isinstance(second, StartError):
        return True
    if isinstance(first, UnsupportedServer) and isinstance(second, UnsupportedServer):  # whichever call showed it
        return True
    return type(first) is type(second) and str(first) == str(second)
