"""Run directories written by hand, as a run writes them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.rows import write_rows
from tests.support.talks import scored_dialogue, talk

from socratic_distill.distillation.rows import dialogue_row

ASKS = ("5 + 7 = 11.", "What is 5 + 5?", "10, so 5 + 7 = 12.")
TELLS = ("5 + 7 = 11.", "No, it is 12.", "So it is 12.")
FAILS = ("5 + 7 = 11.", "What is 5 + 5?", "I give up: 11.")


def row_of(
    texts=ASKS, *, step: Any = 0, seed: str = "s0", number: Any = 0, gap: float = 0.5, **changes: Any
) -> dict[str, Any]:
    """A row of dialogues.jsonl; a turn's pieces are its characters and the end of turn, as one piece."""
    row = dialogue_row(
        scored_dialogue(talk(*texts, seed=seed, max_turns=len(texts) // 2), gap), lambda tokens: ["?"] * len(tokens)
    )
    for turn in row["turns"]:
        if turn["role"] == "tutor":
            rest = len(turn["tokens"]) - len(turn["text"])
            turn["pieces"] = [*turn["text"], *["<", *[""] * (rest - 1)]][: len(turn["tokens"])]
    return row | {"step": step, "number": number} | changes


def write_run(
    path: Path,
    steps: int = 3,
    seeds: int = 2,
    rows: Any = None,
    evaluations: Any = (),
    config: Mapping[str, Any] | None = None,
) -> Path:
    """A run that tells at first and asks at last, of two dialogues on each seed in each step."""
    path.mkdir(parents=True, exist_ok=True)
    if rows is None:
        rows = [
            row_of(TELLS if step < steps // 2 else ASKS, step=step, seed=f"s{step}-{seed}", number=number)
            for step in range(steps)
            for seed in range(seeds)
            for number in range(2)
        ]
    fields = {"tutor_model_name": "tutor", "student_model_name": "pupil", "teacher_model_name": "teacher"}
    (path / "config.json").write_text(json.dumps(fields | {"max_steps": steps} | dict(config or {})))
    (path / "origin.json").write_text(json.dumps({"given": None, "resolved": None}))
    write_rows(path / "dialogues.jsonl", *rows)
    metrics = [
        {"step": step, "teacher_kl": 0.5, "teacher_kl/answer": 1.0 / (step + 1), "time/step": 2.0, "cost/usd": 0.25,
         "tokens/tutor": 30, "staleness/mean": 0.0}
        for step in range(steps)
    ]  # fmt: skip
    write_rows(path / "metrics.jsonl", *metrics)
    for batch, texts in evaluations:
        write_evaluation(path, batch, [row_of(texts, seed=f"held{i}", step=-1) for i in range(3)])
    return path


def write_evaluation(path: Path, batch: int, rows: list[dict[str, Any]], **changes: Any) -> None:
    """An evaluation as a run keeps it; its measures are made up."""
    measures = {
        "solved": {"value": 0.5, "low": 0.25, "high": 0.75, "count": 3},
        "teacher_kl": {"value": 0.125, "low": None, "high": None, "count": 40},
        "turns_to_solve": {"value": None, "low": None, "high": None, "count": 0},
    }
    row = {"batch": batch, "name": f"batch {batch}", "tutor": f"tinker://x/{batch}", "measures": measures}
    (path / "evaluations").mkdir(exist_ok=True)
    file = path / "evaluations" / f"{batch:06d}.json"
    file.write_text(json.dumps(row | {"dialogues": rows} | changes))


def data_of(page: bytes) -> dict[str, Any]:
    """What a page's scripts draw."""
    found = re.search(rb'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None, "the page holds no data"
    return json.loads(found[1])
