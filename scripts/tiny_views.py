"""What each role sees of a dialogue, under the package's own prompt files."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from tiny_dialogues import Mode, Talk, make_talk, right_opening
from tiny_problems import DEFAULT_PROFILE, PROFILES, Mistake, Problem, error_text, make_problem

PROMPT_DIR = Path(__file__).resolve().parents[1] / "src" / "socratic_distill" / "dialogues" / "prompts"
PLAIN_ASK_SHARE = 0.2


@dataclass(frozen=True)
class Message:
    """One message of a view; `learned` marks the replies that the loss counts."""

    role: str
    text: str
    learned: bool = False


def prompt_text(name: str, facts: Mapping[str, str] | None = None) -> str:
    """A prompt file of the package, its fields filled with these facts."""
    text = _prompt_file(name)
    for field, value in (facts or {}).items():
        text = text.replace("{" + field + "}", value)
    return text


@cache
def _prompt_file(name: str) -> str:
    return (PROMPT_DIR / f"{name}.txt").read_text(encoding="utf-8").strip().replace("{subject}", "math")


def make_view(rng: Random) -> list[Message]:
    """Draws a problem, a dialogue on it, and one role's view of it."""
    problem, mistake = make_problem(rng, "pretrain")
    facts = {
        "question": problem.question,
        "expected_answer": str(problem.answer),
        "initial_error": error_text(rng, problem, mistake),
        "student_profile": DEFAULT_PROFILE if rng.random() < 0.6 else rng.choice(PROFILES),
    }
    chance = rng.random()
    if chance < 0.3:
        return _plain_view(rng, problem, mistake, facts)
    if chance < 0.62:
        return _teacher_view(rng, problem, mistake, facts)
    return _student_view(rng, problem, mistake, facts)


def _plain_view(rng: Random, problem: Problem, mistake: Mistake, facts: Mapping[str, str]) -> list[Message]:
    context: list[Mode] = ["ask"] * rng.choice((0, 0, 0, 0, 0, 1, 2, 3))
    talk = make_talk(rng, problem, mistake, PLAIN_ASK_SHARE, context, 2)
    return _talk_messages(prompt_text("tutor", facts), talk, "tutor")


def _teacher_view(rng: Random, problem: Problem, mistake: Mistake, facts: Mapping[str, str]) -> list[Message]:
    context: list[Mode] = ["tell"] * (rng.random() < 0.15)
    talk = make_talk(rng, problem, mistake, 1.0, context, 4)
    system = prompt_text("teacher", facts)
    if rng.random() < 0.06:
        system += "\n\n" + prompt_text("teacher_private", facts)
    return _talk_messages(system, talk, "tutor")


def _student_view(rng: Random, problem: Problem, mistake: Mistake, facts: Mapping[str, str]) -> list[Message]:
    talk = make_talk(rng, problem, mistake, 0.7, (), 4)
    if rng.random() < 0.85:
        return _talk_messages(prompt_text("student", facts), talk, "student")
    if rng.random() < 0.3:
        talk = Talk(right_opening(rng, problem), ())
    return _talk_messages(prompt_text("student_attempt", facts), talk, "student")


def _talk_messages(system: str, talk: Talk, viewer: str) -> list[Message]:
    """The view of "tutor" (the teacher's too) or "student"."""
    mine = viewer == "student"
    messages = [Message("system", system)]
    if mine:
        messages.append(Message("user", prompt_text("student_opening")))
    messages.append(Message("assistant" if mine else "user", talk.opening, learned=mine))
    for turn in talk.turns:
        messages.append(Message("user" if mine else "assistant", turn.tutor, not mine and turn.learned))
        messages.append(Message("assistant" if mine else "user", turn.student, mine and turn.learned))
    return messages if mine else messages[:-1]
