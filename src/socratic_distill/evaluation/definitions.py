"""Defines each measure of an evaluation, with its source. Pure."""

from socratic_distill.evaluation.definition import Definition
from socratic_distill.evaluation.suites.definitions import SUITE_MEASURES

# Values of k in Success@k and Telling@k, as in MathDial.
ROUNDS = range(1, 8)

_MATHDIAL = 'Macina et al., "MathDial", Findings of EMNLP 2023; its interactivetutoring/evaluate.py'
_PEDAGOGICAL_RL = (
    'Dinucu-Jianu et al., "From Problem-Solving to Teaching Problem-Solving: Aligning LLMs with Pedagogy using '
    'Reinforcement Learning", EMNLP 2025 (arXiv:2505.15607)'
)
_UNLIKELIHOOD = 'seq-rep-4 of Welleck et al., "Neural Text Generation with Unlikelihood Training", ICLR 2020'
_ON_POLICY = 'Agarwal et al., "On-Policy Distillation of Language Models", ICLR 2024 (arXiv:2306.13649)'
_OURS = "socratic-distill"


def _mathdial() -> list[Definition]:
    success = [
        Definition(
            f"mathdial/success@{k}",
            f"Share of dialogues in which a student turn up to the one after the tutor's reply {k} holds the answer.",
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
            f"Share of dialogues in which one of the tutor's first {k} replies holds the answer before the student "
            "says it.",
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
        "Share of dialogues in which the answer is the last number of a student turn and no question mark follows it, "
        "whether or not the tutor told it.",
        _OURS,
        "share of dialogues",
        "up",
        "share",
    ),
    Definition(
        "solved/untold",
        "Share of dialogues that were solved without a tutor reply that holds the answer.",
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
        "Share of dialogues where the tutor states the answer before the student does, of those with a tutor reply. If "
        "the student's wrong working holds the answer, a leak is missed.",
        f"{_OURS}, a rule for the leaks that judges find in {_PEDAGOGICAL_RL}",
        "share of dialogues",
        "down",
        "share",
    ),
    Definition(
        "leaks/judge",
        "Share of dialogues in which a judge model finds that the tutor gave the answer away, of those with a valid "
        "verdict.",
        _PEDAGOGICAL_RL,
        "share of read verdicts",
        "down",
        "share",
    ),
    Definition(
        "leaks/judge_unparsed",
        "Share of judgements without a valid verdict: in another form than requested, cut, empty, or failed.",
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
        "Mean share of four-word sequences in a dialogue's tutor replies that occurred before in these replies.",
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
        "Share of the student's attempts before the dialogue whose last number is the answer; k attempts a seed.",
        _PEDAGOGICAL_RL,
        "share of attempts",
        "none",
        "mean",
    ),
    Definition(
        "solve_rate/after",
        "Share of the student's attempts after the dialogue whose last number is the answer; k attempts a dialogue.",
        _PEDAGOGICAL_RL,
        "share of attempts",
        "up",
        "mean",
    ),
    Definition(
        "solve_rate/delta",
        "Mean over dialogues of the solve rate after the dialogue minus the one before.",
        _PEDAGOGICAL_RL,
        "share of attempts",
        "up",
        "mean",
    ),
)

MEASURES: dict[str, Definition] = {definition.name: definition for definition in _DEFINITIONS}

# The measures that a table shows at once; the others are folded away.
HEADLINE = (
    "teacher_kl", "mathdial/telling@5", "mathdial/success@5", "leaks", "leaks/judge", "asks", "solved", "solved/untold",
    "turns_to_solve", "solve_rate/delta", "reply_tokens", "repetition",
)  # fmt: skip
# Between a measure's name and a student's, where it is taken over that student's dialogues alone.
OF_STUDENT = "/student/"


def definition_of(name: str) -> Definition | None:
    """The definition of a measure, also of one over a single student's dialogues, or of a suite; None without one."""
    return MEASURES.get(name.partition(OF_STUDENT)[0]) or SUITE_MEASURES.get(name)
