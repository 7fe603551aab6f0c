"""The tiny model and SmolLM2, each untrained and trained, by the published suites and in dialogues.

    python tests/benchmarks/suites.py DATA [--model smollm2] [--items 40] [--docs]

DATA is a directory with the suites' files: `mathtutorbench`, a checkout with GSM8K and stepverify beside its dialogues,
and `MRBench_V2.json`. Prints the tables, with `--docs` also into docs/benchmarks.md. The runs and the answers stay in
`--runs`: a call that was stopped goes on where it was.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

# More threads only wait for each other on models of this size; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.append(str(Path(__file__).parents[2] / "examples"))

from tables import publish, table

from quickstart import make_config  # pyright: ignore[reportMissingImports]
from smollm2 import (  # pyright: ignore[reportMissingImports]
    bundled,
    model_file,
    progress,
    teacher_config,
    trained,
    tutor_config,
)
from socratic_distill import (
    Measure,
    Seed,
    SocraticConfig,
    benchmark,
    compare,
    load_benchmarks,
    load_seeds,
    open_service,
    train,
)
from socratic_distill.evaluation import learning_gain
from socratic_distill.evaluation.stored import read_measures
from socratic_distill.evaluation.table import measure_text
from socratic_distill.local import LocalRestClient, LocalServiceClient
from socratic_distill.local.tiny import HELDOUT_SEEDS
from socratic_distill.outputs.report.suites import forgotten

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
TUTORS = {"base": "untrained", "final": "trained"}
MAX_TOKENS = 256  # the suites allow 2,048, which a small model that repeats itself always takes
DIALOGUES = "dialogues"
TITLES = {
    "mathtutorbench": "MathTutorBench",
    "abilities": "what it can do",
    DIALOGUES: "dialogues",
    "costs": "time and cost",
}
JUDGED = 2  # dialogues of MRBench, with nine replies each in eight dimensions

OF_MATHTUTORBENCH = {
    "problem solving": "problem_solving/accuracy",
    "Socratic questions, BLEU": "socratic_questioning/bleu",
    "correctness, F1": "solution_correctness/f1",
    "location, micro F1": "mistake_location/f1_micro",
    "correction": "mistake_correction/accuracy",
    "scaffolding, asks": "scaffolding_generation/asks",
    "pedagogy, asks": "pedagogy_following/asks",
}
OF_ABILITIES = {
    "solves": "gsm8k/accuracy",
    "choices": "choices/accuracy",
    "choices by length": "choices/accuracy_by_length",
    "text, nats a token": "text/logprob",
}
OF_DIALOGUES = {
    "success@5": "mathdial/success@5",
    "telling@5": "mathdial/telling@5",
    "solved, untold": "solved/untold",
    "delta solve": "solve_rate/delta",
    "ALG": "learning/alg",
    "PNIR": "learning/pnir",
    "CSS": "learning/css",
}
OF_JUDGE = {
    f"{name.replace('_', ' ')}, {figure}": f"mrbench/{name}/{figure}"
    for name in ("Mistake_Identification", "Revealing_of_the_Answer")
    for figure in ("accuracy", "kappa")
}


@dataclass(frozen=True)
class Subject:
    """A model that is measured.

    Attributes:
        title: its name in the tables.
        config: of its run.
        engine: clients that run it.
        heldout: problems for dialogues.
        problems: file of problems that it solves alone.
    """

    title: str
    config: SocraticConfig
    engine: Mapping[str, Any]
    heldout: tuple[Seed, ...]
    problems: Path


def tiny(runs: Path, data: Path, steps: int) -> Subject:
    """The packaged model as the quickstart trains it. It knows only the words of its own problems."""
    config = make_config(steps, str(runs / "tiny"))
    service = open_service(config)
    engine = {"service_client": service.client, "rest_client": service.rest}
    train(config, **engine)
    heldout = load_seeds(HELDOUT_SEEDS)
    return Subject("tiny", config, engine, heldout, Path(HELDOUT_SEEDS))


def smollm2(runs: Path, data: Path, steps: int) -> Subject:
    """SmolLM2-135M-Instruct as examples/smollm2.py trains it."""
    model, given, own = str(model_file()), bundled(), runs / "smollm2"
    service = LocalServiceClient(own / "local")
    engine = {"service_client": service, "rest_client": LocalRestClient(service)}
    teacher = trained(teacher_config(model, given, own / "teacher", 25), engine)
    config = tutor_config(model, given, own / "tutor", steps, teacher)
    trained(config, engine)
    # As the example measures it: at temperature 1 it often draws a word that makes no sense.
    measured = config.model_copy(update={"temperature": 0.5})
    return Subject("SmolLM2", measured, engine, given.heldout, data / "mathtutorbench" / "datasets" / "gsm8k.jsonl")


SUBJECTS: dict[str, tuple[Callable[[Path, Path, int], Subject], int]] = {"tiny": (tiny, 8), "smollm2": (smollm2, 20)}


class Costs:
    """Seconds of CPU time by suite and tutor, in a file next to the results: what was asked is not asked again."""

    def __init__(self, log_path: Path, items: int) -> None:
        self._path = log_path / "suites" / f"seconds-{items}.costs"
        self.seconds: dict[str, dict[str, float]] = json.loads(self._path.read_text()) if self._path.exists() else {}

    @contextmanager
    def counted(self, suite: str, tutor: str) -> Iterator[None]:
        """Adds what is used within, also if it is stopped."""
        began = time.process_time()
        try:
            yield
        finally:
            of_suite = self.seconds.setdefault(suite, {})
            of_suite[tutor] = of_suite.get(tutor, 0.0) + time.process_time() - began
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(self.seconds))


def suite_files(problems: Path, data: Path, runs: Path, items: int) -> dict[str, Path]:
    """The data of each suite; choices and texts are made of GSM8K, of rows that no other suite asks."""
    gsm8k = data / "mathtutorbench" / "datasets" / "gsm8k.jsonl"
    rows = [json.loads(line) for line in gsm8k.read_text(encoding="utf-8").splitlines()][-items:]
    answers = [row["answer"].rpartition("#### ")[2] for row in rows]
    choices = []
    for place, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        others = list(dict.fromkeys(other for other in answers[place + 1 :] + answers[:place] if other != answer))[:3]
        right = place % 4
        options = [*others[:right], answer, *others[right:]]
        choices.append({"question": row["question"], "choices": options, "answer": right})
    return {
        "mathtutorbench": data / "mathtutorbench",
        "gsm8k": problems,
        "choices": _written(runs / "choices.jsonl", choices),
        "text": _written(runs / "text.jsonl", [{"text": row["question"]} for row in rows]),
    }


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def measure(subject: Subject, files: Mapping[str, Path], data: Path, items: int, judged: bool) -> Costs:
    """Asks what is not in the run directory yet."""
    config, log_path = subject.config, Path(subject.config.log_path)
    costs, done = Costs(log_path, items), load_benchmarks(log_path)
    limits = {"limit": items, "max_tokens": MAX_TOKENS}
    for suite, path in files.items():
        for tutor in TUTORS:
            found = done[suite].results.get(tutor) if suite in done else None
            if found is None or not limits.items() <= found.asked.items():
                with costs.counted(suite, tutor):
                    benchmark(config, suite, path, [tutor], **limits, progress=progress, **subject.engine)
    if judged and "mrbench" not in done:
        judge: dict[str, Any] = {"judge": {"model_name": config.tutor_model_name, "max_tokens": 16}}
        with costs.counted("mrbench", "base"):
            with_judge = SocraticConfig(**(config.model_dump() | judge))
            benchmark(
                with_judge, "mrbench", data / "MRBench_V2.json", limit=JUDGED, progress=progress, **subject.engine
            )
    for tutor in TUTORS:
        played = dialogues_file(log_path, tutor, items)
        if not played.exists():
            with costs.counted(DIALOGUES, tutor):
                asked = config.model_copy(update={"eval_solve_samples": 2})
                seeds = subject.heldout[:items]
                (found,) = compare(asked, [tutor], seeds=seeds, progress=progress, **subject.engine).values()
                measures = {**found.measures, **learning_gain(found)}
            played.write_text(json.dumps({name: asdict(of) for name, of in measures.items()}))
    return costs


def dialogues_file(log_path: Path, tutor: str, items: int) -> Path:
    """Where the measures of a tutor's dialogues are kept."""
    return log_path / "suites" / f"{DIALOGUES}-{tutor}-{items}.measures"


def tables_of(title: str, log_path: Path, costs: Costs, items: int) -> dict[str, list[list[str]]]:
    """The rows of each table, untrained and trained."""
    found = load_benchmarks(log_path)
    rows: dict[str, list[list[str]]] = {"mathtutorbench": [], "abilities": [], DIALOGUES: [], "costs": []}
    for tutor, word in TUTORS.items():
        head, results = f"{title}, {word}", [of.results[tutor] for of in found.values() if tutor in of.results]
        measures = {name: of for result in results for name, of in result.measures.items()}
        measures |= read_measures(json.loads(dialogues_file(log_path, tutor, items).read_text()))
        of_suite = {name: f"mathtutorbench/{of}" for name, of in OF_MATHTUTORBENCH.items()}
        for where, names in (("mathtutorbench", of_suite), ("abilities", OF_ABILITIES), (DIALOGUES, OF_DIALOGUES)):
            rows[where].append([head, *(_text(name, measures) for name in names.values())])
        asked, failed = sum(of.items for of in results), sum(of.failed for of in results)
        sent, sampled = (sum(of.tokens.get(name, 0) for of in results) for name in ("sent", "sampled"))
        spent = [costs.seconds[name].get(tutor, 0.0) for name in costs.seconds]
        in_dialogues = costs.seconds[DIALOGUES][tutor]
        cells = [f"{asked:,}", f"{failed:,}", f"{sent:,}", f"{sampled:,}"]
        rows["costs"].append([head, *cells, f"{sum(spent) - in_dialogues:,.0f}", f"{in_dialogues:,.0f}", "0"])
    return rows


def _text(name: str, measures: Mapping[str, Measure]) -> str:
    measure = measures.get(name)
    return f"{measure_text(name, measure)}" + (
        f" of {measure.count:,}" if measure and measure.value is not None else ""
    )


def judge_row(title: str, log_path: Path) -> list[str] | None:
    """What the untrained model is worth as a judge; None if that was not measured."""
    found = load_benchmarks(log_path).get("mrbench")
    if found is None:
        return None
    (result,) = found.results.values()
    return [f"{title}, untrained", *(_text(name, result.measures) for name in OF_JUDGE.values())]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="directory with the suites' files")
    parser.add_argument("--model", choices=SUBJECTS, default="tiny")
    parser.add_argument("--items", type=int, default=40, help="rows of each file, and held-out problems (default 40)")
    parser.add_argument("--steps", type=int, help="steps of the tutor's training (default: the example's)")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"), help="directory of the runs")
    parser.add_argument("--judge", action="store_true", help="also measure the untrained model as a judge")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/benchmarks.md")
    given = parser.parse_args()
    make, steps = SUBJECTS[given.model]
    subject = make(given.runs, given.data, given.steps or steps)
    log_path = Path(subject.config.log_path)
    files = suite_files(subject.problems, given.data, given.runs, given.items)
    costs = measure(subject, files, given.data, given.items, given.judge)
    rows = tables_of(subject.title, log_path, costs, given.items)
    heads = {
        "mathtutorbench": list(OF_MATHTUTORBENCH),
        "abilities": list(OF_ABILITIES),
        DIALOGUES: list(OF_DIALOGUES),
        "costs": ["items", "failed", "tokens sent", "sampled", "CPU s, suites", "CPU s, dialogues", "USD"],
    }
    parts = [table([TITLES[name], *heads[name]], of) for name, of in rows.items()]
    if (of_judge := judge_row(subject.title, log_path)) is not None:
        parts.append(table(["MRBench, as a judge", *OF_JUDGE], [of_judge]))
    parts.append(f"{fill(forgotten(load_benchmarks(log_path)), 120)}\n")
    suffix = "" if given.model == "tiny" else f"-{given.model}"
    publish(f"suites {given.model}", "\n".join(parts), given.docs, f"bench-suites{suffix}", DOCUMENT)


if __name__ == "__main__":
    main()
