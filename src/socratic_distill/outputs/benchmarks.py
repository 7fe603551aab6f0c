"""`benchmark`: one published suite on tutors of a run, or on its judge, and the results at the run's trackers."""

import asyncio
from collections.abc import Sequence
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.evaluation.evaluator import Progress
from socratic_distill.evaluation.suites.measuring import measure_suite
from socratic_distill.evaluation.suites.order import Path_, check_tutors, order_of
from socratic_distill.evaluation.suites.results import Benchmark, add_results
from socratic_distill.evaluation.tutors import named_weights, say_which
from socratic_distill.outputs.trackers import check_trackers
from socratic_distill.outputs.trackers.suites import track_suite
from socratic_distill.run.directory import opened_to_add
from socratic_distill.service.handover import hand_over
from socratic_distill.service.interface import RestClient, ServiceClient
from socratic_distill.service.waiting import run_blocking


def benchmark(
    config: SocraticConfig,
    suite: str,
    data: Path_,
    tutors: Sequence[str] = ("final",),
    *,
    limit: int | None = None,
    max_tokens: int | None = None,
    reward_model: Path_ | None = None,
    progress: Progress | None = None,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> Benchmark:
    """Measures tutors of a run, or its judge, by a published suite, and leaves the results in the run directory.

    Each answer is stored at once in `suites/<suite>/`. A benchmark that was stopped goes on where it was: the same
    weights, data and settings use the stored answers. Items that failed are asked again. Every tutor gets the suite's
    own prompts, without the prompt that it tutors with.

    Of a run in a store this process is the writer until the call returns: answers are uploaded within a minute, the
    results at the end.

    Args:
        config: the run; its service, its models and its random seed. Its trackers get the results.
        suite: a name in `SUITES`.
        data: directory or file with the suite's data, as published; `SUITES` says what it holds.
        tutors: as for `compare`. A suite that measures judges measures config.judge, and ignores this.
        limit: take only so many rows of each file. None: all.
        max_tokens: length limit of a tutor's reply, if that is less than the suite's. None: the suite's. Figures with
            another limit do not compare with published ones.
        reward_model: directory of MathTutorBench's reward model. None: the config's judge stands in, if there is one.
        progress: called after each item, with a name, how many items were answered, and how many there are.
        service_client: as for `train`.
        rest_client: as for `train`.

    Returns:
        The suite's results of these tutors, and those that were in the run directory before.

    Raises:
        CheckpointNotFound: the run has no such sampler weights, or the service has deleted them.
        ConfigError: there is no such suite or tutor, a judge is measured and there is none, or the library of a tracker
            is not installed.
        RunLocked: another process writes the run, which is in a store.
        SuiteError: the data cannot be read, or hold nothing that can be measured.
        ServiceError: the service failed a call.
        StorageError: an answer or the results cannot be written, or the store fails.
        EventLoopRunning: an asyncio loop already runs in this thread; await `benchmark_async`.
    """
    hand_over(config, service_client, rest_client)
    options: dict[str, Any] = {"limit": limit, "max_tokens": max_tokens, "reward_model": reward_model}
    options |= {"progress": progress, "service_client": service_client, "rest_client": rest_client}
    return run_blocking(lambda: benchmark_async(config, suite, data, tutors, **options), "benchmark")


async def benchmark_async(
    config: SocraticConfig,
    suite: str,
    data: Path_,
    tutors: Sequence[str] = ("final",),
    *,
    limit: int | None = None,
    max_tokens: int | None = None,
    reward_model: Path_ | None = None,
    progress: Progress | None = None,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> Benchmark:
    """The same as `benchmark`, on the asyncio loop that awaits it."""
    hand_over(config, service_client, rest_client)
    order = order_of(config, suite, data, limit, max_tokens, reward_model)
    check_tutors(tutors, order.suite)
    check_trackers(config.trackers)  # before anything is paid for
    named = {} if order.suite.measures_judge else {name: named_weights(config, name) for name in tutors}
    say_which(config, named)
    clients: dict[str, Any] = {"service_client": service_client, "rest_client": rest_client}
    async with opened_to_add(config.log_path) as run:
        found = await measure_suite(config, order, named, run, progress=progress, **clients)
        everything = add_results(run.path, found)
        await asyncio.to_thread(track_suite, config, run, found)
    return everything
