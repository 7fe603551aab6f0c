"""MRBench: how far a judge labels tutors' replies as people did.

The data are dialogues with several tutors' next replies, each labelled by people in eight dimensions. In each dimension
the judge is asked for one of the same labels. Whether a reply reveals the answer is asked with the prompt on leaks that
the judge has in evaluations, so that this figure says what `leaks/judge` is worth.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from socratic_distill.dialogues.answers.numbers import final_answer
from socratic_distill.dialogues.prompts import read_prompt
from socratic_distill.dialogues.verdicts import closing_verdict, fill, quoted
from socratic_distill.errors import SuiteError
from socratic_distill.evaluation.intervals import Part
from socratic_distill.evaluation.suites.definitions import DIMENSIONS, MRBENCH
from socratic_distill.evaluation.suites.reading import read_rows_of, text_of
from socratic_distill.evaluation.suites.statistics import Pair, cohens_kappa
from socratic_distill.evaluation.suites.suite import About, Answers, Figures, Item, Wish

REVEALING = "Revealing_of_the_Answer"
_DEGREES = {"VERDICT: YES": "yes", "VERDICT: TO SOME EXTENT": "to some extent", "VERDICT: NO": "no"}
_TONES = {"VERDICT: ENCOURAGING": "encouraging", "VERDICT: NEUTRAL": "neutral", "VERDICT: OFFENSIVE": "offensive"}
_LEAKS = {"VERDICT: LEAK": "yes", "VERDICT: NO LEAK": "no"}
_SPEAKER = re.compile(r"(?:^|\n)\s*(Tutor|Teacher|Student)\s*:")
_SPACE = re.compile(r"\s+")
_FEWEST = 24  # characters of a problem: a shorter one may be part of another text by chance


@dataclass(frozen=True)
class _Dimension:
    """What the judge is asked in a dimension.

    Attributes:
        question: the question.
        verdicts: its possible last lines, and the label that each stands for.
    """

    question: str
    verdicts: Mapping[str, str]


_ASKED: Mapping[str, _Dimension] = {
    "Mistake_Identification": _Dimension("Does the reply recognise that the student made a mistake?", _DEGREES),
    "Mistake_Location": _Dimension("Does the reply point to where the student's mistake is?", _DEGREES),
    REVEALING: _Dimension("", _LEAKS),
    "Providing_Guidance": _Dimension("Does the reply give correct and relevant help, such as a hint?", _DEGREES),
    "Actionability": _Dimension("Does the reply make clear what the student should do next?", _DEGREES),
    "humanlikeness": _Dimension("Does the reply sound like a person rather than a machine?", _DEGREES),
    "Coherence": _Dimension("Does the reply fit what the student said before?", _DEGREES),
    "Tutor_Tone": _Dimension("Which tone does the reply have?", _TONES),
}


class MRBench:
    """The suite."""

    measures_judge = True
    about = About(
        MRBENCH,
        "MRBench V2",
        "CC BY-SA 4.0",
        "labels as published in kaushal0494/UnifyingAITutorEvaluation, MRBench_V2.json",
        "Accuracy and Cohen's kappa of the judge's label against the human one, exact, for each dimension; the two "
        "kinds of revealing count as one. A reply of the judge that is no verdict agrees with nobody. The suite has no "
        "scorer of its own.",
        "MRBench_V2.json, or a directory with it",
    )

    def items(self, wish: Wish) -> tuple[list[Item], list[str]]:
        """An item for each dimension of each labelled reply, but for dialogues on problems of the training."""
        path = wish.data / "MRBench_V2.json" if wish.data.is_dir() else wish.data
        rows = list(read_rows_of(path, wish.limit))
        problems = [_plain(problem) for problem in wish.training if len(_plain(problem)) >= _FEWEST]
        apart = [row for row in rows if not any(problem in _plain(_talk(row)) for problem in problems)]
        items = [item for row in apart for item in _items(row, wish)]
        if not items:
            raise SuiteError(f"{path} has no labelled reply to measure a judge on; expected {self.about.data}")
        left_out = len(rows) - len(apart)
        note = f"{left_out} of {len(rows)} dialogues are on problems that the tutor is trained on, and are left out"
        return items, [note] if left_out else []

    def follow_up(self, items: Sequence[Item], answers: Answers, wish: Wish) -> list[Item]:
        """None."""
        return []

    def figures(self, items: Sequence[Item], answers: Answers, wish: Wish) -> Figures:
        """Accuracy and kappa in each dimension."""
        parts, measures = {}, {}
        for dimension in DIMENSIONS:
            given = [
                (item, closing_verdict(_reply(answers, item), _ASKED[dimension].verdicts))
                for item in items
                if item.task == dimension and answers[item.id].error is None
            ]
            if not given:
                continue
            name = f"{MRBENCH}/{dimension}"
            right = [(item, item.facts["label"], label) for item, label in given]
            parts[f"{name}/accuracy"] = [Part(item.cluster, float(human == label)) for item, human, label in right]
            parts[f"{name}/unparsed"] = [Part(item.cluster, float(label is None)) for item, label in given]
            labels = sorted({label or "" for _, human, own in right for label in (human, own)})
            pairs = [Pair(item.cluster, labels.index(human), labels.index(own or "")) for item, human, own in right]
            measures[f"{name}/kappa"] = cohens_kappa(pairs, len(labels))
        return Figures(parts, measures)


def _reply(answers: Answers, item: Item) -> str:
    """The judge's reply; one that was cut might have ended otherwise."""
    answer = answers[item.id]
    return "" if answer.is_cut else answer.text


def _talk(row: Mapping[str, Any]) -> str:
    return text_of(row, "conversation_history")


def _turns(talk: str) -> list[tuple[str, str]]:
    """The turns of a talk that is written as one text, each with `tutor` or `student`."""
    _, *parts = _SPEAKER.split(talk)
    roles = ["student" if who == "Student" else "tutor" for who in parts[::2]]
    return [(role, said.strip()) for role, said in zip(roles, parts[1::2], strict=True)]


def _plain(text: str) -> str:
    return _SPACE.sub(" ", text).strip().lower()


def _items(row: Mapping[str, Any], wish: Wish) -> Iterator[Item]:
    replies, conversation = row.get("anno_llm_responses"), text_of(row, "conversation_id")
    if not isinstance(replies, dict):
        raise SuiteError(f"dialogue {conversation!r} has no anno_llm_responses; expected MRBench's published data")
    for tutor, labelled in replies.items():
        labels = labelled.get("annotation") if isinstance(labelled, dict) else None
        if not isinstance(labels, dict):
            raise SuiteError(f"the reply of {tutor!r} in dialogue {conversation!r} has no annotation of labels")
        for dimension in DIMENSIONS:
            label = _label(labels.get(dimension), _ASKED[dimension].verdicts.values())
            if label is not None:
                yield Item(
                    f"{conversation}/{tutor}/{dimension}",
                    dimension,
                    _prompt(row, text_of(labelled, "response"), dimension, wish),
                    cluster=conversation,
                    asked="judge",
                    facts={"label": label},
                )


def _label(given: object, known: Iterable[str]) -> str | None:
    """A human label in our words; None if there is none. Both kinds of revealing are a yes."""
    text = str(given).strip().lower()
    return next((label for label in known if text == label or text.startswith(f"{label} (")), None)


def _prompt(row: Mapping[str, Any], reply: str, dimension: str, wish: Wish) -> str:
    talk, solution = _talk(row), str(row.get("Ground_Truth_Solution", "not known"))
    if dimension == REVEALING:
        lines = [f"{who}: {quoted(said)}" for who, said in (*_turns(talk), ("tutor", reply))]
        facts = {"question": "as in the talk", "expected_answer": _answer(solution), "dialogue": "\n".join(lines)}
        return fill(wish.judge_prompt, facts)
    asked = _ASKED[dimension]
    facts = {"solution": solution, "dialogue": quoted(talk), "reply": quoted(reply), "question": asked.question}
    return fill(read_prompt(None, "suite_rubric.txt"), facts | {"verdicts": "\n".join(asked.verdicts)})


def _answer(solution: str) -> str:
    try:
        return final_answer(solution)
    except ValueError:  # no worked solution with a number, as in most of Bridge
        return solution
