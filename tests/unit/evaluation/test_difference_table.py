"""How two tutors differ, as rows and as a table."""

import io

from rich.console import Console

from socratic_distill.evaluation.paired import Difference
from socratic_distill.evaluation.table import difference_rows, difference_table

CLEAR = Difference(-0.25, -0.4, -0.1, 40, won=24, lost=4, needed=31)
ROUGH = Difference(0.5, -1.5, 2.5, 9, won=3, lost=2, needed=1250)
FOUND = {"repetition": CLEAR, "leaks": CLEAR, "turns_to_solve": ROUGH, "asks": Difference(None, None, None, 0)}


def text(**options):
    console = Console(file=io.StringIO(), width=200)
    console.print(difference_table(FOUND, **options))
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_row_has_difference_share_of_seeds_won_and_seeds_needed():
    assert difference_rows(FOUND) == [
        ["leaks ↓", "-25% [-40%, -10%]", "75%", "40", "31"],
        ["turns_to_solve ↓", "+0.500 [-1.500, +2.500] rough", "56%", "9", "1,250"],
    ]


def test_all_measures_are_shown_if_asked_for():
    assert [row[0] for row in difference_rows(FOUND, every=True)] == ["leaks ↓", "turns_to_solve ↓", "repetition ↓"]


def test_table_says_that_an_interval_on_few_seeds_is_rough():
    assert "Rough: an interval over fewer than 20 seeds" in text()
    console = Console(file=io.StringIO(), width=200)
    console.print(difference_table({"leaks": CLEAR}))
    assert "ough" not in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
