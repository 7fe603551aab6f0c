"""Recorded dialogues as if they had just been played: the same views, prompts and tokens."""

from dataclasses import replace

from socratic_distill.dialogue import Dialogue, Turn
from socratic_distill.recordings import RecordedTurn, Recording
from socratic_distill.rendering import Renderer
from socratic_distill.rollout import Cast, describe


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
