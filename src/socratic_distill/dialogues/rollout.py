"""Plays dialogues: a tutor and a student client in, dialogues out."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from socratic_distill.dialogues.cast import _TUTOR_INVALID, Cast
from socratic_distill.dialogues.dialogue import Dialogue, Turn
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.recordings import RecordedTurn, Recording
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.errors import InvalidAnswer, RolloutError, TrainingError
from socratic_distill.service.failures import describe, is_forgotten
from socratic_distill.service.numbers import UNUSABLE
from socratic_distill.service.waiting import gather_all


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


def replay_or_fail(recording: Recording, step: int, cast: Cast) -> Dialogue:
    """The same as `replay`; where that fails, so does the dialogue."""
    try:
        return replay(recording, step, cast)
    except Exception as error:
        return Dialogue(recording.seed, step, number=0, recording=recording.id).end("failed", error=describe(error))


def replay(recording: Recording, step: int, cast: Cast) -> Dialogue:
    """A recording as a dialogue of batch `step`.

    A tutor turn of a run keeps the tokens and log-probabilities that it was sampled with. A text becomes tokens here,
    once, with the end-of-turn token behind it, and has no log-probabilities; an end mark that was recorded with it is
    left out. What no context holds is left out.
    """
    dialogue = Dialogue(recording.seed, step, number=0, recording=recording.id)
    for recorded in recording.turns:
        if recording.kind != "run":  # whose texts are what was heard, and have tokens
            recorded = replace(recorded, text=cast.tutor.renderer.without_end_mark(recorded.text))
        turn = _student_turn(recorded)
        if recorded.role == "tutor":
            turn = _tutor_turn(recorded, cast.tutor_prompt(dialogue), cast.tutor.renderer)
            longest = max(len(turn.prompt), cast.longest_teacher_prompt(dialogue))
            if not cast.has_room(longest, len(turn.tokens)):
                return dialogue.end("context")
        dialogue = dialogue.with_turn(turn)
    return dialogue.end("recorded")


def _student_turn(recorded: RecordedTurn) -> Turn:
    return Turn("student", recorded.text, (), (), (), (), version=0, stop_reason="stop")


def _tutor_turn(recorded: RecordedTurn, prompt: tuple[int, ...], renderer: Renderer) -> Turn:
    tokens = recorded.tokens or renderer.written_reply(recorded.text)
    return Turn(
        role="tutor",
        text=recorded.text,
        prompt=prompt,
        tokens=tuple(tokens),
        history=renderer.history(tokens),
        logprobs=tuple(recorded.logprobs or ()),
        version=recorded.version or 0,
        stop_reason=recorded.stop_reason or "stop",
        thought=renderer.thought(tokens),
    )
