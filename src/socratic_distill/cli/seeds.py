"""`seeds`: shows what a run would read of a seeds file, and every problem in it."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from socratic_distill.cli.options import add_options
from socratic_distill.cli.printing import help_of, table_console
from socratic_distill.errors import ConfigError, SeedError, UntrustedConfig
from socratic_distill.text import shortened, show, shown

if TYPE_CHECKING:
    from rich.table import Table

    from socratic_distill.cli.options import Commands
    from socratic_distill.config.parts import SeedsFile
    from socratic_distill.dialogues.seed import Seed
    from socratic_distill.dialogues.seeds import Scanned

# The values of `SeedFormat` and `AnswerKind`: importing these would slow down every start of the command line.
FORMATS = (
    "own", "mathdial", "mathtutorbench", "bridge", "comta", "mmlu-pro", "arc", "svamp", "asdiv", "math-500", "math",
    "gsm8k",
)  # fmt: skip
KINDS = ("number", "expression", "choice", "text", "judged", "function", "none")
_SHOWN_ROWS, _SHOWN_PROBLEMS = 5, 10


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "seeds",
        **help_of(
            "show what a run would read of a seeds file: number, format, kinds of answer, first rows, problems",
            "seeds problems.jsonl",
            "seeds problems.csv --columns question=problem expected_answer=solution",
            "seeds hub:openai/gsm8k:main@train --limit 100",
            "seeds quiz.parquet --map my_module:to_seed --allow-code",
        ),
    )
    parser.add_argument(
        "file",
        type=os.path.expanduser,
        metavar="FILE",
        help="a file, a directory that datasets saved, or 'hub:NAME' of a data set",
    )
    parser.add_argument("--format", choices=FORMATS, help="format of its rows; left out, recognised by their keys")
    parser.add_argument(
        "--columns",
        nargs="+",
        action="extend",
        metavar="OURS=THEIRS",
        help="its column for each of our keys, such as question=problem",
    )
    parser.add_argument("--map", metavar="MODULE:NAME", help="function that makes a row of our own format of each row")
    parser.add_argument("--answer-kind", choices=KINDS, help="kind of the answers that state none")
    parser.add_argument("--split", metavar="NAME", help="split of a data set or a directory")
    parser.add_argument("--limit", type=int, metavar="N", help="number of seeds taken from its top")
    add_options(parser, "code")
    parser.set_defaults(command=run)


@dataclass
class _Summary:
    """What was read of a file.

    Attributes:
        count: number of seeds.
        title: their format; "" if none was recognised.
        kinds: number of seeds by kind of answer.
        first: the first seeds.
        problems: the first place and the number of rows of each problem; at most the first ten problems.
        bad: number of rows with problems.
    """

    count: int = 0
    title: str = ""
    kinds: Counter[str] = field(default_factory=Counter)
    first: "list[Seed]" = field(default_factory=list)
    problems: dict[str, tuple[str, int]] = field(default_factory=dict)
    bad: int = 0

    def add(self, row: "Scanned") -> None:
        """Counts a row."""
        from socratic_distill.dialogues.seed import Seed

        self.title = row.title or self.title
        if not isinstance(row.seed, Seed):
            self.add_problem(str(row.seed), f"{row.place}: ")
            return
        self.count += 1
        self.kinds[row.seed.answer_kind] += 1
        if len(self.first) < _SHOWN_ROWS:
            self.first.append(row.seed)

    def add_problem(self, problem: str, where: str = "") -> None:
        """Counts a problem.

        Args:
            problem: what is wrong.
            where: file and line; "" if the problem names them itself.
        """
        self.bad += 1
        if problem in self.problems or len(self.problems) < _SHOWN_PROBLEMS:
            first, count = self.problems.get(problem, (where, 0))
            self.problems[problem] = first, count + 1

    def lines(self) -> Iterator[str]:
        """The problems, one a line."""
        for problem, (where, count) in self.problems.items():
            more = f" (and {count - 1:,} more rows)" if count > 1 else ""
            yield shown(f"{where}{problem}{more}", one_line=True)


def run(parsed: argparse.Namespace) -> int:
    """Reads the file to its end, and prints a summary; 1 if a run would refuse it."""
    from socratic_distill.dialogues.seeds import scan

    summary = _Summary()
    try:
        for row in scan([_seeds_file(parsed)]):
            summary.add(row)
    except SeedError as error:  # the file cannot be read further
        summary.add_problem(str(error))
    console = table_console()
    form = f", format {summary.title}" if summary.title else ""
    console.print(f"{parsed.file}: {summary.count:,} seeds{form}")
    if summary.count:
        console.print("answers: " + ", ".join(f"{number:,} {kind}" for kind, number in summary.kinds.most_common()))
        console.print(_table(summary.first))
    if summary.bad:
        show(f"{summary.bad:,} row{'s' if summary.bad > 1 else ''} cannot be used:")
        for line in summary.lines():
            show(f"  {line}")
    return 1 if summary.bad else 0


def _seeds_file(parsed: argparse.Namespace) -> "SeedsFile":
    """The file with its options.

    Raises:
        ConfigError: an option has an invalid value.
        UntrustedConfig: --map is given without --allow-code.
    """
    from socratic_distill.config.parts import SeedsFile

    if parsed.map is not None:
        if not parsed.allow_code:
            raise UntrustedConfig(f"--map {parsed.map!r} runs code of that module. If you trust it, give --allow-code")
        sys.path.insert(0, os.getcwd())  # as `python -m` does
    return SeedsFile(
        path=parsed.file,
        limit=parsed.limit,
        format=parsed.format,
        columns=dict(_columns(parsed.columns or [])),  # pyright: ignore[reportArgumentType]
        map=parsed.map,
        answer_kind=parsed.answer_kind,
        split=parsed.split,
    )


def _columns(given: list[str]) -> Iterator[tuple[str, str]]:
    for text in given:
        ours, equals, theirs = text.partition("=")
        if not equals or not ours or not theirs:
            raise ConfigError(f"--columns {text!r} is no OURS=THEIRS; expected one such as question=problem")
        yield ours, theirs


def _table(seeds: "list[Seed]") -> "Table":
    from rich.table import Table

    table = Table("id", "kind", "answer", "question", "mistake", header_style="none")
    for seed in seeds:
        cells = (seed.id, seed.answer_kind, seed.expected_answer, seed.question, seed.initial_error or "")
        table.add_row(*map(_one_line, cells))
    return table


def _one_line(text: str) -> str:
    return shortened(" ".join(text.split()))
