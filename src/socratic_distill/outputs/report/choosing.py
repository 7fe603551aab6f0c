"""Which of a run's dialogues a page of limited size shows: spread over steps and outcomes, by a fixed draw. Pure."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

# Parts of a run from each of which dialogues are taken in turn.
_PARTS = 32


@dataclass(frozen=True, slots=True)
class Candidate:
    """A dialogue that may be shown.

    Attributes:
        offset: where its line begins in the file, bytes.
        size: length of the line, bytes.
        step: its batch.
        seed: id of its seed.
        number: its number among those on the seed.
        outcome: solved, told, and played to its end.
    """

    offset: int
    size: int
    step: int
    seed: str
    number: int
    outcome: tuple[bool, bool, bool]


def in_order(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """The candidates in the order in which they are taken while there is room.

    The run's steps make up to 32 equal parts; in each round every part gives one dialogue of each outcome it has, drawn
    by a hash. The parts take turns from the ends inwards, so that whatever is taken spreads over the run.
    """
    steps = sorted({candidate.step for candidate in candidates})
    parts = min(_PARTS, len(steps))
    part_of = {step: index * parts // len(steps) for index, step in enumerate(steps)}
    turn_of = {part: turn for turn, part in enumerate(_inwards(parts))}
    cells: dict[tuple[int, tuple[bool, bool, bool]], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        cells[turn_of[part_of[candidate.step]], candidate.outcome].append(candidate)
    for cell in cells.values():
        cell.sort(key=_draw)
    rounds = max(map(len, cells.values()), default=0)
    for rank in range(rounds):
        for key in sorted(cells):
            yield from cells[key][rank : rank + 1]


def same_seed(candidates: Sequence[Candidate]) -> list[tuple[Candidate, Candidate]]:
    """Of seeds that came at several steps, the first dialogue at the first step and at the last; widest apart first."""
    by_seed: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.outcome[2]:
            by_seed[candidate.seed].append(candidate)
    pairs = []
    for visits in by_seed.values():
        first = min(visits, key=lambda visit: (visit.step, visit.number))
        last = min(visits, key=lambda visit: (-visit.step, visit.number))
        if first.step < last.step:
            pairs.append((first, last))
    return sorted(pairs, key=lambda pair: (pair[0].step - pair[1].step, _draw(pair[0])))


def _inwards(parts: int) -> list[int]:
    """0 … parts - 1: both ends, then the middle of the widest gap, again and again."""
    order = sorted({0, parts - 1}) if parts else []
    while len(order) < parts:
        taken = sorted(order)
        low, high = max(pairwise(taken), key=lambda gap: (gap[1] - gap[0], -gap[0]))
        order.append((low + high) // 2)
    return order


def _draw(candidate: Candidate) -> bytes:
    name = f"{candidate.step}\0{candidate.seed}\0{candidate.number}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(name).digest()
