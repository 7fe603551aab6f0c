"""Every objective on the quickstart's run: the same start, seeds and steps; what it reaches and what it costs.

    python tests/benchmarks/objectives.py [--repeats 2] [--steps 8] [--docs]
    python tests/benchmarks/objectives.py --search [--repeats 1]

The first form prints two tables, with `--docs` also into docs/objectives.md: the objectives, and a teacher that sees
the answer against one that does not. The second one prints how each objective does at several learning rates, in
runs of their own.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

# As in the quickstart; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from tables import publish, table

from quickstart import make_config  # pyright: ignore[reportMissingImports]
from socratic_distill import Evaluation, Seed, SocraticConfig, evaluate, load_seeds, open_service, train
from socratic_distill.dialogues.answers.numbers import contains_answer, find_numbers, same_answer
from socratic_distill.local.tiny import HELDOUT_SEEDS
from socratic_distill.local.training_client import LocalTrainingClient
from socratic_distill.training.metrics import dialogue_metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "objectives.md"
TARGET = "bench-objectives"
# The quickstart's own; `--search` shows that every objective does with it.
LEARNING_RATE = 3e-3
SEARCHED = (3e-3, 1e-2, 1e-3)

# What the tests hold the packaged model to: its teacher asks in so many first replies, and a run lowers teacher_kl to
# this share. A tutor that asks so often can tell in no more than the rest.
ASKS, TELLS, KL_SHARE = 0.9, 0.1, 0.6

# All of the seeds are trained on; what is measured lies in a file of its own.
ALONE = {"eval_every": None, "eval_seeds": 0, "write_report": False}
KLS = ("teacher_kl", "teacher_kl/answer", "teacher_kl/other")

NOT_TELLING = {"kind": "not_telling"}
MIXED = {
    "kind": "mixture",
    "parts": [
        {"objective": {"kind": "sampled_reverse_kl"}, "weight": 0.5},
        {"objective": {"kind": "forward_kl"}, "weight": 0.5},
    ],
}
OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    "sampled_reverse_kl": {},
    "sampled_reverse_kl, not_telling": {"rewards": (NOT_TELLING,)},
    "forward_kl": {"objective": {"kind": "forward_kl"}},
    "reverse_kl": {"objective": {"kind": "reverse_kl"}},
    "jensen_shannon, beta=0.1": {"objective": {"kind": "jensen_shannon", "beta": 0.1}},
    "jensen_shannon, beta=0.5": {"objective": {"kind": "jensen_shannon", "beta": 0.5}},
    "jensen_shannon, beta=0.9": {"objective": {"kind": "jensen_shannon", "beta": 0.9}},
    "monte_carlo_kl": {"objective": {"kind": "monte_carlo_kl"}},
    "mixture, half and half": {"objective": MIXED},
}


_untrained: dict[tuple[int, bool], Evaluation] = {}


@dataclass(frozen=True)
class Run:
    """A run, from its start to its end.

    Attributes:
        before: the tutor on held-out seeds before it.
        after: and behind it.
        tokens: tokens that tutor and teacher read or said for it, evaluations apart.
        passes: training passes a step.
        seconds: of a step, in processor time: another program's load is not in it.
    """

    before: Evaluation
    after: Evaluation
    tokens: int
    passes: float
    seconds: float

    @property
    def is_there(self) -> bool:
        """Whether it is within all three bounds."""
        return (
            _known(self.after.value("first_reply/asks")) >= ASKS
            and _known(self.after.value("first_reply/tells")) <= TELLS
            and _known(self.after.value("teacher_kl")) <= KL_SHARE * _known(self.before.value("teacher_kl"))
        )


def do_run(steps: int, repeat: int, learning_rate: float, changes: Mapping[str, Any]) -> Run:
    """The quickstart's run with some of its config changed, `repeat` being the seed of its random numbers."""
    with tempfile.TemporaryDirectory() as directory:
        fields = make_config(steps, directory).model_dump() | {"seed": repeat, "display": "off", **ALONE}
        config = SocraticConfig(**(fields | {"learning_rate": learning_rate} | changes))
        heldout = load_seeds(HELDOUT_SEEDS, seeds_limit=64)
        service = open_service(config)
        clients = {"service_client": service.client, "rest_client": service.rest}
        before = untrained(config, heldout, clients)
        right, began = LocalTrainingClient._pass, time.process_time()
        with patch.object(LocalTrainingClient, "_pass", autospec=True, side_effect=right) as passes:
            train(config, **clients)
        seconds = (time.process_time() - began) / steps
        rows = [json.loads(line) for line in (Path(directory) / "metrics.jsonl").read_text().splitlines()]
        after = evaluate(config, seeds=heldout, **clients)
    used = ("tokens/tutor", "prompt_tokens/tutor", "prompt_tokens/teacher")
    tokens = sum(row[name] for row in rows for name in used)
    return Run(before, after, tokens, passes.call_count / steps, seconds)


def untrained(config: SocraticConfig, seeds: Sequence[Seed], clients: Mapping[str, Any]) -> Evaluation:
    """The tutor before any training, which no objective changes; measured once for each seed and teacher."""
    key = (config.seed, config.teacher_sees_answer)
    if key not in _untrained:
        _untrained[key] = evaluate(config, "base", seeds=seeds, **clients)
    return _untrained[key]


def share_told(evaluation: Evaluation) -> float | None:
    """The share of the tutor's replies, first or later, that hold the answer."""
    return _share(evaluation, contains_answer)


def share_wrong(evaluation: Evaluation) -> float | None:
    """The share of the tutor's replies that claim another answer than the expected one.

    A reply claims its last number where no question mark stands behind it, as a student's turn is read.
    """
    return _share(evaluation, _claims_another)


def _claims_another(text: str, answer: str) -> bool:
    numbers = find_numbers(text)
    return bool(numbers) and "?" not in text[numbers[-1].stop :] and not same_answer(text, answer)


def _share(evaluation: Evaluation, holds: Any) -> float | None:
    dialogues = [one.dialogue for one in evaluation.dialogues]
    found = [holds(turn.text, one.seed.expected_answer) for one in dialogues for turn in one.tutor_turns]
    return mean(found) if found else None


def compare_objectives(steps: int, repeats: int) -> str:
    """The objectives' table."""
    rows, before = [], None
    for name, changes in OBJECTIVES.items():
        runs = [do_run(steps, repeat, LEARNING_RATE, changes) for repeat in range(repeats)]
        before = before or _row("before training", "", [one.before for one in runs], ["", "", "", ""])
        is_there = f"{sum(one.is_there for one in runs)} of {repeats}"
        cost = [
            f"{mean(one.tokens for one in runs) / 1000:.0f}",
            f"{mean(one.passes for one in runs):g}",
            f"{mean(one.seconds for one in runs):.2f}",
        ]
        rows.append(_row(name, f"{LEARNING_RATE:g}", [one.after for one in runs], [is_there, *cost]))
        print(" | ".join(rows[-1]), flush=True)
    heads = ["objective", "learning rate", "teacher_kl", "tells", "asks", "solved", "within bounds"]
    assert before is not None
    return table([*heads, "1,000 tokens", "passes a step", "CPU s/step"], [before, *rows])


def _row(name: str, rate: str, evaluations: Sequence[Evaluation], rest: Sequence[str]) -> list[str]:
    figures = [_told(evaluations, "teacher_kl", ".3f")]
    figures += [_told(evaluations, name, ".0%") for name in ("first_reply/tells", "first_reply/asks", "solved")]
    return [name, rate, *figures, *rest]


def compare_teachers(steps: int, repeats: int) -> str:
    """The table of a teacher that sees the answer and one that does not, each with its own tutor."""
    rows = []
    for name, sees in (("without the answer", False), ("with it", True)):
        runs = [do_run(steps, repeat, LEARNING_RATE, {"teacher_sees_answer": sees}) for repeat in range(repeats)]
        for when in ("before", "after"):
            found: list[Evaluation] = [getattr(one, when) for one in runs]
            shares = [_mean([share(one) for one in found], ".1%") for share in (share_told, share_wrong)]
            figures = [_told(found, "solved", ".1%"), *(_of_metric(found, key) for key in KLS)]
            rows.append([f"{name}, {when}", *shares, *figures])
            print(" | ".join(rows[-1]), flush=True)
    return table(["teacher", "replies that tell", "wrong claims", "solved", *KLS], rows)


def search(steps: int, repeats: int) -> None:
    """Prints how each objective does at several learning rates."""
    for rate in SEARCHED:
        for name, changes in OBJECTIVES.items():
            runs = [do_run(steps, repeat, rate, changes) for repeat in range(repeats)]
            print(" | ".join(_row(name, f"{rate:g}", [one.after for one in runs], [])), flush=True)


def _told(evaluations: Sequence[Evaluation], name: str, shape: str) -> str:
    return _mean([one.value(name) for one in evaluations], shape)


def _of_metric(evaluations: Sequence[Evaluation], key: str) -> str:
    rows = [dialogue_metrics(one.dialogues, lambda tokens, of=one: "".join(of.pieces(tokens))) for one in evaluations]
    return _mean([row[key] for row in rows], ".3f")


def _mean(values: Sequence[float | None], shape: str) -> str:
    """The mean of those that are known, which a tutor that never spells the answer may leave none of."""
    known = [value for value in values if value is not None]
    return format(mean(known), shape) if known else "none"


def _known(value: float | None) -> float:
    assert value is not None, "an evaluation without a tutor's reply"
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2, help="runs of each, with seeds 0, 1, …")
    parser.add_argument("--search", action="store_true", help="several learning rates instead of the tables")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/objectives.md")
    given = parser.parse_args()
    if given.search:
        search(given.steps, given.repeats)
        return
    for name, compare in (("objectives", compare_objectives), ("private teacher", compare_teachers)):
        publish(name, compare(given.steps, given.repeats), given.docs, TARGET, DOCUMENT)


if __name__ == "__main__":
    main()
