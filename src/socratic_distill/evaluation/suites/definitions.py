"""Defines each measure of the suites, with its source. Pure."""

from collections.abc import Iterator

from socratic_distill.evaluation.definition import Definition, Direction, Kind

MATHTUTORBENCH = "mathtutorbench"
MRBENCH = "mrbench"
KEPT = ("gsm8k", "choices", "text")
# Tasks of MathTutorBench whose replies are compared with a human teacher's.
OPEN_TASKS = ("scaffolding_generation", "scaffolding_generation_hard", "pedagogy_following", "pedagogy_following_hard")
DIMENSIONS = (
    "Mistake_Identification", "Mistake_Location", "Revealing_of_the_Answer", "Providing_Guidance", "Actionability",
    "humanlikeness", "Coherence", "Tutor_Tone",
)  # fmt: skip

_MATHTUTORBENCH = 'Macina et al., "MathTutorBench" (arXiv:2502.18940); eth-lre/mathtutorbench'
_MRBENCH = 'Maurya et al., "Unifying AI Tutor Evaluation", NAACL 2025; kaushal0494/UnifyingAITutorEvaluation'
_KAPPA = 'Cohen, "A Coefficient of Agreement for Nominal Scales", 1960'
_GSM8K = 'Cobbe et al., "Training Verifiers to Solve Math Word Problems" (arXiv:2110.14168)'
_EDUCATIONQ = 'Shi et al., "EducationQ", ACL 2025, as described there'
_OURS = "socratic-distill"


_RULE_TASKS: tuple[tuple[str, Kind, str, str], ...] = (
    ("problem_solving/accuracy", "share", "problems", "Share of problems whose reply's last number is the answer."),
    ("socratic_questioning/bleu", "mean", "BLEU", "Mean of each reply's best line by sentence BLEU, from 0 to 1."),
    ("solution_correctness/accuracy", "share", "solutions", "Share of solutions called right or wrong as they are."),
    ("solution_correctness/precision", "share", "solutions", "Share of solutions called wrong that are."),
    ("solution_correctness/recall", "share", "solutions", "Share of wrong solutions that are called wrong."),
    ("solution_correctness/f1", "share", "F1", "F1 of wrong solutions."),
    ("mistake_location/f1_micro", "share", "F1", "Share of solutions whose first wrong step is named, 0 for none."),
    ("mistake_location/f1_macro", "mean", "F1", "Mean of the F1 scores of the step numbers."),
    ("mistake_location/f1_weighted", "mean", "F1", "The same, each step number weighted by how often it is right."),
    ("mistake_correction/accuracy", "share", "solutions", "Share of wrong solutions that the reply corrects."),
)


def _rule_tasks() -> Iterator[Definition]:
    for name, kind, unit, description in _RULE_TASKS:
        yield Definition(f"{MATHTUTORBENCH}/{name}", description, _MATHTUTORBENCH, unit, "up", kind)
    name = f"{MATHTUTORBENCH}/socratic_questioning/avg_questions"
    description = "Mean of the lower of two numbers: lines of the reply, and questions of the reference."
    yield Definition(name, description, _MATHTUTORBENCH, "lines", "none", "mean")


_WIN = "Share of replies that {} puts above the human teacher's."
_OPEN_MEASURES: tuple[tuple[str, str, str, Direction], ...] = (
    ("asks", "Share of replies with a question mark or a question word.", _MATHTUTORBENCH, "none"),
    ("win_rate", _WIN.format("the suite's reward model"), _MATHTUTORBENCH, "up"),
    ("judge_win_rate", _WIN.format("the judge") + " Not the official score.", _OURS, "up"),
    ("judge_unparsed", "Share of the judge's replies that are no verdict.", _OURS, "down"),
)


def _open_tasks() -> Iterator[Definition]:
    for task in OPEN_TASKS:
        for name, description, source, direction in _OPEN_MEASURES:
            whose = f"{MATHTUTORBENCH}/{task}/{name}"
            yield Definition(whose, description, source, "share of replies", direction, "share")


def _dimensions() -> Iterator[Definition]:
    for dimension in DIMENSIONS:
        whose = f"{MRBENCH}/{dimension}"
        share = "Share of replies that the judge labels as people did; a reply that is no verdict is none of them."
        yield Definition(f"{whose}/accuracy", share, _MRBENCH, "share of replies", "up", "share")
        beyond = "Agreement of judge and people beyond chance: 1 is full, 0 is none."
        yield Definition(f"{whose}/kappa", beyond, _KAPPA, "kappa", "up", "mean")
        unparsed = "Share of the judge's replies that are no verdict."
        yield Definition(f"{whose}/unparsed", unparsed, _OURS, "share of replies", "down", "share")


_DEFINITIONS = (
    *_rule_tasks(),
    *_open_tasks(),
    *_dimensions(),
    Definition(
        "gsm8k/accuracy", "Share of problems that the reply solves.", _GSM8K, "share of problems", "up", "share"
    ),
    Definition(
        "choices/accuracy", "Share of questions whose right option is the likeliest.", _OURS, "questions", "up", "share"
    ),
    Definition(
        "choices/accuracy_by_length",
        "Share of questions whose right option is the likeliest per character.",
        _OURS,
        "questions",
        "up",
        "share",
    ),
    Definition(
        "learning/alg",
        "Absolute learning gain: mean over seeds of the solve rate after the dialogue minus the one before.",
        _EDUCATIONQ,
        "share of attempts",
        "up",
        "mean",
    ),
    Definition(
        "learning/pnir",
        "Positive-negative impact ratio: seeds whose solve rate fell, over seeds whose solve rate rose.",
        _EDUCATIONQ,
        "ratio",
        "down",
        "mean",
    ),
    Definition(
        "learning/css",
        "Cross-subject stability: standard deviation of the mean gains of the subjects, the seeds' first tags.",
        _EDUCATIONQ,
        "share of attempts",
        "down",
        "mean",
    ),
    Definition("text/logprob", "Mean log-probability of a token of the texts.", _OURS, "nats a token", "up", "mean"),
)

SUITE_MEASURES: dict[str, Definition] = {definition.name: definition for definition in _DEFINITIONS}
