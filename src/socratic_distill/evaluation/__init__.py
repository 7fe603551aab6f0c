"""Measures how good a tutor is, by measures of the tutoring literature, over dialogues on the same seeds.

| module | does |
|---|---|
| `comparison` | `evaluate` and `compare` |
| `tutors` | what the name of a tutor stands for |
| `evaluator` | plays the dialogues of one tutor and measures them |
| `definitions` | what each measure means |
| `measures`, `mathdial`, `repetition` | measures of a dialogue's texts |
| `fidelity` | whether the simulated students change their minds for a reason |
| `solving` | whether the student solves the problem before and after the dialogue |
| `judge` | asks a model whether the tutor gave the answer away |
| `intervals` | means with bootstrap intervals over seeds |
| `paired` | how two tutors differ on the same seeds |
| `stored` | evaluations in a run directory |
| `suites` | published suites, and judges measured against people |
| `definition`, `suites.definitions` | what a definition says; those of the suites |
| `table`, `measures_html` | measures of several tutors, side by side |
"""

from socratic_distill.evaluation.comparison import Comparison, compare, compare_async, evaluate, evaluate_async
from socratic_distill.evaluation.definition import Definition
from socratic_distill.evaluation.definitions import MEASURES
from socratic_distill.evaluation.evaluator import Evaluation
from socratic_distill.evaluation.fidelity import Fidelity, student_fidelity, student_fidelity_async
from socratic_distill.evaluation.intervals import Measure
from socratic_distill.evaluation.mathdial import success_at_k, telling_at_k
from socratic_distill.evaluation.paired import Difference, paired_differences
from socratic_distill.evaluation.stored import StoredEvaluation, load_evaluations
from socratic_distill.evaluation.suites.catalogue import SUITES
from socratic_distill.evaluation.suites.definitions import SUITE_MEASURES
from socratic_distill.evaluation.suites.learning import learning_gain
from socratic_distill.evaluation.suites.results import Benchmark, SuiteResult, load_benchmarks
from socratic_distill.evaluation.suites.suite import About
from socratic_distill.evaluation.table import comparison_table, difference_table

__all__ = [
    "MEASURES",
    "SUITES",
    "SUITE_MEASURES",
    "About",
    "Benchmark",
    "Comparison",
    "Definition",
    "Difference",
    "Evaluation",
    "Fidelity",
    "Measure",
    "StoredEvaluation",
    "SuiteResult",
    "compare",
    "compare_async",
    "comparison_table",
    "difference_table",
    "evaluate",
    "evaluate_async",
    "learning_gain",
    "load_benchmarks",
    "load_evaluations",
    "paired_differences",
    "student_fidelity",
    "student_fidelity_async",
    "success_at_k",
    "telling_at_k",
]
