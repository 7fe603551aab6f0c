"""`train()`: from a config to a complete run.

It settles what the run does and opens its service; `session` opens the clients, and `loop` runs the steps. When the
service loses the clients, both start again from the newest state.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing

from socratic_distill.config.config import SocraticConfig
from socratic_distill.cost.budget import Budget
from socratic_distill.cost.estimate import estimate_of
from socratic_distill.errors import NoUsableCheckpoint
from socratic_distill.local.saved_paths import present_path
from socratic_distill.outputs.display import Display
from socratic_distill.outputs.progress import Progress
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.layout import check_directory
from socratic_distill.run.plan import Plan, decide, final_paths, finished, fit_to_service, read_plan
from socratic_distill.run.record import What
from socratic_distill.run.room import check_storage
from socratic_distill.run.start import Resume
from socratic_distill.service.connect import Service
from socratic_distill.service.failures import describe
from socratic_distill.service.handover import hand_over
from socratic_distill.service.interface import RestClient, ServiceClient
from socratic_distill.service.waiting import run_interruptible
from socratic_distill.service.watched import Watch
from socratic_distill.text import get_logger
from socratic_distill.training.callbacks import Callback
from socratic_distill.training.evaluations import Evaluations
from socratic_distill.training.hooks import Hooks
from socratic_distill.training.loop import Loop
from socratic_distill.training.memory import check_memory
from socratic_distill.training.preflight import AllProblems
from socratic_distill.training.recovery import Recoveries
from socratic_distill.training.result import TrainResult
from socratic_distill.training.session import open_session
from socratic_distill.training.start_checks import CHECKS

_log = get_logger(__name__)


def announce(plan: Plan, run: RunDirectory, budget: Budget, progress: Progress) -> None:
    """Says what a run will cost, or which prices are not known, and at which step its limit will stop it."""
    # Another server's users know that it has no list prices; they give prices if they want an estimate.
    if budget.tariff is not None and plan.config.base_url is None and (unknown := budget.tariff.what_is_unknown):
        progress.say(f"{plan.config.log_path}: {unknown}")
    if budget.tariff is None or not budget.tariff.is_complete:
        return
    estimate, limit = estimate_of(plan, run, budget), plan.config.max_cost_usd
    usd = estimate.usd or 0.0
    message = f"estimated cost {usd:.4g} USD for {estimate.steps} steps and {estimate.evaluations} evaluations"
    if estimate.spent_usd:
        message += f", in addition to {estimate.spent_usd:.4g} USD so far"
    progress.say(f"{plan.config.log_path}: {message} (averages: {estimate.basis}; prices: {estimate.prices})")
    if limit is not None and usd and estimate.spent_usd + usd > limit:
        share = max(0.0, (limit - estimate.spent_usd) / usd)
        progress.say(f"max_cost_usd={limit:g} will stop it after about {int(share * estimate.steps)} more steps")


def train(
    config: SocraticConfig,
    *,
    callbacks: Sequence[Callback] = (),
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> TrainResult:
    """Trains the tutor, or resumes a run, until its last step.

    In the main thread, the first SIGINT or SIGTERM lets the training step under way end, drops unfinished dialogues and
    saves a state. The second one stops at once.

    A callback may stop a run before its last step; the result's status is then "stopped". Started again with the same
    callbacks, such a run does no step if they ask for the stop again in `on_begin`. Otherwise it goes on from
    its final state.

    Args:
        config: what to do; see `build_socratic_config`.
        callbacks: what else is called at its steps, evaluations, saves and end; see `Callback`.
        service_client: any object with the Tinker service client's interface. None opens the service that
            `config.base_url` names.
        rest_client: its REST client. None with a service_client leaves out checks that need one.

    Raises:
        EventLoopRunning: an asyncio loop already runs in this thread, as in a notebook.
        RunInterrupted: a signal stopped it.
        SocraticError: everything that `train_async` raises.
    """
    hand_over(config, service_client, rest_client)
    return run_interruptible(
        lambda: train_async(config, callbacks=callbacks, service_client=service_client, rest_client=rest_client),
        "train",
    )


async def train_async(
    config: SocraticConfig,
    *,
    callbacks: Sequence[Callback] = (),
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> TrainResult:
    """The same as `train`, on the asyncio loop that it is awaited on.

    It installs no signal handlers. A cancellation does what the first signal does in `train`, and is then raised
    again; a second one stops at once.

    Raises:
        ConfigError: a callback is invalid, or can never do anything in this run.
        PreflightError: several problems keep the run from starting; a single problem is raised as itself.
        ModelNotOffered: the service does not offer a model.
        StartError: `log_path` and `load_checkpoint_path` do not say what to start from, or the config is that of
            another run.
        SeedError: the seeds cannot be read.
        RunLocked: another process writes to `log_path`, or may, since its lock file was deleted.
        CostLimitReached: one more step would exceed `config.max_cost_usd`.
        RolloutError: too many dialogues of a batch failed.
        ServiceError: the service refused a call, or its clients were lost too often. The run can be resumed.
        StorageError: the run directory cannot be written.
    """
    hand_over(config, service_client, rest_client)
    problems = AllProblems(config, service_client, rest_client)
    hooks = Hooks(callbacks, config)
    async with problems.reported():
        # Before the directory is made or locked: a refused start leaves nothing on disk.
        check_directory(config.log_path)
        check_storage(config)
    async with (
        RunDirectory(config.log_path) as run,
        Progress(config) as progress,
        Watch(config.answer_timeout_seconds, progress.say) as watch,
        hooks,
    ):
        recoveries = Recoveries(config.max_recoveries, progress, run.has_state)
        async with problems.reported():
            plan, service, result = await _prepare(config, run, lambda: problems.connect(watch), recoveries, hooks)
            budget = Budget(plan.config, run.path)
        # They outlive a session: a lost training client does not end an evaluation.
        with closing(Evaluations(plan, run, progress, budget, hooks)) as evaluations:
            if result is not None:
                progress.say(f"{config.log_path}: {_explain(result)}")
                evaluations.last = result.steps
            if result is None or not evaluations.is_complete:
                service = run.guarded(service or await problems.connect(watch))
                if result is None:
                    announce(plan, run, budget, progress)
                    failed_saves: Counter[What] = Counter()  # over all attempts: new clients do not cure a full quota

                    async def attempt() -> TrainResult:
                        """Opens the run's clients at its newest state, and trains until it is done or they are lost."""
                        opening = open_session(plan, run, service, evaluations, progress, failed_saves, hooks.saved)
                        async with problems.reported():
                            session = await opening
                        _begin(progress, run, session.began)
                        return await Loop(session, plan, run, progress, recoveries, budget, hooks).train()

                    result = await recoveries.over(attempt)
                else:
                    run.identity.write(run.path)
                    _begin(progress, run, result.steps)
                    evaluations.catch_up(service, result.steps)
                await evaluations.finish()
        run.check()  # another process may have taken the directory over
        if config.write_report:
            await _report(config.log_path, run, progress)
        await hooks.end(result)
        return result


async def _prepare(
    config: SocraticConfig,
    run: RunDirectory,
    connect: Callable[[], Awaitable[Service]],
    recoveries: Recoveries,
    hooks: Hooks,
) -> tuple[Plan, Service | None, TrainResult | None]:
    """What to do, and the service to do it on; or no service, but the result, if nothing is left to do."""
    plan = read_plan(config, run)
    result = await _ended(plan, run, hooks)
    if result is not None:
        return plan, None, result  # a complete run needs no service, nor an account
    # A function of the user that cannot be called is refused before anything is paid.
    for check in CHECKS:
        check(config)
    service = await connect()
    plan = await recoveries.over(lambda: fit_to_service(plan, run, service))
    await check_memory(plan, service, in_detail=False)  # before any model is loaded
    return plan, service, None


async def _ended(plan: Plan, run: RunDirectory, hooks: Hooks) -> TrainResult | None:
    """The result of a run whose steps are all done, or that a callback stops where it had ended; None for others."""
    try:
        start = decide(plan, run)
    except NoUsableCheckpoint:  # the service may hold a state that the journal lacks; the start asks it
        return None
    final = finished(plan, run, start)
    state_path, sampler_path = final or final_paths(run, start)
    if state_path is None or not isinstance(start, Resume) or (final is None and sampler_path is None):
        return None
    await hooks.begin(run, start.batch)
    reason = None if final else hooks.reason
    if final is None and reason is None:
        return None
    return TrainResult(
        "already_complete" if final else "stopped",
        min(start.batch, plan.total),
        present_path(run.path, state_path),
        None if sampler_path is None else present_path(run.path, sampler_path),
        metrics={},
        reason=reason,
    )


def _explain(result: TrainResult) -> str:
    """Why nothing is left to do."""
    if result.status == "stopped":
        return f"stopped by a callback after {result.steps} steps: {result.reason}"
    return f"the run is complete ({result.steps} steps); raise max_steps to go on"


def _begin(progress: Progress, run: RunDirectory, batch: int) -> None:
    progress.begin(run.identity.run_id, batch, run.path)


async def _report(log_path: str, run: RunDirectory, display: Display) -> None:
    """Writes the run's report. A failing report must not make a run of weeks fail at its end."""
    from socratic_distill.outputs.report import write_report

    try:
        page = await asyncio.to_thread(write_report, run.path)  # seconds for a long run
        display.say(f"{log_path}: report in {log_path.rstrip('/')}/{page.name}")
    except Exception as error:
        _log.warning("the report of %s was not written: %s", log_path, describe(error))
