"""Results of published suites at a run's trackers, with its evaluations."""

from socratic_distill.config.config import SocraticConfig
from socratic_distill.evaluation.suites.results import Benchmark
from socratic_distill.files.rows import step_of
from socratic_distill.outputs.trackers import Trackers
from socratic_distill.run.directory import RunDirectory
from socratic_distill.run.layout import RUN
from socratic_distill.text import get_logger

_log = get_logger(__name__)
_OF_RUN = ("base", "final")


def track_suite(config: SocraticConfig, run: RunDirectory, benchmark: Benchmark) -> None:
    """Logs a suite's results: `eval/<measure>` of the run's own tutors, `eval/<measure>/of/<name>` of others.

    The untrained tutor's are logged at step 0, those of weights before a batch at that batch, others at the last. A run
    that has not begun has no page at its trackers: nothing is logged then.

    Args:
        config: names the trackers; without any, nothing is done.
        run: the run.
        benchmark: the results.

    Raises:
        ConfigError: the library of a tracker is not installed.
        StartError: the run's `run.json` cannot be read.
    """
    if not config.trackers:
        return
    if not (run.path / RUN).is_file():
        _log.warning("%s has not begun, so its trackers get no results of suites", config.log_path)
        return
    trackers = Trackers(config)
    last = 1 + max((step for row in run.metrics() if (step := step_of(row)) is not None), default=-1)
    trackers.begin(run.identity.run_id, last, run.path)
    try:
        for name, result in benchmark.results.items():
            is_own = name in _OF_RUN or result.batch is not None
            batch = 0 if name == "base" else last if result.batch is None else result.batch
            ending = "" if is_own else f"/of/{name}"
            trackers.evaluation(batch, {measure + ending: of for measure, of in result.measures.items()})
    finally:
        trackers.close()
