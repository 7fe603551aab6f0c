"""What sets runs apart, from what they recorded: configs, last steps, evaluations. Plays nothing, asks no service."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from socratic_distill.config.paths import STORED_AS
from socratic_distill.errors import ConfigError
from socratic_distill.evaluation.definitions import MEASURES, definition_of
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.evaluation.paired import BySeed, paired_differences
from socratic_distill.evaluation.stored import read_by_seed
from socratic_distill.evaluation.suites.results import Benchmark
from socratic_distill.evaluation.table import difference_rows, measure_rows
from socratic_distill.files.rows import number, whole
from socratic_distill.outputs.overview import Overview, overview_of
from socratic_distill.outputs.report.headline import differences
from socratic_distill.outputs.report.reading import RunFiles, read_run
from socratic_distill.outputs.report.suites import read_suites
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.finding import check_run

# Rows of the last step, in this order; others of metrics.jsonl are in `metrics` alone.
LAST_STEP = (
    "teacher_kl", "first_reply/tells", "first_reply/asks", "solved", "reward", "reply_tokens/mean", "reply_cut",
    "drift/mean", "time/step", "cost/total_usd",
)  # fmt: skip
# They differ between any two runs.
_OWN = ("log_path", STORED_AS)


@dataclass(frozen=True)
class SideBySide:
    """Runs side by side; every list has one entry a run, in the order in which they were given.

    Attributes:
        overviews: each run in short.
        differences: config fields that differ, with dots into parts, and each run's value as text.
        metrics: the metrics row of each run's last step; empty before the first.
        evaluations: each run's evaluations by batch, the measures of each as the file has them.
        notes: what could not be read, in sentences.
        suites: each run's results of published suites, by suite.
        by_seed: the sums of each run's last evaluation, by measure and seed; empty without them.
    """

    overviews: list[Overview]
    differences: list[tuple[str, list[str]]]
    metrics: list[Mapping[str, Any]]
    evaluations: list[dict[int, Mapping[str, Any]]]
    notes: list[list[str]]
    by_seed: list[dict[str, BySeed]]
    suites: list[dict[str, Benchmark]]

    def last_steps(self) -> list[tuple[str, list[float | None]]]:
        """The rows of `LAST_STEP` that any run has."""
        rows = [(name, [number(row.get(name)) for row in self.metrics]) for name in LAST_STEP]
        return [(name, values) for name, values in rows if any(value is not None for value in values)]

    def last_evaluations(self, *, every: bool = False) -> list[tuple[str, list[str]]]:
        """Measures of each run's last evaluation, as `socratic_distill.evaluation.table.measure_rows`."""
        last = [list(evaluations.values())[-1] if evaluations else {} for evaluations in self.evaluations]
        return measure_rows({str(index): _measures(values) for index, values in enumerate(last)}, every=every)

    def last_differences(self, *, every: bool = False) -> list[tuple[str, list[str]]]:
        """How each run's last evaluation differs from the first run's, paired over the seeds that both have."""
        first, *others = self.by_seed
        tables = [
            {row[0]: row for row in difference_rows(paired_differences(first, other), every=every)} for other in others
        ]
        names = dict.fromkeys(name for rows in tables for name in rows)
        return [
            (
                name,
                ["", *(f"{row[1]}, wins {row[2]} of {row[3]}" if (row := rows.get(name)) else "–" for rows in tables)],
            )
            for name in names
        ]

    def suite_measures(self) -> list[tuple[str, list[str]]]:
        """The measures that suites found of each run's trained tutor, or of its judge."""
        of_runs = [_of_suites(suites) for suites in self.suites]
        names = dict.fromkeys(name for measures in of_runs for name in measures)
        return (
            measure_rows({str(index): measures for index, measures in enumerate(of_runs)}, list(names)) if names else []
        )

    def sorted_by(self, name: str) -> "SideBySide":
        """The same, the run that is best by a measure first; those without it last.

        Args:
            name: a measure of the last evaluation, of a suite, or a figure of the last step.

        Raises:
            ConfigError: no run has it.
        """
        values = [self._value(index, name) for index in range(len(self.overviews))]
        if all(value is None for value in values):
            raise ConfigError(f"no run has a figure {name!r}; the measures stand in `compare … --all` and in its JSON")
        known = definition_of(name)
        sign = 1.0 if known is not None and known.direction == "down" else -1.0
        order = sorted(range(len(values)), key=lambda index: _first(values[index], sign))
        lists = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "differences"}
        differ = [(field, [cells[index] for index in order]) for field, cells in self.differences]
        return SideBySide(differences=differ, **{key: [of[index] for index in order] for key, of in lists.items()})

    def _value(self, index: int, name: str) -> float | None:
        last = _measures(list(self.evaluations[index].values())[-1]) if self.evaluations[index] else {}
        measure = (last | _of_suites(self.suites[index])).get(name)
        return number(self.metrics[index].get(name)) if measure is None else measure.value

    def row(self) -> dict[str, Any]:
        """The same as JSON."""
        return {
            "runs": [overview.row() for overview in self.overviews],
            "differences": dict(self.differences),
            "metrics": self.metrics,
            "evaluations": self.evaluations,
            "differences_from_first": [
                {name: asdict(of) for name, of in paired_differences(self.by_seed[0], other).items()}
                for other in self.by_seed
            ],
            "suites": [
                {
                    name: {tutor: asdict(of)["measures"] for tutor, of in benchmark.results.items()}
                    for name, benchmark in of_run.items()
                }
                for of_run in self.suites
            ],
            "notes": self.notes,
        }


def side_by_side(log_paths: Sequence[str | os.PathLike[str]]) -> SideBySide:
    """Reads runs and sets them side by side.

    Args:
        log_paths: directories of the runs, which may be in a store; read, not changed.

    Raises:
        CloudExtraMissing: packages are not installed that the store needs.
        ConfigError: a directory holds no run.
        StorageError: the store fails.
    """
    directories = [readable(path) for path in log_paths]
    for path, directory in zip(log_paths, directories, strict=True):
        check_run(path, directory)
    runs = [read_run(directory) for directory in directories]
    return SideBySide(
        [overview_of(directory) for directory in directories],
        _differences(runs),
        [_last_row(run) for run in runs],
        [{evaluated.batch: evaluated.measures for evaluated in run.evaluations} for run in runs],
        [run.notes for run in runs],
        [read_by_seed(run.evaluations[-1].by_seed) if run.evaluations else {} for run in runs],
        [read_suites(run) for run in runs],
    )


def _differences(runs: Sequence[RunFiles]) -> list[tuple[str, list[str]]]:
    """The fields that differ between the configs that could be read; a dash for those that could not."""
    of_configs = differences([dict(_flat(run.config)) for run in runs if run.config])
    return [(name, _with_dashes(values, runs)) for name, values in of_configs]


def _with_dashes(values: Sequence[str], runs: Sequence[RunFiles]) -> list[str]:
    rest = iter(values)
    return [next(rest) if run.config else "–" for run in runs]


def _flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a config, with dots into its parts."""
    for name, value in config.items():
        if not above and name in _OWN:
            continue
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _measures(values: Mapping[str, Any]) -> dict[str, Measure]:
    """Measures of an evaluation's file, those alone that have a number."""
    parts = {name: part for name, part in values.items() if name in MEASURES and isinstance(part, dict)}
    return {
        name: Measure(*(number(part.get(key)) for key in ("value", "low", "high")), count=whole(part.get("count")) or 0)
        for name, part in parts.items()
    }


def _of_suites(suites: Mapping[str, Benchmark]) -> dict[str, Measure]:
    """The measures of the trained tutor, or else of whom a suite measured last."""
    results = [benchmark.results for benchmark in suites.values() if benchmark.results]
    return {
        name: measure
        for of_suite in results
        for name, measure in of_suite.get("final", list(of_suite.values())[-1]).measures.items()
    }


def _first(value: float | None, sign: float) -> tuple[bool, float]:
    """The key of a sort: runs without a value come last."""
    return value is None, 0.0 if value is None else sign * value


def _last_row(run: RunFiles) -> Mapping[str, Any]:
    return next(reversed(run.metrics.values()), {})
