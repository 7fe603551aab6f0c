"""A report put together: what each run holds, what fits, and the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from socratic_distill.evaluation.fidelity import read_fidelity
from socratic_distill.files.rows import number
from socratic_distill.outputs.report.charts import charts_for
from socratic_distill.outputs.report.collecting import Played, Shown, choose, read_dialogues
from socratic_distill.outputs.report.curves import curves, evaluation_points
from socratic_distill.outputs.report.guide import where_to_read
from socratic_distill.outputs.report.headline import Column, columns_of, definitions, differences, pretty, table
from socratic_distill.outputs.report.lineage import Lineage, began, lives, read_lineage
from socratic_distill.outputs.report.page import render
from socratic_distill.outputs.report.phases import phases
from socratic_distill.outputs.report.reading import RunFiles, read_run, run_names
from socratic_distill.outputs.report.suites import agreement, forgotten, read_suites, suite_tables, with_agreement
from socratic_distill.outputs.report.verdict import verdict_of


def build(paths: Sequence[Path], most: int) -> bytes:
    """The page on some runs.

    Args:
        paths: their directories.
        most: about how many bytes it may take.

    Raises:
        ConfigError: a directory holds no run.
    """
    runs = [read_run(path) for path in paths]
    played = [read_dialogues(run) for run in runs]
    lineages = [read_lineage(run) for run in runs]
    drawn = [
        {
            "name": name,
            "curves": curves(run.metrics, own.sums),
            "evaluations": evaluation_points(run.evaluations),
            "phases": phases(run.metrics),
        }
        for name, run, own in zip(run_names(runs), runs, played, strict=True)
    ]
    columns = [
        column
        for index, (run, own) in enumerate(zip(runs, drawn, strict=True))
        for column in columns_of(run, index, own["curves"])
    ]

    def page(shown: Sequence[Shown]) -> bytes:
        view = _view(runs, drawn, lineages, played, columns, shown)
        data = {
            "runs": drawn,
            "charts": charts_for(drawn),
            "talks": [talk for of_run in shown for talk in of_run.talks],
            "pairs": [list(pair) for of_run in shown for pair in of_run.pairs],
        }
        return render(view, data)

    return page(_choose(runs, played, most - len(page([Shown() for _ in runs]))))


def _choose(runs: Sequence[RunFiles], played: Sequence[Played], room: int) -> list[Shown]:
    """The dialogues of each run; what a short run leaves of its part of the room goes to the longer ones."""
    shown: dict[int, Shown] = {}
    for left, index in enumerate(sorted(range(len(runs)), key=lambda index: len(played[index].candidates))):
        part = max(room, 0) // (len(runs) - left)
        shown[index] = choose(runs[index], index, played[index], part)
        room -= shown[index].size
    return [shown[index] for index in range(len(runs))]


def _view(
    runs: Sequence[RunFiles],
    drawn: Sequence[dict[str, Any]],
    lineages: Sequence[Lineage],
    played: Sequence[Played],
    columns: Sequence[Column],
    shown: Sequence[Shown],
) -> dict[str, Any]:
    names = [facts_of_run["name"] for facts_of_run in drawn]
    facts = [_facts(*parts) for parts in zip(runs, lineages, played, strict=True)]
    suites = [read_suites(run) for run in runs]
    agreements = [agreement(run, of_run) for run, of_run in zip(runs, suites, strict=True)]
    rows = with_agreement(table(columns), [agreements[column.run] for column in columns])
    return {
        "title": " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names),
        "runs": [
            {
                "name": name,
                "place": index,
                "path": str(run.path),
                "facts": facts[index],
                "lineage": lineage,
                "verdict": verdict_of(
                    run, [column for column in columns if column.run == index], lineage.status == "complete"
                ),
                "students": _warning(run),
                "forgotten": forgotten(suites[index]),
                "suites": suite_tables(suites[index]),
                "notes": run.notes,
                "config": list(pretty(run.config)),
                "shown": has.trained,
                "of": len(own.candidates),
                "evaluated": len(has.talks) - has.trained,
                "pairs": len(has.pairs),
                "pairs_of": has.pairs_of,
                "source": has.source,
            }
            for index, (name, run, lineage, own, has) in enumerate(
                zip(names, runs, lineages, played, shown, strict=True)
            )
        ],
        "fact_names": list(dict.fromkeys(name for of_run in facts for name in of_run)),
        "columns": [{"run": column.run, "name": names[column.run], "label": column.label} for column in columns],
        "main": [row for row in rows if row["main"]],
        "more": [row for row in rows if not row["main"]],
        "held_out": [bool(run.evaluations) for run in runs],
        "differences": differences([run.config for run in runs]),
        "definitions": definitions(row["name"] for row in rows),
        "guide": where_to_read(),
    }


def _warning(run: RunFiles) -> str:
    """What to think of the simulated students, where they were measured; empty if there is nothing to say."""
    fidelity = read_fidelity(run.path)
    return "" if fidelity is None or fidelity.warning is None else f"{fidelity.warning}."


def _facts(run: RunFiles, lineage: Lineage, played: Played) -> dict[str, str]:
    """What the top of the page says of a run, in order."""
    config, done = run.config, len(run.metrics)
    planned = config.get("max_steps")
    resumed = ", ".join(f"batch {batch}" for batch in lineage.resumed)
    objective = config.get("objective")
    times = [number(row.get("time/step")) for row in run.metrics.values()]
    costs = [number(row.get("cost/usd")) for row in run.metrics.values()]
    tokens = sum(number(row.get("tokens/tutor")) or 0 for row in run.metrics.values())
    named = config.get("teachers")
    teachers = (
        ", ".join(str(teacher.get("name")) for teacher in named if isinstance(teacher, dict))
        if isinstance(named, list)
        else ""
    )
    facts = {
        "Status": lineage.status,
        "Steps": f"{done:,} of {planned:,}" if isinstance(planned, int) else f"{done:,}",
        "Began from": began(run.origin),
        "Resumed": f"at {resumed}" if resumed else "never",
        "Server runs": lives(run.server_runs),
        "Tutor": config.get("tutor_model_name"),
        "Student": config.get("student_model_name"),
        "Teacher": f"{config.get('teacher_model_name')}" + (f" as {teachers}" if teachers else ""),
        "Objective": objective.get("kind") if isinstance(objective, dict) else None,
        "Dialogues": f"{len(played.candidates):,}",
        "Tutor's tokens": f"{int(tokens):,}",
        "Time": _duration(sum(seconds for seconds in times if seconds)),
        "Estimated cost": "" if not costs or None in costs else f"{sum(usd or 0 for usd in costs):,.2f} USD",
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, "", "None")}


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
