"""What `local.py` has both contenders do: prompts of the packaged seeds, and what the student goes on to say."""

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from socratic_distill import Seed, load_seeds

NEW_TOKENS = 40
LEARNING_RATE = 1e-4
RANK = 32
# The packaged prompt of the tutor, in brief.
_SYSTEM = "You are a math tutor. Help the student with this problem.\n\nProblem: {}"
# Stands for the tutor's earlier replies where a contender cannot be given its own: 40 tokens of SmolLM2's.
_REPLY = (
    "What does each of the numbers in this problem stand for? Try to say in your own words what happens first, and "
    "then look again at which operation fits to that step before you go on to calculate."
)


@dataclass(frozen=True)
class Job:
    """Some optimizer steps.

    Attributes:
        model: directory of a transformers model.
        steps: of each, the dialogues' openings: what the problem is, and what the student says first.
        group: dialogues of one opening.
        turns: of the tutor in a dialogue.
        lines: what the student answers, dialogue by dialogue and turn by turn, in every step.
    """

    model: str
    steps: list[list[tuple[str, str]]]
    group: int
    turns: int
    lines: list[list[str]]

    def save(self, path: Path) -> None:
        """For another process."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: str) -> "Job":
        """What another process saved."""
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))

    @property
    def tokens(self) -> int:
        """Tokens that a step samples."""
        return len(self.steps[0]) * self.group * self.turns * NEW_TOKENS


def make_job(model: str, steps: int, openings: int, group: int, turns: int) -> Job:
    """Dialogues on the packaged problems, with other numbers in every step: none is met twice."""
    seeds = load_seeds()
    assert openings * 2 <= len(seeds)

    def opening(seed: Seed, step: int) -> tuple[str, str]:
        question, mistake = (
            re.sub(r"\d+", lambda found: str(int(found[0]) + step), text)
            for text in (seed.question, seed.initial_error or "")
        )
        return _SYSTEM.format(question), mistake

    others = [seed.initial_error or "" for seed in seeds[openings:]]
    lines = [[others[(i + 7 * turn) % len(others)] for turn in range(turns - 1)] for i in range(openings * group)]
    all_steps = [[opening(seed, step) for seed in seeds[:openings]] for step in range(steps)]
    return Job(model, all_steps, group, turns, lines)


def save_for_peer(job: Job, path: Path, settings: dict[str, Any]) -> None:
    """The same for TRL, which has one turn: every turn of the dialogues is a prompt of its own."""
    steps = [_prompts(job, step) for step in range(len(job.steps))]
    facts = {"model": job.model, "prompts": steps, "new_tokens": NEW_TOKENS, "rank": RANK, "rate": LEARNING_RATE}
    path.write_text(json.dumps(facts | settings), encoding="utf-8")


def _prompts(job: Job, step: int) -> list[list[dict[str, str]]]:
    prompts = []
    for dialogue, lines in enumerate(job.lines):
        system, first = job.steps[step][dialogue // job.group]
        messages = [{"role": "system", "content": system}, {"role": "user", "content": first}]
        prompts.append(list(messages))
        for line in lines:
            messages += [{"role": "assistant", "content": _REPLY}, {"role": "user", "content": line}]
            prompts.append(list(messages))
    return prompts
