"""Dialogues between a student and a tutor who asks or tells, from one random generator.

The answer of a problem appears in no guiding question: a tutor's reply that holds the number tells it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from tiny_problems import ACTS, Mistake, Problem

Mode = Literal["ask", "tell"]

_SOLVE_CHANCE = (0.35, 0.5, 0.65, 0.75)  # of the student, after its first, second, … guiding question


@dataclass(frozen=True)
class TutorTurn:
    """What the tutor says and the student's answer to it; `learned` is False where it is only context."""

    mode: Mode
    tutor: str
    student: str
    learned: bool


@dataclass(frozen=True)
class Talk:
    """A dialogue: the student's opening, then turns of tutor and student."""

    opening: str
    turns: tuple[TutorTurn, ...]


@dataclass(frozen=True)
class _Question:
    """A guiding question and what a student who is not there yet says to it."""

    kind: str
    text: str
    replies: tuple[str, ...]


def make_talk(
    rng: Random, problem: Problem, mistake: Mistake, ask_share: float, context: Sequence[Mode], max_turns: int
) -> Talk:
    """Plays a dialogue that begins with a mistake.

    Args:
        rng: source of every choice.
        problem: what it is about.
        mistake: what the student believes at first.
        ask_share: chance that a tutor turn asks instead of telling.
        context: modes of the first turns, which are not learned from and lead to no solution.
        max_turns: most tutor turns after those.
    """
    turns: list[TutorTurn] = []
    asked: set[str] = set()
    feedback = ""
    for number in range(len(context) + max_turns):
        learned = number >= len(context)
        mode: Mode = context[number] if not learned else "ask" if rng.random() < ask_share else "tell"
        if mode == "tell":
            tutor = _tell(rng, problem)
            solved = learned and rng.random() < 0.95
            student = _repeat(rng, problem) if solved else _stubborn(rng, mistake)
            feedback = ""
        else:
            question = _guide(rng, problem, mistake, asked)
            asked.add(question.kind)
            tutor = _with_opener(rng, question.text, feedback)
            chance = _SOLVE_CHANCE[min(number, 3)] if question.kind != "compute" else 0.75
            solved = learned and rng.random() < chance
            student, feedback = _answer(rng, problem, mistake, question, solved)
        turns.append(TutorTurn(mode, tutor, student, learned))
        if solved:
            break
    return Talk(_opening(rng, mistake), tuple(turns))


def _opening(rng: Random, mistake: Mistake) -> str:
    """The student's first words: its work and its wrong answer."""
    work, wrong = mistake.work, mistake.wrong
    return rng.choice(
        (
            f"I did {work}. The answer is {wrong}.",
            f"I got {wrong}, because {work}.",
            f"I think {work}, so the answer is {wrong}.",
            f"First I read the problem. Then I did {work}. So it is {wrong}.",
            f"The answer is {wrong}. I did {work}.",
        )
    )


def right_opening(rng: Random, problem: Problem) -> str:
    """The first words of a student who made no mistake."""
    work = " and ".join(problem.steps)
    return rng.choice(
        (
            f"I did {work}. The answer is {problem.answer}.",
            f"I think {work}, so the answer is {problem.answer}.",
        )
    )


def _tell(rng: Random, problem: Problem) -> str:
    work, answer = " and ".join(problem.steps), problem.answer
    act = " and then ".join(ACTS[sign] for sign in problem.signs)
    return rng.choice(
        (
            f"No, {work}. The answer is {answer}.",
            f"Not quite. {work}, so the answer is {answer}.",
            f"You need to {act}: {work}. The answer is {answer}.",
            f"{problem.facts}, so {work}. The answer is {answer}.",
            f"Good try, but {work}. So there are {answer} {problem.things}.",
            f"Look again: {work}. So {problem.name} has {answer} {problem.things}.",
        )
    )


def _guide(rng: Random, problem: Problem, mistake: Mistake, asked: set[str]) -> _Question:
    """Draws a guiding question, of a kind that was not asked yet where one is left."""
    questions = [*_questions_on_problem(rng, problem), *_questions_on_mistake(rng, problem, mistake)]
    fresh = [question for question in questions if question.kind not in asked]
    return rng.choice(fresh or questions)


def _questions_on_problem(rng: Random, problem: Problem) -> Iterator[_Question]:
    name, things, numbers = problem.name, problem.things, problem.numbers
    yield _Question(
        "goal",
        rng.choice(("What does the problem ask?", "What do we want to know?")),
        (f"It asks how many {things} {name} has.", f"We want to know how many {things} there are."),
    )
    first = problem.steps[0].partition(" = ")[0]
    yield _Question(
        "compute",
        rng.choice((f"What is {first}?", f"Can you work out {first}?")),
        (f"{problem.steps[0]}.",) if len(problem.steps) > 1 else ("I do not know.",),
    )
    if problem.operation == "multiply":
        yield from _questions_on_containers(rng, problem)
        return
    yield _Question(
        "start",
        rng.choice((f"How many {things} does {name} have at first?", f"How many {things} are there at first?")),
        (f"{name} has {numbers[0]} {things}.", f"There are {numbers[0]} at first."),
    )
    place = rng.randrange(len(problem.events))
    event, sign, number = problem.events[place], problem.signs[place], numbers[place + 1]
    more = "more" if sign == "+" else "fewer"
    yield _Question(
        "event",
        rng.choice(
            (
                f"What happens to the {things} when {name} {event}?",
                f"Are there more or fewer {things} when {name} {event}?",
            )
        ),
        (f"There are {more} {things} then.", f"{name} has {more} {things} then."),
    )
    act = ACTS[sign]
    yield _Question(
        "act",
        rng.choice((f"Should you add or subtract {number}?", f"Do you add {number} or subtract it?")),
        (f"I should {act} {number}.", f"I {act} {number}."),
    )


def _questions_on_containers(rng: Random, problem: Problem) -> Iterator[_Question]:
    name, things, container = problem.name, problem.things, problem.container
    a, b = problem.numbers
    yield _Question(
        "start",
        rng.choice((f"How many {container} does {name} have?", f"How many {container} are there?")),
        (f"{name} has {a} {container}.", f"There are {a} {container}."),
    )
    yield _Question(
        "event",
        rng.choice((f"How many {things} are in each of the {container}?", f"What is in each of the {container}?")),
        (f"There are {b} {things} in each.", f"{b} {things}."),
    )
    yield _Question(
        "act",
        rng.choice(("Should you add or multiply?", f"Do you add {b} or multiply by it?")),
        ("I should multiply.", "I multiply."),
    )


def _questions_on_mistake(rng: Random, problem: Problem, mistake: Mistake) -> Iterator[_Question]:
    if mistake.kind == "operation":
        wrong_act = "subtract" if problem.signs[-1] == "+" else "add"
        text = rng.choice((f"Why did you {wrong_act}?", f"Why do you think that you should {wrong_act}?"))
        yield _Question("why", text, ("I read it too fast.", "I am not sure."))
    elif mistake.kind == "step":
        text = rng.choice(("Did you use all the numbers?", "What happens after that?"))
        yield _Question("why", text, (f"I forgot that {problem.name} {problem.events[-1]}.",))
    else:
        last = problem.steps[-1].partition(" = ")[0]
        text = rng.choice((f"Can you check {last} again?", f"How did you work out {last}?"))
        yield _Question("why", text, ("I counted.", "I counted too fast."))


def _with_opener(rng: Random, question: str, feedback: str) -> str:
    chance = rng.random()
    if chance < 0.3:
        return f"{feedback or 'Not quite.'} {question}"
    if chance < 0.45:
        return f"{'Good.' if feedback else 'Good try.'} {question}"
    return question


def _answer(rng: Random, problem: Problem, mistake: Mistake, question: _Question, solved: bool) -> tuple[str, str]:
    """The student's answer to a guiding question, and the feedback that it deserves."""
    reply = rng.choice(question.replies)
    if not solved:
        return (reply, "Right.") if rng.random() < 0.8 else (_stubborn(rng, mistake), "")
    work, answer = " and ".join(problem.steps), problem.answer
    if question.kind != "compute" and rng.random() < 0.4:
        return f"{reply} So {work}. The answer is {answer}.", ""
    return rng.choice(
        (
            f"Oh, I see. {work}. The answer is {answer}.",
            f"Oh, {work}, so it is {answer}.",
            f"Wait, {work}. So the answer is {answer}.",
        )
    ), ""


def _stubborn(rng: Random, mistake: Mistake) -> str:
    return rng.choice((f"I still think it is {mistake.wrong}.", "I do not understand.", f"But {mistake.work}."))


def _repeat(rng: Random, problem: Problem) -> str:
    return rng.choice(
        (
            f"Oh, so the answer is {problem.answer}.",
            f"I see, it is {problem.answer}.",
            f"Thank you. The answer is {problem.answer}.",
            f"OK, {problem.steps[-1]}.",
        )
    )
