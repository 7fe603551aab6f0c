"""What published suites say of a run: their tables, what was forgotten, and what its judge's verdicts are worth."""

from collections.abc import Mapping
from typing import Any

from socratic_distill.config.model_names import full_model_name
from socratic_distill.errors import SocraticError
from socratic_distill.evaluation.definitions import definition_of
from socratic_distill.evaluation.suites.definitions import KEPT, MATHTUTORBENCH, MRBENCH
from socratic_distill.evaluation.suites.mrbench import REVEALING
from socratic_distill.evaluation.suites.results import Benchmark, load_benchmarks
from socratic_distill.evaluation.table import difference_rows, measure_text
from socratic_distill.outputs.report.reading import RunFiles

JUDGED = "leaks/judge"
_NOT_MEASURED = "agreement with people: not measured"
# What a tutor could do before it was trained; of each suite the main measure.
_ABLE = (*(f"{name}/{'logprob' if name == 'text' else 'accuracy'}" for name in KEPT),
         f"{MATHTUTORBENCH}/problem_solving/accuracy")  # fmt: skip


def read_suites(run: RunFiles) -> dict[str, Benchmark]:
    """The results of suites in a run's directory, by suite; what cannot be read is left out and noted."""
    try:
        return load_benchmarks(run.path)
    except (OSError, SocraticError) as error:
        run.notes.append(f"The results of suites cannot be read: {error}.")
        return {}


def suite_tables(suites: Mapping[str, Benchmark]) -> list[dict[str, Any]]:
    """A table for each suite: `title`, `columns`, `rows` of a name and cells, and `notes`."""
    tables = []
    for benchmark in suites.values():
        names = dict.fromkeys(name for result in benchmark.results.values() for name in result.measures)
        rows = [
            (name, [measure_text(name, result.measures.get(name)) for result in benchmark.results.values()])
            for name in names
        ]
        tables.append(
            {"title": benchmark.about.title, "columns": list(benchmark.results), "rows": rows, "notes": benchmark.notes}
        )
    return tables


def forgotten(suites: Mapping[str, Benchmark]) -> str:
    """What the trained tutor gained and lost against the untrained one, in a line; empty if neither was measured."""
    gained, lost, same = list[str](), list[str](), list[str]()
    for benchmark in suites.values():
        if not {"base", "final"} <= benchmark.results.keys():
            continue
        differences = benchmark.differences("base", "final")
        for name in _ABLE:
            of = differences.get(name)
            if of is None or of.value is None:
                continue
            ((_, text, *_),) = difference_rows({name: of}, names=[name])
            (same if not of.is_clear else gained if _is_better(name, of.value) else lost).append(f"{name} {text}")
    parts = [("gained", gained), ("lost", lost), ("not clear", same)]
    changes = "; ".join(f"{word} {', '.join(names)}" for word, names in parts if names)
    return f"What training changed of what the model could do before: {changes}." if changes else ""


def agreement(run: RunFiles, suites: Mapping[str, Benchmark]) -> str:
    """How far the run's judge agrees with people on whether a reply gives the answer away, or that nobody knows."""
    judge, benchmark = run.config.get("judge"), suites.get(MRBENCH)
    results = benchmark.results.values() if benchmark is not None else ()
    same = [result for result in results if _is_same(result.asked.get("judge"), judge)]
    if not same:
        return _NOT_MEASURED
    measures = same[-1].measures
    names = [f"{MRBENCH}/{REVEALING}/{name}" for name in ("accuracy", "kappa")]
    accuracy, kappa = (measure_text(name, measures.get(name)) for name in names)
    return f"agreement with people: {accuracy}, kappa {kappa}"


def with_agreement(rows: list[dict[str, Any]], of_columns: list[str]) -> list[dict[str, Any]]:
    """The rows of a table, with the judge's agreement next to its verdicts.

    Args:
        rows: as `headline.table` gives them.
        of_columns: the agreement of each column's run.
    """
    for row in rows:
        if row["name"] == JUDGED:
            for cell, text in zip(row["cells"], of_columns, strict=True):
                cell["count"] = f"{cell['count']}; {text}" if cell["count"] else text
    return rows


def _is_better(name: str, value: float) -> bool:
    known = definition_of(name)
    return value > 0 if known is None or known.direction != "down" else value < 0


def _is_same(measured: object, own: object) -> bool:
    """Whether two settings of a judge are the same; short and full names of a model count as one."""
    if not isinstance(measured, dict) or not isinstance(own, dict):
        return False
    return [_settings(judge) for judge in (measured, own)].count(_settings(own)) == 2


def _settings(judge: Mapping[str, Any]) -> dict[str, Any]:
    return {**judge, "model_name": full_model_name(str(judge.get("model_name")))}
