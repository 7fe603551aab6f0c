"""What each measure of an evaluation is, and whose. Pure."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["share", "mean"]
Direction = Literal["up", "down", "none"]

# Rounds that Success@k and Telling@k are told for, as in MathDial.
ROUNDS = range(1, 8)

_MATHDIAL = 'Macina et al., "MathDial", Findings of EMNLP 2023; its interactivetutoring/evaluate.py'
_PEDAGOGICAL_RL = (
    'Dinucu-Jianu et al., "From Problem-Solving to Teaching Problem-Solving: Aligning LLMs with Pedagogy using '
    'Reinforcement Learning", EMNLP 2025 (arXiv:2505.15607)'
)
_UNLIKELIHOOD = 'seq-rep-4 of Welleck et al., "Neural Text Generation with Unlikelihood Training", ICLR 2020'
_ON_POLICY = 'Agarwal et al., "On-Policy Distillation of Language Models", ICLR 2024 (arXiv:2306.13649)'
_OURS = "socratic-distill"


@dataclass(frozen=True)
class Definition:
    """What a measure is.

    Attributes:
        name: its key.
        description: in one sentence.
        source: who defined it; "socratic-distill" for our own.
        unit: of its value.
        direction: which way is better: "up", "down", or "none" where neither is.
        kind: "share" of things that are so, from 0 to 1, or "mean" of numbers.
    """

    name: str
    description: str
    source: str
    unit: str
    direction: Direction
    kind: Kind


def _mathdial() -> list[Definition]:
    success = [
        Definition(
            f"mathdial/success@{k}",
            f"Share of dialogues in which a student's turn up to the one after the tutor's reply {k} holds the answer.",
            _MATHDIAL,
            "share of dialogues",
            "up",
            "share",
        )
        for k in ROUNDS
    ]
    telling = [
        Definition(
            f"mathdial/telling@{k}",
            f"Share of dialogues in which one of the tutor's first {k} replies holds the answer before the student has "
            "said it.",
            _MATHDIAL,
            "share of dialogues",
            "down",
            "share",
        )
        for k in ROUNDS
    ]
    return [*success, *telling]


_DEFINITIONS = (
    *_mathdial(),
    Definition(
        "mathdial/turns_to_success",
        "Tutor replies before the student's first turn that holds the answer, over dialogues that have one.",
        _MATHDIAL,
        "replies",
        "down",
        "mean",
    ),
    Definition(
        "solved",
        "Share of dialogues in which a student's turn ends on the answer and does not ask about it, told or not.",
        _OURS,
        "share of dialogues",
        "up",
        "share",
    ),
    Definition(
        "solved/untold",
        "Share of dialogues that were solved, and in which no tutor reply held the answer.",
        _OURS,
        "share of dialogues",
        "up",
        "share",
    ),
    Definition(
        "turns_to_solve",
        "Tutor replies until the dialogue was solved, over solved dialogues.",
        _OURS,
        "replies",
        "down",
        "mean",
    ),
    Definition(
        "asks", "Share of tutor replies that hold a question mark.", _OURS, "share of tutor replies", "up", "share"
    ),
    Definition(
        "first_reply/asks",
        "Share of first tutor replies that hold a question mark.",
        _OURS,
        "share of first replies",
        "up",
        "share",
    ),
    Definition(
        "first_reply/tells",
        "Share of first tutor replies that hold the answer.",
        _OURS,
        "share of first replies",
        "down",
        "share",
    ),
    Definition(
        "leaks",
        "Share of dialogues with a tutor reply in which one holds the answer before any turn of the student does; an "
        "answer that stands in the student's mistaken working hides a leak.",
        f"{_OURS}, a rule for the leaks that judges find in {_PEDAGOGICAL_RL}",
        "share of dialogues",
        "down",
        "share",
    ),
    Definition(
        "leaks/judge",
        "Share of dialogues in which a judge model finds that the tutor gave the answer away, over those with a "
        "verdict that can be read.",
        _PEDAGOGICAL_RL,
        "share of read verdicts",
        "down",
        "share",
    ),
    Definition(
        "leaks/judge_unparsed",
        "Share of judgements without a verdict: not in the form that was asked for, cut, empty, or failed.",
        _OURS,
        "share of judgements",
        "down",
        "share",
    ),
    Definition(
        "reply_tokens",
        "Mean length of tutor replies, reasoning and end of turn included.",
        _OURS,
        "tokens",
        "none",
        "mean",
    ),
    Definition(
        "repetition",
        "Mean share of runs of four words in a dialogue's tutor replies that came before in them.",
        _UNLIKELIHOOD,
        "share of word runs",
        "down",
        "mean",
    ),
    Definition(
        "teacher_kl",
        "Mean of log p_tutor - log p_teacher over the tutor's sampled tokens, the sampled estimate of "
        "KL(tutor || teacher).",
        _ON_POLICY,
        "nats a token",
        "down",
        "mean",
    ),
    Definition(
        "solve_rate/before",
        "Share of the student's attempts before the dialogue that end on the answer, k for each seed.",
        _PEDAGOGICAL_RL,
        "share of attempts",
        "none",
        "mean",
    ),
    Definition(
        "solve_rate/after",
        "Share of the student's attempts after the dialogue that end on the answer, k for each dialogue.",
        _PEDAGOGICAL_RL,
        "share of attempts",
        "up",
        "mean",
    ),
    Definition(
        "solve_rate/delta",
        "Mean over dialogues of the solve rate after less that before.",
        _PEDAGOGICAL_RL,
        "share of attempts",
        "up",
        "mean",
    ),
)

MEASURES: dict[str, Definition] = {one.name: one for one in _DEFINITIONS}
