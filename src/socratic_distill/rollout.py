"""Plays dialogues: a tutor and a student client in, dialogues out."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from socratic_distill.dialogue import (
    NOTHING_SENT,
    Dialogue,
    PromptUse,
    Role,
    Turn,
    student_view,
    teacher_view,
    tutor_view,
)
from socratic_distill.errors import InvalidAnswer, RolloutError, TrainingError
from socratic_distill.failures import describe, is_forgotten
from socratic_distill.numbers import UNUSABLE, explain_bad, first_bad
from socratic_distill.panel import Member, Panel, Wanted
from socratic_distill.prompts import Prompts
from socratic_distill.randomness import stable_seed
from socratic_distill.rendering import Renderer
from socratic_distill.seeds import Seed

if TYPE_CHECKING:
    import tinker

T = TypeVar("T")
# How a dialogue's error begins where the tutor was sampled from weights that are not finite.
_TUTOR_INVALID = "the log-probability of the tutor's token"


@dataclass(frozen=True)
class Speaker:
    """One side of the dialogue: a sampling client and how its model is talked to.

    Attributes:
        role: which side.
        client: a Tinker sampling client.
        renderer: messages to tokens for the client's model.
        max_tokens: longest turn, in tokens.
        temperature: sampling temperature.
        version: optimizer steps behind the client's weights; 0 for a frozen model.
        top: number of likeliest tokens asked for at each of a turn's places.
        told: is told what each request cost; None: nobody.
    """

    role: Role
    client: Any
    renderer: Renderer
    max_tokens: int
    temperature: float
    version: int = 0
    top: int = 0
    told: Callable[[PromptUse], None] | None = None

    async def speak(self, prompt: tuple[int, ...], seed: int, count: int = 1) -> list[Turn]:
        """Samples `count` turns on one prompt."""
        from tinker import ModelInput, SamplingParams

        params = SamplingParams(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=seed,
            stop=list(self.renderer.end_tokens),
        )
        now = asyncio.get_running_loop().time
        began = now()
        # A server that lacks the feature may refuse its very name.
        features = {"topk_sample_logprobs": self.top} if self.top else {}
        response = await self.client.sample(ModelInput.from_ints(list(prompt)), count, params, **features)
        sampled, span = sum(len(one.tokens) for one in response.sequences), (began, now())
        use = PromptUse(len(prompt), response.prompt_cache_hit_tokens, sampled)
        if self.told is not None:
            self.told(use)
        # The turns of one request share its prompt: the first one bears its cost.
        uses = [use, *[NOTHING_SENT] * (count - 1)]
        return [self._turn(prompt, one, use, span) for one, use in zip(response.sequences, uses, strict=True)]

    def _turn(
        self, prompt: tuple[int, ...], sequence: "tinker.SampledSequence", use: PromptUse, span: tuple[float, float]
    ) -> Turn:
        tokens, logprobs = tuple(sequence.tokens), sequence.logprobs
        if logprobs is None or len(logprobs) != len(tokens):
            found = "none" if logprobs is None else str(len(logprobs))
            raise RolloutError(f"the service sampled {len(tokens)} tokens with {found} log-probabilities")
        # Nothing is computed from the student's.
        if self.role == "tutor" and (bad := first_bad(np.asarray(logprobs, np.float64))) is not None:
            raise RolloutError(f"{_TUTOR_INVALID} {bad[0]} is {explain_bad(logprobs[bad[0]])}")
        likeliest = self._likeliest(sequence) if self.top else ()
        if sequence.stop_reason == "stop":
            own = self.renderer.own_length(tokens)
            tokens, logprobs, likeliest = tokens[:own], logprobs[:own], likeliest[:own]
        return Turn(
            role=self.role,
            text=self.renderer.visible_text(tokens),
            prompt=prompt,
            tokens=tokens,
            history=self.renderer.history(tokens),
            logprobs=tuple(logprobs),
            version=self.version,
            stop_reason=sequence.stop_reason,
            thought=self.renderer.thought(tokens),
            likeliest=likeliest,
            use=use,
            span=span,
        )

    def _likeliest(self, sequence: "tinker.SampledSequence") -> tuple[tuple[int, ...], ...]:
        rows = sequence.topk_logprobs
        if rows is None or len(rows) != len(sequence.tokens) or not all(rows):
            found = "none" if rows is None else str(len(rows))
            raise RolloutError(
                f"the service sampled {len(sequence.tokens)} tokens with {found} rows of likeliest tokens; the "
                "objective needs topk_sample_logprobs"
            )
        return tuple(tuple(token for token, _ in row) for row in rows if row)


@dataclass(frozen=True)
class Cast:
    """Everyone in a dialogue, and the rules that it is played by.

    Attributes:
        tutor: the tutor's side.
        student: the student's side.
        panel: the teachers, whose contexts must hold the dialogue too.
        prompts: the system prompts.
        profile: the student's profile for seeds without one.
        max_turns: most tutor turns in a dialogue of a batch, by its number.
        max_context: longest context, in tokens; None where no model's context is known.
        seed: the run's seed.
        of_played: what the objective wants to know of the tokens of a dialogue that was played.
        of_recorded: the same of a recorded one.
        tutor_as: name of the teacher whose prompt the tutor speaks under, to be measured; None: the tutor's own.
    """

    tutor: Speaker
    student: Speaker
    panel: Panel
    prompts: Prompts
    profile: str
    max_turns: Callable[[int], int]
    max_context: int | None
    seed: int
    of_played: Wanted
    of_recorded: Wanted
    tutor_as: str | None = None

    def wanted(self, dialogue: Dialogue) -> Wanted:
        """What the objective wants to know of a dialogue's tokens."""
        return self.of_played if dialogue.recording is None else self.of_recorded

    def tutor_prompt(self, dialogue: Dialogue) -> tuple[int, ...]:
        """The tutor's context for its next turn, `[P]`."""
        if self.tutor_as is not None:
            return self.tutor.renderer.prompt(teacher_view(dialogue, self.prompts, self.profile, self.tutor_as))
        return self.tutor.renderer.prompt(tutor_view(dialogue, self.prompts))

    def teacher_prompt(self, dialogue: Dialogue, teacher: Member) -> tuple[int, ...]:
        """A teacher's context for the tutor's next turn, `[P]`."""
        return teacher.renderer.prompt(teacher_view(dialogue, self.prompts, self.profile, teacher.name))

    def longest_teacher_prompt(self, dialogue: Dialogue) -> int:
        """Tokens of the longest context that a teacher of the seed reads the tutor's next turn in; 0 if none does."""
        if not self.wanted(dialogue).teacher:
            return 0
        return max(len(self.teacher_prompt(dialogue, one)) for one in self.panel.of(dialogue.seed))

    def student_prompt(self, dialogue: Dialogue) -> tuple[int, ...]:
        """The student's context for its next turn, `[P]`."""
        return self.student.renderer.prompt(student_view(dialogue, self.prompts, self.profile))

    def has_room(self, longest_prompt: int, reply: int) -> bool:
        """Whether a prompt and a reply of these lengths, in tokens, fit the smallest context."""
        return self.max_context is None or longest_prompt + reply <= self.max_context


async def play_batch(seeds: Sequence[Seed], step: int, group_size: int, cast: Cast, concurrency: int) -> list[Dialogue]:
    """Plays `group_size` dialogues on each seed, at most `concurrency` at once.

    A dialogue that fails is returned with its error; it never takes others down.

    Returns:
        Dialogues in order of seed, then number.
    """
    places = asyncio.Semaphore(concurrency)

    async def play(dialogue: Dialogue) -> Dialogue:
        async with places:
            return await answer_or_fail(await play_tutor(dialogue, lambda: cast), cast)

    async def play_group(group: list[Dialogue]) -> list[Dialogue]:
        async with places:
            opened = await open_group(group, cast)
        return await gather_all(map(play, opened))

    played = await gather_all(map(play_group, make_groups(seeds, step, group_size)))
    return [dialogue for group in played for dialogue in group]


def make_groups(seeds: Sequence[Seed], step: int, group_size: int) -> list[list[Dialogue]]:
    """A batch's dialogues before their first turn, a group for each seed."""
    seen: Counter[str] = Counter()
    groups = []
    for seed in seeds:
        # A seed that comes twice in a batch, at the seam of two epochs, gets dialogues of its own.
        first = seen[seed.id] * group_size
        seen[seed.id] += 1
        groups.append([Dialogue(seed, step, first + i) for i in range(group_size)])
    return groups


async def open_group(group: list[Dialogue], cast: Cast) -> list[Dialogue]:
    """Samples the group's openings in one request, since they share a prompt. It needs no tutor."""
    head = group[0]
    try:
        prompt = cast.student_prompt(head)
        if not cast.has_room(len(prompt), cast.student.max_tokens):
            return [dialogue.end("context") for dialogue in group]
        seed = stable_seed(cast.seed, head.step, head.seed.id, head.number, "opening")
        turns = await cast.student.speak(prompt, seed, count=len(group))
    except TrainingError:  # not this dialogue alone is lost
        raise
    except Exception as error:
        return [dialogue.end("failed", error=describe(error)) for dialogue in group]
    return [dialogue.add(turn, cast.max_turns(head.step)) for dialogue, turn in zip(group, turns, strict=True)]


async def play_tutor(dialogue: Dialogue, cast: Callable[[], Cast]) -> Dialogue:
    """Plays on until the dialogue ends or the tutor has had its last turn.

    Args:
        dialogue: with its opening, or ended.
        cast: who plays the next turn.
    """
    try:
        while dialogue.ending is None and not is_last_answer(dialogue, cast()):
            dialogue = await _take_turn(dialogue, cast())
    except TrainingError:  # not this dialogue alone is lost
        raise
    except Exception as error:
        return dialogue.end("failed", error=describe(error))
    return dialogue


def is_last_answer(dialogue: Dialogue, cast: Cast) -> bool:
    """Whether nothing is left but the student's answer to the tutor's last turn."""
    return dialogue.speaker == "student" and len(dialogue.tutor_turns) >= cast.max_turns(dialogue.step)


async def answer_last(dialogue: Dialogue, cast: Cast) -> Dialogue:
    """The student's answer to the tutor's last turn. The tutor's part stands, whatever becomes of the answer."""
    if dialogue.ending is not None:
        return dialogue
    try:
        return await _take_turn(dialogue, cast)
    except TrainingError:  # not this dialogue alone is lost
        raise
    except Exception as error:
        return dialogue.end("unanswered", error=f"the student's last answer failed: {describe(error)}")


async def answer_or_fail(dialogue: Dialogue, cast: Cast) -> Dialogue:
    """As `answer_last`, for dialogues that are judged by how they end: without the last answer they have failed."""
    answered = await answer_last(dialogue, cast)
    return answered.end("failed", error=answered.error) if answered.ending == "unanswered" else answered


async def _take_turn(dialogue: Dialogue, cast: Cast) -> Dialogue:
    """One more turn, or the end where no context has room for it."""
    if dialogue.speaker == "tutor":
        speaker, prompt = cast.tutor, cast.tutor_prompt(dialogue)
        longest = max(len(prompt), cast.longest_teacher_prompt(dialogue))
    else:
        speaker, prompt = cast.student, cast.student_prompt(dialogue)
        longest = len(prompt)
    if not cast.has_room(longest, speaker.max_tokens):
        return dialogue.end("context")
    seed = stable_seed(cast.seed, dialogue.step, dialogue.seed.id, dialogue.number, len(dialogue.turns))
    (turn,) = await speaker.speak(prompt, seed)
    return dialogue.add(turn, cast.max_turns(dialogue.step))


def check_failures(dialogues: Sequence[Dialogue], max_failed_fraction: float) -> None:
    """Stops the run where too many dialogues of a batch failed, or lack the student's last answer.

    Raises:
        RolloutError: more than `max_failed_fraction` of them did.
        InvalidAnswer: they did, and everything that the tutor said has invalid log-probabilities.
        TrainingError: they did since the service lost the tutor's weights; reopening its clients mends that.
    """
    errors = [dialogue.error or "" for dialogue in dialogues if dialogue.ending in ("failed", "unanswered")]
    if len(errors) > max_failed_fraction * len(dialogues):
        forgotten = [error for error in errors if is_forgotten(error)]
        if forgotten:
            raise TrainingError(
                f"the service lost weights of the tutor, as a server does that is started again: {forgotten[0]}. Start "
                "the same script again to go on"
            )
        if all(_TUTOR_INVALID in error and UNUSABLE in error for error in errors) and len(errors) == len(dialogues):
            raise InvalidAnswer(
                f"all {len(errors)} dialogues failed; the first error: {errors[0]}. The tutor's weights may be "
                "damaged, so no state of them is saved. Start the same script again to resume from the last recorded "
                "state"
            )
        raise RolloutError(
            f"{len(errors)} of {len(dialogues)} dialogues failed, more than max_failed_fraction="
            f"{max_failed_fraction} allows; the first error: {errors[0]}. Mend the "
            "cause and start the same script again"
        )


async def gather_all(parts: Iterable[Awaitable[T]]) -> list[T]:
    """`asyncio.gather` that leaves nothing running behind when one part fails or all are cancelled."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
