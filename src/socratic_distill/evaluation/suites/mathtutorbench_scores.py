r"""How MathTutorBench counts. Pure.

Its scorer is that of `tasks/*.py` at commit 54b6213. Equal figures on recorded replies are a test.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from socratic_distill.dialogues.verdicts import closing_verdict
from socratic_distill.errors import BleuExtraMissing
from socratic_distill.evaluation.intervals import Measure, Part
from socratic_distill.evaluation.suites.definitions import MATHTUTORBENCH
from socratic_distill.evaluation.suites.statistics import Pair, f1_average
from socratic_distill.evaluation.suites.suite import Answers, Figures, Item
from socratic_distill.files.extras import how_to_install

PREFERENCES = {"VERDICT: FIRST": True, "VERDICT: SECOND": False}
_NEAR = 1e-6
_LAST_NUMBER = re.compile(r"-?(?:\d*\.)?\d+")
_AMOUNT = r"\$?([-,\d]*\.?\d+)"
_FINAL = re.compile(rf"Final Answer:\s*{_AMOUNT}")
_ASKING = frozenset(("what", "how", "why", "when", "where", "which", "who", "whose", "whom", "can", "could", "would"))


def last_number(reply: str) -> float | None:
    """The last number of a reply, without regard to commas."""
    numbers = _LAST_NUMBER.findall(reply)
    return float(numbers[-1]) if numbers else None


def corrected_number(reply: str) -> float | None:
    """The number after "Final Answer:", or else the last one; None also for what only looks like a number."""
    stated = _FINAL.search(reply)
    amounts = [stated[1]] if stated else re.findall(_AMOUNT, reply)
    try:
        return float(amounts[-1].replace(",", "")) if amounts else None
    except ValueError:  # such as 5-3
        return None


def calls_wrong(reply: str) -> bool:
    """Whether a reply says that a solution is wrong; also if it says neither yes nor no."""
    lowered = reply.lower()
    return "yes" in lowered or "no" not in lowered


def named_step(reply: str) -> int:
    """The first number of a reply; 0, which stands for no mistake, without one."""
    number = re.search(r"\d+", reply)
    return int(number[0]) if number else 0


def reference_questions(answer: str) -> list[str]:
    """The questions of a socratic solution of GSM8K, whose lines are `question ** step`."""
    lines = [line.split(" ** ") for line in answer.split("\n")]
    return [line[0] for line in lines if len(line) == 2]


def asks(reply: str) -> bool:
    """Whether a reply has a question mark, or a word that asks."""
    return "?" in reply or not _ASKING.isdisjoint(reply.lower().split())


def check_bleu() -> None:
    """Returns if sacrebleu is installed.

    Raises:
        BleuExtraMissing: it is not; the message says how to install it.
    """
    _bleu()


def _bleu() -> Any:
    try:
        import sacrebleu  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BleuExtraMissing(
            f"MathTutorBench's task socratic_questioning needs sacrebleu, which cannot be imported: {error}. "
            f"{how_to_install('bleu')}"
        ) from error
    return sacrebleu


def _name(task: str, measure: str) -> str:
    return f"{MATHTUTORBENCH}/{task}/{measure}"


def _replies(items: Sequence[Item], answers: Answers) -> Iterator[tuple[Item, str]]:
    """Each item that has a reply, and the reply."""
    for item in items:
        if answers[item.id].error is None:
            yield item, answers[item.id].text


def _accuracy(task: str, read: Callable[[str], float | None]) -> Callable[[Sequence[Item], Answers], Figures]:
    def count(items: Sequence[Item], answers: Answers) -> Figures:
        return Figures(
            {
                _name(task, "accuracy"): [
                    Part(item.cluster, float(number is not None and abs(number - float(item.facts["target"])) < _NEAR))
                    for item, reply in _replies(items, answers)
                    for number in [read(reply)]
                ]
            }
        )

    return count


def _questions(items: Sequence[Item], answers: Answers) -> Figures:
    scores, counts = list[Part](), list[Part]()
    for item, reply in _replies(items, answers):
        lines, wanted = [line.strip() for line in reply.split("\n")], reference_questions(item.facts["target"])
        if wanted:
            best = max(_bleu().sentence_bleu(line, wanted).score for line in lines)
            scores.append(Part(item.cluster, best / 100))
            counts.append(Part(item.cluster, min(len(lines), len(wanted))))
    return Figures(
        {_name("socratic_questioning", "bleu"): scores, _name("socratic_questioning", "avg_questions"): counts}
    )


def _correctness(items: Sequence[Item], answers: Answers) -> Figures:
    parts: dict[str, list[Part]] = {name: [] for name in ("accuracy", "precision", "recall", "f1")}
    for item, reply in _replies(items, answers):
        is_wrong, is_called = calls_wrong(item.facts["target"]), calls_wrong(reply)
        hit = float(is_wrong and is_called)
        parts["accuracy"].append(Part(item.cluster, float(is_wrong == is_called)))
        parts["precision"].append(Part(item.cluster, hit, int(is_called)))
        parts["recall"].append(Part(item.cluster, hit, int(is_wrong)))
        # F1 is a ratio of sums: twice the hits over all that are wrong and all that are called wrong.
        parts["f1"].append(Part(item.cluster, 2 * hit, is_wrong + is_called))
    return Figures({_name("solution_correctness", name): of for name, of in parts.items()}, _empty_as_zero(parts))


def _empty_as_zero(parts: Mapping[str, Sequence[Part]]) -> dict[str, Measure]:
    """A score whose denominator is 0 is 0 for the suite's scorer."""
    empty = [name for name, of in parts.items() if not sum(part.number for part in of)]
    return {_name("solution_correctness", name): Measure(0.0, None, None, 0) for name in empty}


def _location(items: Sequence[Item], answers: Answers) -> Figures:
    pairs = [(item, int(item.facts["target"]), named_step(reply)) for item, reply in _replies(items, answers)]
    labels = sorted({label for _, right, given in pairs for label in (right, given)})
    places = {label: index for index, label in enumerate(labels)}
    table = [Pair(item.cluster, places[right], places[given]) for item, right, given in pairs]
    # With one label an item, micro F1 is the accuracy.
    exact = [Part(item.cluster, float(right == given)) for item, right, given in pairs]
    averages = {
        _name("mistake_location", "f1_macro"): f1_average(table, len(labels), weighted=False),
        _name("mistake_location", "f1_weighted"): f1_average(table, len(labels), weighted=True),
    }
    return Figures({_name("mistake_location", "f1_micro"): exact}, averages)


Rule = Callable[[Sequence[Item], Answers], Figures]
SCORES: Mapping[str, Rule] = {
    "problem_solving": _accuracy("problem_solving", last_number),
    "socratic_questioning": _questions,
    "solution_correctness": _correctness,
    "mistake_location": _location,
    "mistake_correction": _accuracy("mistake_correction", corrected_number),
}


def open_figures(task: str, items: Sequence[Item], answers: Answers) -> Figures:
    """The figures of a task whose replies are compared with a human teacher's.

    Args:
        task: the task.
        items: the tutor's items, and those of the reward model or the judge.
        answers: to all of them.
    """
    asked = [item for item in items if item.asked == "tutor"]
    parts = {_name(task, "asks"): [Part(item.cluster, float(asks(reply))) for item, reply in _replies(asked, answers)]}
    rewards = {item.id: item for item in items if item.asked == "reward_model"}
    judged = [item for item in items if item.asked == "judge"]
    if rewards:
        parts[_name(task, "win_rate")] = [
            Part(item.cluster, float(_reward(item, "tutor", answers) > _reward(item, "human", answers)))
            for item in asked
            if f"{item.id}/reward/tutor" in rewards
        ]
        return Figures(parts)
    if not judged:
        return Figures(parts, notes=("open tasks have no win rate: neither a reward model nor a judge is given",))
    verdicts = [(item, closing_verdict(answers[item.id].text, PREFERENCES)) for item in judged]
    parts[_name(task, "judge_win_rate")] = [
        Part(item.cluster, float(first == item.facts["is_first"])) for item, first in verdicts if first is not None
    ]
    parts[_name(task, "judge_unparsed")] = [Part(item.cluster, float(first is None)) for item, first in verdicts]
    return Figures(parts, notes=("win rates are a judge's, not the suite's official score",))


def _reward(item: Item, whose: str, answers: Answers) -> float:
    return answers[f"{item.id}/reward/{whose}"].logprobs[0]
