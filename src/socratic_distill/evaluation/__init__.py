"""How a tutor does: measures of the tutoring literature, of dialogues on the same seeds."""

from socratic_distill.evaluation.comparison import compare, compare_async, evaluate, evaluate_async
from socratic_distill.evaluation.definitions import MEASURES, Definition
from socratic_distill.evaluation.evaluator import Evaluation
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.evaluation.mathdial import success_at_k, telling_at_k
from socratic_distill.evaluation.stored import StoredEvaluation, load_evaluations
from socratic_distill.evaluation.table import comparison_table

__all__ = [
    "MEASURES",
    "Definition",
    "Evaluation",
    "Measure",
    "StoredEvaluation",
    "compare",
    "compare_async",
    "comparison_table",
    "evaluate",
    "evaluate_async",
    "load_evaluations",
    "success_at_k",
    "telling_at_k",
]
