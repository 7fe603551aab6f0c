"""Results of suites: in memory, as tables, and in a run directory, one file `suites/<suite>.json` a suite."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from socratic_distill.errors import StorageError
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.evaluation.measures_html import measures_html
from socratic_distill.evaluation.paired import BySeed, Difference, paired_differences
from socratic_distill.evaluation.stored import read_by_seed, read_measures
from socratic_distill.evaluation.suites.suite import About
from socratic_distill.evaluation.table import comparison_table
from socratic_distill.files.durable import write_atomically
from socratic_distill.files.rows import read_object, to_line, whole
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.layout import SUITES
from socratic_distill.text import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True)
class SuiteResult:
    """What a suite found of one tutor, or of one judge.

    Attributes:
        model: sampler weights or base model.
        measures: by name; `socratic_distill.evaluation.SUITE_MEASURES` describes each.
        batch: the run saved these weights before this batch; None for others.
        by_seed: of each measure that is a mean, the sum of its values and their number, by cluster of items.
        items: number of items that were asked.
        failed: how many of them have no answer.
        asked: what else decides the figures, such as the limit of items and the judge.
        notes: what to know of them, in sentences.
        tokens: sums of the requests' tokens: "sent", "cached" and "sampled".
    """

    model: str
    measures: dict[str, Measure]
    batch: int | None = None
    by_seed: dict[str, BySeed] = field(default_factory=dict)
    items: int = 0
    failed: int = 0
    asked: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    tokens: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Benchmark:
    """A suite and what it found.

    Attributes:
        about: what the suite is: licence, version, and how it counts.
        results: by the tutor's name, or by the judge's model.
    """

    about: About
    results: dict[str, SuiteResult]

    def __repr__(self) -> str:
        """The suite and whom it measured, in one line."""
        return f"Benchmark({self.about.name!r}, {', '.join(self.results) or 'nothing'})"

    def _repr_html_(self) -> str:
        """The measures as a table, for notebooks."""
        return measures_html(self.about.title, self._measures(), *self.notes)

    @property
    def notes(self) -> list[str]:
        """What to know of the figures: licence and version, the way of counting, and what was left out."""
        own = [f"{name}: {note}" for name, result in self.results.items() for note in result.notes]
        return [f"{self.about.title}: {self.about.version}; data {self.about.licence}.", self.about.counting, *own]

    def differences(self, first: str, second: str) -> dict[str, Difference]:
        """How the second of two tutors differs from the first, paired over problems, where a measure is a mean.

        Args:
            first: name of a tutor.
            second: name of another.

        Raises:
            KeyError: there is no result of this name.
        """
        return paired_differences(self.results[first].by_seed, self.results[second].by_seed)

    def table(self, width: int | None = None) -> Table:
        """All measures, a column for each tutor.

        Args:
            width: as for `comparison_table`.
        """
        names = list(dict.fromkeys(name for result in self.results.values() for name in result.measures))
        return comparison_table(self._measures(), names, self.about.title, width=width)

    def _measures(self) -> dict[str, dict[str, Measure]]:
        return {name: result.measures for name, result in self.results.items()}


def add_results(log_path: Path, benchmark: Benchmark) -> Benchmark:
    """Adds results to a suite's file; those of the same tutors are replaced.

    Returns:
        All results in the file.

    Raises:
        StorageError: the file cannot be written.
    """
    earlier = _read(_path(log_path, benchmark.about.name), log_path)
    everything = Benchmark(benchmark.about, (earlier.results if earlier else {}) | benchmark.results)
    path = _path(log_path, benchmark.about.name)
    path.parent.mkdir(exist_ok=True)
    row = {"about": asdict(benchmark.about), "results": {name: asdict(of) for name, of in everything.results.items()}}
    write_atomically(path, to_line(row)[0])
    return everything


def load_benchmarks(log_path: str | os.PathLike[str]) -> dict[str, Benchmark]:
    """The results of suites in a run directory, by the suite's name.

    A file that holds none is skipped with a warning.

    Args:
        log_path: directory of the run; it may be in a store.

    Raises:
        CloudExtraMissing: packages that the store needs are not installed.
        StorageError: the store fails.
    """
    directory = readable(log_path, lambda path: path.startswith(f"{SUITES}/") and path.endswith(".json"))
    paths = sorted((directory / SUITES).glob("*.json"))
    benchmarks = [benchmark for path in paths if (benchmark := _read(path, directory)) is not None]
    return {benchmark.about.name: benchmark for benchmark in benchmarks}


def _path(log_path: Path, suite: str) -> Path:
    return log_path / SUITES / f"{suite}.json"


def _read(path: Path, root: Path) -> Benchmark | None:
    try:
        row = read_object(path, StorageError, "the results are left out", lenient=True, root=root)
    except StorageError as error:
        _log.warning("%s", error)
        return None
    if row is None:
        return None
    about, results = row.get("about"), row.get("results")
    if not isinstance(about, dict) or not isinstance(results, dict) or about.get("name") != path.stem:
        _log.warning("%s holds no results of a suite and is left out", path)
        return None
    fields = {name: str(about.get(name, "")) for name in About.__dataclass_fields__}
    return Benchmark(About(**fields), {name: _result(of) for name, of in results.items() if isinstance(of, dict)})


def _result(row: Mapping[str, Any]) -> SuiteResult:
    notes, asked, tokens = (row.get(name) for name in ("notes", "asked", "tokens"))
    return SuiteResult(
        str(row.get("model", "")),
        read_measures(row.get("measures")),
        whole(row.get("batch")),
        read_by_seed(row.get("by_seed")),
        whole(row.get("items")) or 0,
        whole(row.get("failed")) or 0,
        asked if isinstance(asked, dict) else {},
        tuple(map(str, notes)) if isinstance(notes, list) else (),
        {name: whole(count) or 0 for name, count in tokens.items()} if isinstance(tokens, dict) else {},
    )
