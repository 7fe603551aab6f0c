"""Draws seeds by how often the tutor's dialogues on them were solved. Pure.

PACED (2026, arXiv:2603.11178) and prime-rl train where the outcome is open: on seeds that are always or never solved a
tutor learns little. A seed's rate is that of its last visit. Seeds follow each other as without rates, epoch by epoch;
those outside the wished range are passed over, but for a share of them, so that a change is noticed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from socratic_distill.config.parts import SolvedRange
from socratic_distill.dialogues.batches import at_position
from socratic_distill.dialogues.dialogue import Dialogue
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.seed import Seed

SOLVED = "seeds/solved"
"""The key of metric rows that holds the solved and the counted dialogues of each seed."""


def solved_by_seed(dialogues: Iterable[Dialogue]) -> dict[str, list[int]]:
    """Solved dialogues and all that count, by seed id; failed ones and those whose answer is not known do not count."""
    counts: dict[str, list[int]] = {}
    for dialogue in dialogues:
        if dialogue.recording is None and dialogue.ending != "failed" and dialogue.seed.is_checkable:
            solved, count = counts.get(dialogue.seed.id, (0, 0))
            counts[dialogue.seed.id] = [solved + dialogue.solved, count + 1]
    return counts


class Pools:
    """The seeds of a run by their solved rates.

    Which seeds a batch has follows from the rates of the batches before, of those that have surely ended when it
    begins. So it does not depend on timing, and a resumed run draws the same from its rows.
    """

    def __init__(self, wished: SolvedRange, seeds: Sequence[Seed], seed: int, max_staleness: int) -> None:
        """Begins with no rates, before the first batch.

        Args:
            wished: the range of rates.
            seeds: those that the run trains on.
            seed: the run's random seed.
            max_staleness: that of the run; a batch begins when the batch this many steps and one before it has ended.
        """
        self._wished, self._seeds, self._seed, self._lag = wished, seeds, seed, max_staleness + 1
        self._rates: dict[str, float] = {}  # that the next draw goes by
        self._newest: dict[str, float] = {}
        self._noted: dict[int, dict[str, float]] = {}
        self._position = self._step = 0  # of the next draw
        self._drawn: dict[int, list[Seed]] = {}

    def read(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Takes the rates from a run's metric rows; rows without them are passed over."""
        for row in rows:
            step, counts = row.get("step"), row.get(SOLVED)
            if isinstance(step, int) and isinstance(counts, Mapping):
                self.note(step, counts)

    def note(self, step: int, counts: Mapping[str, Sequence[int]]) -> None:
        """Takes the rates of a batch that ended; counts are those of `solved_by_seed`."""
        self._noted[step] = {name: solved / count for name, (solved, count) in counts.items() if count}
        self._newest |= self._noted[step]

    def draw(self, step: int, count: Callable[[int], int]) -> list[Seed]:
        """The seeds of a batch.

        Args:
            step: the batch; all batches before it are drawn first.
            count: gives how many seeds a batch has.
        """
        while self._step <= step:
            self._rates |= self._noted.pop(self._step - self._lag, {})
            self._drawn[self._step] = [self._next() for _ in range(count(self._step))]
            self._step += 1
        return self._drawn.pop(step)

    def sizes(self) -> dict[str, int]:
        """How many seeds are not known yet, in the range, above it and below it, for metrics."""
        rates = [self._newest.get(seed.id) for seed in self._seeds]
        known = [rate for rate in rates if rate is not None]
        low, high = self._wished.low, self._wished.high
        return {
            "seeds/unknown": len(rates) - len(known),
            "seeds/in_range": sum(low <= rate <= high for rate in known),
            "seeds/easy": sum(rate > high for rate in known),
            "seeds/hard": sum(rate < low for rate in known),
        }

    def _next(self) -> Seed:
        """The next seed in the order of the epochs that may come; if none may, the next one."""
        first = self._position
        # Each seed is among any 2 n - 1 in a row of epochs of n.
        for position in range(first, first + 2 * len(self._seeds) - 1):
            epoch, seed = at_position(self._seeds, self._seed, position)
            if self._may_come(seed, epoch):
                self._position = position + 1
                return seed
        self._position = first + 1
        return at_position(self._seeds, self._seed, first)[1]

    def _may_come(self, seed: Seed, epoch: int) -> bool:
        rate = self._rates.get(seed.id)
        if rate is None or self._wished.low <= rate <= self._wished.high:
            return True
        return stable_seed("outside", self._seed, epoch, seed.id) < self._wished.others * 2**31
