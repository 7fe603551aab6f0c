"""Plays dialogues between a tutor client and a student client, and replays recorded ones."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.dialogue import RECORDED, Dialogue, Turn
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.recordings import RecordedTurn, Recording
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.dialogues.speaker import TUTOR_INVALID
from socratic_distill.errors import InvalidAnswer, RolloutError, TrainingError
from socratic_distill.service.failures import describe, is_forgotten
from socratic_distill.service.numbers import UNUSABLE
from socratic_distill.service.waiting import gather_all


async def play_batch(
    seeds: Sequence[Seed],
    step: int,
    group_size: int,
    cast: Cast,
    concurrency: int,
    on_played: Callable[[], None] | None = None,
) -> list[Dialogue]:
    """Plays `group_size` dialogues on each seed, at most `concurrency` at once.

    A dialogue that fails is returned with its error; the others go on.

    Args:
        seeds: the seeds.
        step: the batch.
        group_size: dialogues on each seed.
        cast: who plays.
        concurrency: dialogues at once.
        on_played: called after each dialogue.

    Returns:
        Dialogues in order of seed, then number.
    """
    slots = asyncio.Semaphore(concurrency)

    async def play(dialogue: Dialogue) -> Dialogue:
        async with slots:
            played = await answer_or_fail(await play_tutor(dialogue, lambda: cast), cast)
        if on_played is not None:
            on_played()
        return played

    async def play_group(group: list[Dialogue]) -> list[Dialogue]:
        async with slots:
            opened = await open_group(group, cast)
        return await gather_all(map(play, opened))

    played = await gather_all(map(play_group, make_groups(seeds, step, group_size, cast)))
    return [dialogue for group in played for dialogue in group]


def make_groups(seeds: Sequence[Seed], step: int, group_size: int, cast: Cast) -> list[list[Dialogue]]:
    """A batch's dialogues before their first turn, a group for each seed."""
    seen: Counter[str] = Counter()
    groups = []
    for seed in seeds:
        # A seed may occur twice in a batch that spans two epochs. Its dialogues get different numbers.
        start = seen[seed.id] * group_size
        seen[seed.id] += 1
        drawn = [cast.students.draw(step, seed, start + i) for i in range(group_size)]
        groups.append(
            [
                Dialogue(student.seed(seed), step, start + i, first=cast.first, student=student.name)
                for i, student in enumerate(drawn)
            ]
        )
    return groups


async def open_group(group: list[Dialogue], cast: Cast) -> list[Dialogue]:
    """Samples the group's opening turns; those of one student in one request, since they share a prompt.

    It does not need the tutor. A group in which the tutor speaks first, or that has begun, is returned as it is.
    """
    if group[0].first == "tutor" or group[0].turns or all(dialogue.ending is not None for dialogue in group):
        return group
    by_student: dict[str, list[Dialogue]] = {}
    for dialogue in group:
        by_student.setdefault(dialogue.student, []).append(dialogue)
    opened = await gather_all(_open_alike(alike, cast) for alike in by_student.values())
    return sorted((dialogue for alike in opened for dialogue in alike), key=lambda dialogue: dialogue.number)


async def _open_alike(group: list[Dialogue], cast: Cast) -> list[Dialogue]:
    """Samples the opening turns of dialogues on one seed with one student."""
    head = group[0]
    try:
        seed = stable_seed(cast.seed, head.step, head.seed.id, head.number, "opening")
        turns = await cast.students.of(head).reply(head, seed, len(group), cast.max_context)
        if turns is None:
            return [dialogue.end("context") for dialogue in group]
        turns = await cast.judged(turns, head)
    except TrainingError:  # the clients are lost, for every dialogue
        raise
    except Exception as error:
        return [dialogue.end("failed", error=describe(error)) for dialogue in group]
    return [
        dialogue.add(turn, cast.max_turns(head.step), cast.ends) for dialogue, turn in zip(group, turns, strict=True)
    ]


async def play_tutor(dialogue: Dialogue, cast: Callable[[], Cast]) -> Dialogue:
    """Plays turns until the dialogue ends or the tutor has had its last turn.

    Args:
        dialogue: has its opening turn, or has ended.
        cast: gives the cast for the next turn.
    """
    try:
        while dialogue.ending is None and not is_last_answer(dialogue, cast()):
            dialogue = await _take_turn(dialogue, cast())
    except TrainingError:  # the clients are lost, for every dialogue
        raise
    except Exception as error:
        return dialogue.end("failed", error=describe(error))
    return dialogue


def is_last_answer(dialogue: Dialogue, cast: Cast) -> bool:
    """Whether only the student's answer to the tutor's last turn is missing."""
    return dialogue.speaker == "student" and dialogue.played_turns >= cast.max_turns(dialogue.step)


async def answer_last(dialogue: Dialogue, cast: Cast) -> Dialogue:
    """Adds the student's answer to the tutor's last turn. If it fails, the tutor's turns are kept."""
    if dialogue.ending is not None:
        return dialogue
    try:
        return await _take_turn(dialogue, cast)
    except TrainingError:  # the clients are lost, for every dialogue
        raise
    except Exception as error:
        return dialogue.end("unanswered", error=f"the student's last answer failed: {describe(error)}")


async def answer_or_fail(dialogue: Dialogue, cast: Cast) -> Dialogue:
    """As `answer_last`, for dialogues whose ending is measured: without the last answer they count as failed."""
    answered = await answer_last(dialogue, cast)
    return answered.end("failed", error=answered.error) if answered.ending == "unanswered" else answered


async def _take_turn(dialogue: Dialogue, cast: Cast) -> Dialogue:
    """Adds one more turn, or ends the dialogue if a context has no room for it."""
    seed = stable_seed(cast.seed, dialogue.step, dialogue.seed.id, dialogue.number, len(dialogue.turns))
    if dialogue.speaker == "student":
        turns = await cast.students.of(dialogue).reply(dialogue, seed, 1, cast.max_context)
    else:
        prompt = cast.tutor_prompt(dialogue)
        longest = max(len(prompt), cast.longest_teacher_prompt(dialogue))
        turns = await cast.speak(dialogue, prompt, seed) if cast.has_room(longest, cast.tutor.max_tokens) else None
    if turns is None:
        return dialogue.end("context")
    (turn,) = await cast.judged(turns, dialogue)
    return dialogue.add(turn, cast.max_turns(dialogue.step), cast.ends)


def check_failures(dialogues: Sequence[Dialogue], max_failed_fraction: float) -> None:
    """Stops the run if too many dialogues of a batch failed, or lack the student's last answer.

    Raises:
        RolloutError: more than `max_failed_fraction` of the dialogues failed.
        InvalidAnswer: all dialogues failed because the tutor's log-probabilities are invalid.
        TrainingError: too many failed because the service lost the tutor's weights; reopening its clients fixes that.
    """
    errors = [dialogue.error or "" for dialogue in dialogues if dialogue.ending in ("failed", "unanswered")]
    if len(errors) > max_failed_fraction * len(dialogues):
        forgotten = [error for error in errors if is_forgotten(error)]
        if forgotten:
            raise TrainingError(
                f"the service lost weights of the tutor, as a restarted server does: {forgotten[0]}. Start the same "
                "script again to continue"
            )
        if all(TUTOR_INVALID in error and UNUSABLE in error for error in errors) and len(errors) == len(dialogues):
            raise InvalidAnswer(
                f"all {len(errors)} dialogues failed; the first error: {errors[0]}. The tutor's weights may be "
                "damaged, so no state of them is saved. Start the same script again to resume from the last recorded "
                "state"
            )
        raise RolloutError(
            f"{len(errors)} of {len(dialogues)} dialogues failed, more than max_failed_fraction="
            f"{max_failed_fraction} allows; the first error: {errors[0]}. Fix the "
            "cause and start the same script again"
        )


def replay_or_fail(recording: Recording, step: int, cast: Cast) -> Dialogue:
    """As `replay`; if that raises an error, the dialogue has failed with it."""
    try:
        return replay(recording, step, cast)
    except Exception as error:
        return Dialogue(recording.seed, step, number=0, recording=recording.id).end("failed", error=describe(error))


def replay(recording: Recording, step: int, cast: Cast) -> Dialogue:
    """A recording as a dialogue of batch `step`.

    A tutor turn from a run keeps its sampled tokens and their log-probabilities. Other texts become tokens here, once,
    with the end-of-turn token after them, and have no log-probabilities; an end mark in the recorded text is removed.
    The dialogue ends before a tutor turn that does not fit the context.
    """
    first = recording.turns[0].role if recording.turns else "student"
    dialogue = Dialogue(recording.seed, step, number=0, recording=recording.id, first=first)
    for recorded in recording.turns:
        if recording.kind != "run":  # texts of a run come from its tokens and have no end marks
            recorded = replace(recorded, text=cast.tutor.renderer.without_end_mark(recorded.text))
        turn = _student_turn(recorded)
        if recorded.role == "tutor":
            turn = _tutor_turn(recorded, cast.tutor_prompt(dialogue), cast.tutor.renderer)
            longest = max(len(turn.prompt), cast.longest_teacher_prompt(dialogue))
            if not cast.has_room(longest, len(turn.tokens)):
                return dialogue.end("context")
        dialogue = dialogue.with_turn(turn)
    return dialogue.end("recorded")


def begin_or_fail(recording: Recording, step: int, numbers: Sequence[int], last: int, cast: Cast) -> list[Dialogue]:
    """A group of dialogues that begin with a recording's turns, up to where the tutor takes over.

    Args:
        recording: its tutor turns before the last ones are context.
        step: the batch.
        numbers: of the dialogues.
        last: how many of its tutor turns the tutor speaks itself.
        cast: who plays.
    """
    places = [index for index, turn in enumerate(recording.turns) if turn.role == "tutor"]
    start = replace(recording, turns=recording.turns[: places[max(len(places) - last, 0)]])
    first = recording.turns[0].role
    begun = replace(replay_or_fail(start, step, cast), recording=None, begun=recording.id, first=first)
    if begun.ending == "recorded":
        begun = replace(begun, ending=None, turns=tuple(map(_as_context, begun.turns)))
    drawn = [cast.students.draw(step, recording.seed, number) for number in numbers]
    return [
        replace(begun, number=number, seed=student.seed(recording.seed), student=student.name)
        for number, student in zip(numbers, drawn, strict=True)
    ]


def _as_context(turn: Turn) -> Turn:
    """A recorded turn that is not trained on; a text that nobody sampled counts as certain."""
    if turn.role == "student":
        return replace(turn, by=RECORDED)
    return replace(turn, by=RECORDED, logprobs=turn.logprobs or (0.0,) * len(turn.tokens), stored=None)


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
        stored=recorded.scores,
        by=recorded.by,
    )
