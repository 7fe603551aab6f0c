"""Rows of metrics.jsonl with figures that are not finite: from such a step on, a run's weights may be damaged.

This version stops a run before it writes such a row. Earlier ones went on, and saved states of NaN.
"""

import re
from pathlib import Path

from socratic_distill.files.rows import lines_from_end, parse_row, step_of
from socratic_distill.run.layout import METRICS
from socratic_distill.service.numbers import is_finite

# What a step's weights follow from. A number of three digits in its exponent may be beyond 32 bits.
_FIGURE = re.compile(
    rb'"(?:teacher_kl|drift/mean|drift/max|service/loss[^"]*)":\s*(-?(?:NaN|Infinity)|-?\d+(?:\.\d+)?[eE]\+?\d\d+)'
)


def first_spoilt_step(directory: Path) -> int | None:
    """The first step whose row has NaN, an infinity or a number beyond 32 bits among its decisive figures.

    Args:
        directory: of a run; without a readable metrics.jsonl nothing is known of any step.

    Returns:
        The step; None if all rows are finite.
    """
    first = None
    try:
        for _, line in lines_from_end(directory / METRICS):
            if any(not is_finite(float(match[1])) for match in _FIGURE.finditer(line)):
                step = step_of(parse_row(line) or {})
                first = step if step is not None and (first is None or step < first) else first
    except OSError:
        return None
    return first
