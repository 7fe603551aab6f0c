"""The suites by name."""

from collections.abc import Mapping

from socratic_distill.errors import SuiteError
from socratic_distill.evaluation.suites.choices import Choices
from socratic_distill.evaluation.suites.mathtutorbench import MathTutorBench
from socratic_distill.evaluation.suites.mrbench import MRBench
from socratic_distill.evaluation.suites.solving import Solving
from socratic_distill.evaluation.suites.suite import Suite
from socratic_distill.evaluation.suites.texts import Texts

SUITES: Mapping[str, Suite] = {
    suite.about.name: suite for suite in (MathTutorBench(), MRBench(), Solving(), Choices(), Texts())
}
"""Every suite that `benchmark` knows, by name; its `about` says licence, version, data, and how it counts."""


def suite_named(name: str) -> Suite:
    """The suite of a name.

    Raises:
        SuiteError: there is none.
    """
    if name not in SUITES:
        raise SuiteError(f"suite is {name!r}; expected one of {', '.join(SUITES)}")
    return SUITES[name]
