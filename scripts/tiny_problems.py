"""Word problems in small whole numbers, and the mistakes that a student makes in them.

The key of a problem is (operation, numbers, things): a stable hash of the key, modulo 16, decides where the
problem may be used. Remainder 0 is held out (`heldout_seeds.jsonl`), 1 and 2 are kept for distillation
(`train_seeds.jsonl`), the others train the tiny model. So the model never saw a problem of either file,
though it saw the same sums about other things.

The answer appears neither in the question nor in the student's mistake.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Split = Literal["heldout", "distill", "pretrain"]
Operation = Literal["add", "subtract", "multiply", "add_subtract", "subtract_add"]

NAMES = ("Tom", "Mia", "Ben", "Lena", "Sam", "Anna", "Paul", "Emma", "Max", "Nora")
THINGS = (
    "apples", "books", "pens", "cards", "stones", "shells",
    "coins", "cookies", "balls", "stamps", "flowers", "buttons",
)  # fmt: skip
CONTAINERS = ("boxes", "bags", "baskets", "jars")
PROFILES = (
    "You are in sixth grade and like to understand things.",
    "You are in fourth grade and a little shy.",
    "You are in fifth grade and quick to guess.",
    "You like numbers but often read too fast.",
    "You give up easily and need some help.",
    "You are curious and talk a lot.",
)
DEFAULT_PROFILE = PROFILES[0]
LARGEST_NUMBER = 40

_OPERATIONS: tuple[Operation, ...] = ("add", "subtract", "multiply", "add_subtract", "subtract_add")
_GAINS = ("gets {} more", "finds {} more", "buys {} more", "wins {} more")
_LOSSES = ("loses {}", "gives {} away", "sells {}", "breaks {}")


@dataclass(frozen=True)
class Problem:
    """A word problem.

    Attributes:
        operation: what has to be done, in order.
        numbers: the numbers of the question, in order.
        name: who has the things.
        things: what is counted.
        container: what the things are in, for "multiply".
        events: what happens, one phrase for each number after the first; empty for "multiply".
        question: the whole text.
    """

    operation: Operation
    numbers: tuple[int, ...]
    name: str
    things: str
    container: str
    events: tuple[str, ...]
    question: str

    @property
    def answer(self) -> int:
        """The right answer."""
        return _values(self.signs, self.numbers)[-1]

    @property
    def signs(self) -> str:
        """One sign for each step."""
        return _SIGNS[self.operation]

    @property
    def steps(self) -> tuple[str, ...]:
        """The right steps, such as `("5 + 7 = 12", "12 - 3 = 9")`."""
        return _steps(self.signs, self.numbers)

    @property
    def facts(self) -> str:
        """What the question tells, in short."""
        if self.operation == "multiply":
            a, b = self.numbers
            return f"{self.name} has {a} {self.container} with {b} {self.things} in each"
        return f"{self.name} has {self.numbers[0]} {self.things} and " + " and ".join(self.events)

    @property
    def split(self) -> Split:
        """Where the problem may be used, by a stable hash of its key."""
        key = f"{self.operation}|{self.numbers}|{self.things}"
        remainder = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 16
        return "heldout" if remainder == 0 else "distill" if remainder in (1, 2) else "pretrain"


_SIGNS: dict[Operation, str] = {
    "add": "+",
    "subtract": "-",
    "multiply": "x",
    "add_subtract": "+-",
    "subtract_add": "-+",
}
ACTS = {"+": "add", "-": "subtract", "x": "multiply"}


@dataclass(frozen=True)
class Mistake:
    """What the student did wrong: the kind, the work that it shows, the wrong answer."""

    kind: Literal["operation", "slip", "step"]
    work: str
    wrong: int


def make_problem(rng: Random, split: Split) -> tuple[Problem, Mistake]:
    """Draws a problem of this split, and a mistake in it."""
    while True:
        operation = rng.choice(_OPERATIONS)
        problem = _story(rng, operation, _numbers(rng, operation))
        if min(_values(problem.signs, problem.numbers)) < 2 or problem.split != split:
            continue
        mistake = _mistake(rng, problem)
        shown = {int(word) for word in mistake.work.split() if word.isdigit()}
        if mistake.wrong >= 0 and problem.answer not in {*problem.numbers, *shown, mistake.wrong}:
            return problem, mistake


def seed_records(rng: Random, split: Split, count: int) -> Iterator[dict[str, str]]:
    """Draws the lines of a seed file: problems with different keys, some with their own profile."""
    seen: set[tuple[object, ...]] = set()
    while len(seen) < count:
        problem, mistake = make_problem(rng, split)
        key = (problem.operation, problem.numbers, problem.things)
        if key in seen:
            continue
        seen.add(key)
        record = {
            "id": f"tiny-{split}-{len(seen):03d}",
            "question": problem.question,
            "expected_answer": str(problem.answer),
            "initial_error": error_text(rng, problem, mistake),
        }
        if rng.random() < 0.25:
            record["student_profile"] = rng.choice(PROFILES)
        yield record


def error_text(rng: Random, problem: Problem, mistake: Mistake) -> str:
    """The mistake as the student's system prompt states it; it ends with the wrong number."""
    if rng.random() < 0.7:
        return f"{problem.facts}, so {mistake.work}. The answer is {mistake.wrong}."
    return f"{mistake.work}, so the answer is {mistake.wrong}."


def _values(signs: str, numbers: Sequence[int]) -> list[int]:
    value, values = numbers[0], []
    for sign, number in zip(signs, numbers[1:], strict=True):
        value = value + number if sign == "+" else value - number if sign == "-" else value * number
        values.append(value)
    return values


def _steps(signs: str, numbers: Sequence[int]) -> tuple[str, ...]:
    values = _values(signs, numbers)
    before = [numbers[0], *values]
    return tuple(
        f"{left} {sign} {number} = {value}"
        for left, sign, number, value in zip(before[:-1], signs, numbers[1:], values, strict=True)
    )


def _numbers(rng: Random, operation: Operation) -> tuple[int, ...]:
    if operation == "add":
        return rng.randint(2, 9), rng.randint(2, 9)
    if operation == "subtract":
        return rng.randint(5, 15), rng.randint(2, 9)
    if operation == "multiply":
        return rng.randint(2, 5), rng.randint(2, 5)
    return rng.randint(3, 9), rng.randint(2, 6), rng.randint(2, 6)


def _story(rng: Random, operation: Operation, numbers: tuple[int, ...]) -> Problem:
    name, things, container = rng.choice(NAMES), rng.choice(THINGS), rng.choice(CONTAINERS)
    events = ()
    goal = rng.choice(
        (
            f"How many {things} does {name} have now?",
            f"How many {things} does {name} have in the end?",
            f"How many {things} are there now?",
        )
    )
    if operation == "multiply":
        a, b = numbers
        told = rng.choice(
            (
                f"{name} has {a} {container} with {b} {things} in each.",
                f"{name} fills {a} {container} and puts {b} {things} in each.",
                f"There are {a} {container}. {name} puts {b} {things} in each of them.",
            )
        )
        goal = f"How many {things} does {name} have?" if rng.random() < 0.5 else f"How many {things} are there?"
    else:
        phrases = zip(_SIGNS[operation], numbers[1:], strict=True)
        events = tuple(rng.choice(_GAINS if sign == "+" else _LOSSES).format(n) for sign, n in phrases)
        happens = " and then ".join(events)
        told = rng.choice(
            (
                f"{name} has {numbers[0]} {things} and {happens}.",
                f"{name} has {numbers[0]} {things}. Then {name} {happens}.",
                f"At first {name} has {numbers[0]} {things}. Later {name} {happens}.",
            )
        )
    return Problem(operation, numbers, name, things, container, events, f"{told} {goal}")


def _mistake(rng: Random, problem: Problem) -> Mistake:
    """Draws a mistake: the wrong operation, a slip in the last step, or a forgotten step."""
    kinds = ("operation", "slip", "step") if len(problem.signs) > 1 else ("operation", "operation", "slip")
    kind = rng.choice(kinds)
    if kind == "step":
        return Mistake("step", problem.steps[0], _values(problem.signs, problem.numbers)[0])
    if kind == "operation":
        signs = problem.signs[:-1] + ("-" if problem.signs[-1] == "+" else "+")
        numbers = problem.numbers
        if signs == "-":
            numbers = (max(numbers), min(numbers))
        return Mistake("operation", " and ".join(_steps(signs, numbers)), _values(signs, numbers)[-1])
    wrong = problem.answer + rng.choice((-2, -1, 1, 2))
    last = problem.steps[-1].rpartition(" ")[0]
    return Mistake("slip", " and ".join((*problem.steps[:-1], f"{last} {wrong}")), wrong)
