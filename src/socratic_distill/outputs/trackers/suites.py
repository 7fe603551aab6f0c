"""Results of published suites at a run's trackers, with its evaluations."""

from collections.abc import Iterable

from socratic_distill.config.config import SocraticConfig
from socratic_distill.evaluation.suites.results import Benchmark
from socratic_distill.files.rows import step_of
from socratic_distill.outputs.trackers import Trackers
from socratic_distill.run.directory import RunDirectory

_OF_RUN = ("base", "final")


def track_suite(config: SocraticConfig, benchmark: Benchmark, names: Iterable[str]) -> None:
    """Logs a suite's results: `eval/<measure>` of the run's own tutors, `eval/<measure>/of/<name>` of others.

    The untrained tutor's are logged at step 0, those of weights before a batch at that batch, others at the last.

    Args:
        config: names the trackers; without any, nothing is done.
        benchmark: the results.
        names: the results to log.

    Raises:
        ConfigError: the library of a tracker is not installed.
        StartError: the run's `run.json` cannot be read.
    """
    if not config.trackers:
        return
    run, trackers = RunDirectory(config.log_path), Trackers(config)
    last = 1 + max((step for row in run.metrics() if (step := step_of(row)) is not None), default=-1)
    trackers.begin(run.identity.run_id, last, run.path)
    try:
        for name in names:
            result = benchmark.results[name]
            is_own = name in _OF_RUN or result.batch is not None
            batch = 0 if name == "base" else last if result.batch is None else result.batch
            ending = "" if is_own else f"/of/{name}"
            trackers.evaluation(batch, {measure + ending: of for measure, of in result.measures.items()})
    finally:
        trackers.close()
