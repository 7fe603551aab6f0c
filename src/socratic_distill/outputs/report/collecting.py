"""The dialogues of a run, read in one pass and picked in another: the file may be larger than memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from socratic_distill.files.durable import open_regular
from socratic_distill.files.rows import Line, parse_row, step_of, whole
from socratic_distill.outputs.report.choosing import Candidate, in_order, same_seed
from socratic_distill.outputs.report.curves import StepSums
from socratic_distill.outputs.report.facts import Facts, facts_of
from socratic_distill.outputs.report.reading import Row, RunFiles, read_lines
from socratic_distill.outputs.report.talks import fitted, talk_of, talk_size

# Share of a run's room that goes to the same seeds before and after.
_PAIRS_SHARE = 0.4
# No dialogue takes more than this share of what there is for its kind.
_LARGEST_SHARE = 0.1
_MOST_PAIRS = 12
_MOST_MISSES = 20
_Placed = tuple[Row | None, int | None]
_NO_DIALOGUE = (KeyError, TypeError, ValueError, AttributeError, ArithmeticError)


@dataclass
class Played:
    """What the first pass finds.

    Attributes:
        sums: for the curves.
        candidates: every dialogue of the file.
    """

    sums: StepSums = field(default_factory=StepSums)
    candidates: list[Candidate] = field(default_factory=list)


@dataclass
class Shown:
    """The dialogues that the page shows of a run.

    Attributes:
        talks: as `talks.talk_of` gives them, in order of evaluation and step.
        pairs: ids (`i`) of dialogues on the same seed, before and after.
        pairs_of: how many such pairs there are.
        source: where the pairs are from: "evaluations", "training", or None where there are none.
        trained: how many dialogues of training are shown.
        size: bytes that the dialogues take.
    """

    talks: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    pairs_of: int = 0
    source: str | None = None
    trained: int = 0
    size: int = 0


def dialogues_of(run: RunFiles) -> Iterator[tuple[Line, Facts]]:
    """The dialogues of a run in the order of its file; other rows are left out and counted in the run's notes."""
    strange = 0
    for line in read_lines(run.dialogues, run.notes):
        try:
            facts = facts_of(line.row)
        except _NO_DIALOGUE:
            facts = None
        if facts is None or step_of(line.row) is None or whole(line.row.get("number")) is None:
            strange += 1
        else:
            yield line, facts
    if strange:
        run.notes.append(f"{strange} rows of {run.dialogues.name} are no dialogues and are left out.")


def read_dialogues(run: RunFiles) -> Played:
    """The first pass: sums for the curves, and where each dialogue stands."""
    played = Played()
    for line, facts in dialogues_of(run):
        step, seed = line.row["step"], str(line.row.get("seed"))
        if facts.played:
            played.sums.add(step, seed, facts)
        outcome = (facts.solved, facts.told, facts.played)
        played.candidates.append(Candidate(line.offset, line.size, step, seed, line.row["number"], outcome))
    return played


def choose(run: RunFiles, number: int, played: Played, room: int) -> Shown:
    """The second pass: the dialogues that fit.

    Args:
        run: whose.
        number: of the run in the page.
        played: what the first pass found.
        room: bytes that they may take.
    """
    shelf = _Shelf(number, room)
    _show_pairs(run, played, shelf, int(room * _PAIRS_SHARE))
    misses, most = 0, int(shelf.room * _LARGEST_SHARE)
    with DialogueLines(run) as lines:
        for candidate in in_order(played.candidates):
            if misses > _MOST_MISSES:
                break
            misses += shelf.put(lines.row(candidate), None, most) is None
    shelf.shown.talks.sort(key=lambda talk: [talk.get("b", -1), talk.get("s", -1), talk["d"], talk.get("n", -1)])
    shelf.shown.trained = sum("b" not in talk for talk in shelf.shown.talks)
    return shelf.shown


class _Shelf:
    """The dialogues chosen so far, each once, and the room that is left."""

    def __init__(self, run: int, room: int) -> None:
        self.run, self.room = run, room
        self.shown = Shown()
        self._placed: dict[tuple[Any, ...], str] = {}

    def put(self, row: Row | None, batch: int | None, most: int) -> str | None:
        """Puts a dialogue there, in about `most` bytes; gives its id, or None where there is no room."""
        if row is None:
            return None
        name = (batch, whole(row.get("step")), *_name(row))
        if name not in self._placed:
            try:
                talk = fitted(talk_of(row, facts_of(row), self.run, batch), most)
            except _NO_DIALOGUE:
                return None
            talk = {"i": f"{self.run}-{len(self._placed)}", **talk}
            size = talk_size(talk)
            if size > self.room:
                return None
            self.room -= size
            self.shown.size += size
            self.shown.talks.append(talk)
            self._placed[name] = talk["i"]
        return self._placed[name]


class DialogueLines:
    """Single lines of a run's dialogues; a context manager."""

    def __init__(self, run: RunFiles) -> None:
        """Names the file.

        Args:
            run: whose.
        """
        self._path = run.dialogues

    def __enter__(self) -> Self:
        """Opens the file, if there is one."""
        try:
            self._file = open_regular(self._path)
        except OSError:  # there is none, or it has gone since
            self._file = None
        return self

    def __exit__(self, *reason: object) -> None:
        """Closes it."""
        if self._file is not None:
            self._file.close()

    def row(self, candidate: Candidate) -> Row | None:
        """The row of a candidate; None where the file has changed since."""
        if self._file is None:
            return None
        self._file.seek(candidate.offset)
        row = parse_row(self._file.read(candidate.size))
        return (
            row
            if row is not None and (row.get("step"), row.get("number")) == (candidate.step, candidate.number)
            else None
        )


def _show_pairs(run: RunFiles, played: Played, shelf: _Shelf, room: int) -> None:
    """The same seeds in the first and the last evaluation; without evaluations, at a seed's first and last step."""
    rest = shelf.room - room
    largest = int(room * _LARGEST_SHARE)
    for evaluation in run.evaluations if len(run.evaluations) == 1 else ():
        for row in evaluation.dialogues():
            shelf.put(row, evaluation.batch, min(largest, max(shelf.room - rest, 0)))
    for before, after in _pairs(run, played, shelf.shown):
        most = max(shelf.room - rest, 0) // 2
        ids = [shelf.put(row, batch, min(most, largest)) for row, batch in (before, after)]
        if shelf.room <= rest:
            break
        if ids[0] is not None and ids[1] is not None:
            shelf.shown.pairs.append((ids[0], ids[1]))


def _pairs(run: RunFiles, played: Played, shown: Shown) -> Iterator[tuple[_Placed, _Placed]]:
    if len(run.evaluations) > 1:
        first, last = run.evaluations[0], run.evaluations[-1]
        after = {_name(row): row for row in last.dialogues()}
        before = [row for row in first.dialogues() if _name(row) in after]
        if before:
            shown.source, shown.pairs_of = "evaluations", len(before)
            for row in before:
                yield (row, first.batch), (after[_name(row)], last.batch)
            return
    pairs = same_seed(played.candidates)
    if pairs:
        shown.source, shown.pairs_of = "training", len(pairs)
    with DialogueLines(run) as lines:
        for earlier, later in pairs[:_MOST_PAIRS]:
            yield (lines.row(earlier), None), (lines.row(later), None)


def _name(row: Row) -> tuple[str, str]:
    return str(row.get("seed")), str(row.get("number"))
