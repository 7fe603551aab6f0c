"""The dialogue between student and tutor: its turns, what each side sees of it, and when it ends. Pure.

One side speaks first, by default the student; then both take turns until the dialogue ends.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from socratic_distill.dialogues.answers.kinds import rule_of, solves
from socratic_distill.dialogues.dialogue_html import dialogue_html, outcome
from socratic_distill.dialogues.prompts import Prompts
from socratic_distill.dialogues.quotes import NOTHING_QUOTED, Quotes
from socratic_distill.dialogues.seed import BY_VERDICT, Seed

Role = Literal["student", "tutor"]
StopReason = Literal["stop", "length"]
Ending = Literal[
    "solved",
    "solved_after_tell",
    "solved_at_start",
    "max_turns",
    "context",
    "empty",
    "recorded",
    "unanswered",
    "failed",
    "ended_by_tutor",
    "ended_by_student",
    "ended_by_function",
]
# The step of dialogues that belong to no batch, such as those of evaluations: their random numbers are the same at
# each time.
NO_STEP = -1
# Endings in which the student reached the answer, whether or not the tutor told it.
SOLVED: tuple[Ending, ...] = ("solved", "solved_after_tell", "solved_at_start")
# Endings that say nothing of the answer, which an earlier turn may hold where an answer ends no dialogue.
_OPEN: tuple[Ending, ...] = ("max_turns", "context", "ended_by_tutor", "ended_by_student", "ended_by_function")


@dataclass(frozen=True, slots=True)
class PromptUse:
    """The cost of sampling and scoring requests, in tokens.

    Attributes:
        sent: tokens of prompts that were sent.
        cached: how many of those the service reports as cached.
        sampled: tokens that were sampled; a scoring request samples one, which is not used.
    """

    sent: int = 0
    cached: int = 0
    sampled: int = 0

    def __add__(self, other: "PromptUse") -> "PromptUse":
        """The cost of both."""
        return PromptUse(self.sent + other.sent, self.cached + other.cached, self.sampled + other.sampled)


NOTHING_SENT = PromptUse()


RECORDED = "recording"


@dataclass(frozen=True, slots=True)
class StoredScores:
    """The scores of a recorded tutor turn, as the row of its run holds them.

    Attributes:
        digest: of the teachers, their prompts and the turn's tokens.
        logprobs: the teacher's log-probability of each token, nats, `[T]`.
        top: the teacher's likeliest tokens, `[T, K]`; empty if they were not stored.
        top_logprobs: their log-probabilities, nats, likewise.
    """

    digest: str
    logprobs: tuple[float, ...]
    top: tuple[tuple[int, ...], ...] = ()
    top_logprobs: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn, as it was sampled.

    Attributes:
        role: who speaks.
        text: the text that the other side hears, without the `<think>` part.
        prompt: tokens that the turn was sampled from, `[P]`.
        tokens: sampled tokens, `[T]`, including the end-of-turn token if it was reached.
        history: the part of `tokens` that stays in the speaker's own later context, without the
            `<think>` part and the end-of-turn token, `[H]`, H <= T.
        logprobs: the speaker's log-probability of each of `tokens`, nats, `[T]`.
        version: optimizer steps that led to the weights that sampled it; 0 for a frozen model.
        stop_reason: "stop" at the end-of-turn token, "length" if it was cut at the token limit.
        thought: how many of the first `tokens` are the `<think>` part.
        likeliest: ids of the speaker's likeliest tokens at each of `tokens`, `[T, k]`; empty if not requested.
        likeliest_logprobs: their log-probabilities, nats, likewise.
        verdict: whether it gives the answer, by a judge or a function of the user; None if neither was asked, or gave
            no verdict.
        judged: cost of the judge's request for that.
        stored: the scores that a recorded turn came with; None for others.
        by: name of the teacher that spoke in the tutor's place, or `RECORDED` for a turn of the recording that the
            dialogue began with; "" for the speaker itself. Such a turn is context: the tutor is not trained on it.
        use: cost of its request; zero if it is counted at another turn of the same request.
        span: start and end of its request, seconds on the loop's clock. Turns that differ only in it are equal.
    """

    role: Role
    text: str
    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    history: tuple[int, ...]
    logprobs: tuple[float, ...]
    version: int
    stop_reason: StopReason
    thought: int = 0
    likeliest: tuple[tuple[int, ...], ...] = ()
    likeliest_logprobs: tuple[tuple[float, ...], ...] = ()
    verdict: bool | None = None
    judged: PromptUse = NOTHING_SENT
    stored: StoredScores | None = None
    by: str = ""
    use: PromptUse = NOTHING_SENT
    span: tuple[float, float] = field(default=(0.0, 0.0), compare=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One message in a view: plain `text`, or the viewer's own sampled `tokens` (then text is None)."""

    role: Literal["system", "user", "assistant"]
    text: str | None = None
    tokens: tuple[int, ...] | None = None


@dataclass(frozen=True, repr=False)
class Dialogue:
    """The turns on one seed so far, and how they ended.

    Attributes:
        seed: problem, answer and mistake.
        step: batch that the dialogue belongs to.
        number: number of the dialogue among those on its seed in this batch, from 0.
        turns: turns of student and tutor, alternating.
        ending: why it ended; None while it is open.
        error: what went wrong, if ending is "failed", "unanswered" or "empty".
        recording: id of the recording that it was made from; None for a dialogue that was played.
        first: who speaks first.
        student: name of its student; "" if there is only one.
        begun: id of the recording that it began with; None for others.
    """

    seed: Seed
    step: int
    number: int
    turns: tuple[Turn, ...] = ()
    ending: Ending | None = None
    error: str | None = None
    recording: str | None = None
    first: Role = "student"
    student: str = ""
    begun: str | None = None

    @property
    def speaker(self) -> Role:
        """Whose turn it is."""
        if not self.turns:
            return self.first
        return "tutor" if self.turns[-1].role == "student" else "student"

    @property
    def tutor_turns(self) -> tuple[Turn, ...]:
        """The tutor's turns, in order."""
        return tuple(turn for turn in self.turns if turn.role == "tutor")

    @property
    def played_turns(self) -> int:
        """Number of tutor turns that were played, not recorded before."""
        return sum(turn.by != RECORDED for turn in self.tutor_turns)

    @property
    def student_turns(self) -> tuple[Turn, ...]:
        """The student's turns, in order."""
        return tuple(turn for turn in self.turns if turn.role == "student")

    @property
    def told(self) -> bool:
        """Whether a tutor turn held the answer."""
        return any(gives_answer(turn, self.seed) for turn in self.tutor_turns)

    @property
    def solved(self) -> bool:
        """Whether the student reached the answer, whether or not the tutor told it."""
        if self.ending in SOLVED:
            return True
        return self.ending in _OPEN and any(gives_answer(turn, self.seed) for turn in self.student_turns)

    def __repr__(self) -> str:
        """Its place, and how it ended, in one line."""
        what = f"seed={self.seed.id!r}, step={self.step}, number={self.number}"
        return f"Dialogue({what}, turns={len(self.turns)}, ending={self.ending!r})"

    def _repr_html_(self) -> str:
        """The dialogue to read, for notebooks. It has no scores: the tokens have no colours."""
        row = {
            "seed": self.seed.id, "step": self.step, "number": self.number, "question": self.seed.question,
            "expected_answer": self.seed.expected_answer, "initial_error": self.seed.initial_error, "error": self.error,
            "turns": [{"role": turn.role, "text": turn.text, "stop_reason": turn.stop_reason} for turn in self.turns],
        }  # fmt: skip
        return dialogue_html(row, outcome(self.solved, self.told, self.ending or "open"), {})

    def add(self, turn: Turn, max_turns: int, ends: "Ends | None" = None) -> "Dialogue":
        """The dialogue with one more turn, ended if the turn ends it.

        The student also answers the tutor's last turn, so that its effect is known. A turn without tokens ends the
        dialogue and is not kept: there is nothing to hear or to train on.

        Args:
            turn: of the side whose turn it is.
            max_turns: maximum number of tutor turns.
            ends: gives the ending of a dialogue after its newest turn. None: `by_answer`.
        """
        assert self.ending is None, f"the dialogue ended already: {self.ending}"
        if not turn.tokens and not turn.text:
            return self.end("empty", error=f"the {turn.role} replied with no tokens")
        after = self.with_turn(turn)
        if (ending := (ends or by_answer)(after)) is not None:
            return after.end(ending)
        return after.end("max_turns") if turn.role == "student" and after.played_turns >= max_turns else after

    def with_turn(self, turn: Turn) -> "Dialogue":
        """The dialogue with one more turn; never ends it."""
        assert turn.role == self.speaker, f"it is the {self.speaker}'s turn, not the {turn.role}'s"
        return replace(self, turns=(*self.turns, turn))

    def end(self, ending: Ending, error: str | None = None) -> "Dialogue":
        """The dialogue, ended for this reason."""
        return replace(self, ending=ending, error=error)


# What ends a dialogue, asked after each turn; None: it goes on.
Ends = Callable[[Dialogue], Ending | None]


def by_answer(dialogue: Dialogue) -> Ending | None:
    """Ends a dialogue whose student has just given the answer."""
    last = dialogue.turns[-1]
    if last.role == "tutor" or not gives_answer(last, dialogue.seed):
        return None
    if not dialogue.tutor_turns:
        return "solved_at_start"
    return "solved_after_tell" if dialogue.told else "solved"


def gives_answer(turn: Turn, seed: Seed) -> bool | None:
    """Whether a student's turn gives the answer as its own, or a tutor's turn says it; None if nobody could tell."""
    if turn.role == "student" and seed.answer_kind not in BY_VERDICT:
        return solves(turn.text, seed)
    return says_answer(turn, seed)


def is_right(turn: Turn, seed: Seed) -> bool:
    """Whether a reply to the question for the answer ends with it."""
    if seed.answer_kind in BY_VERDICT:
        return turn.verdict is True
    return rule_of(seed).matches(turn.text, seed)


def says_answer(turn: Turn, seed: Seed) -> bool | None:
    """Whether a turn of either side says the answer anywhere, even as a guess; None if nobody could tell."""
    return turn.verdict if seed.answer_kind in BY_VERDICT else rule_of(seed).reveals(turn.text, seed)


def tutor_view(dialogue: Dialogue, prompts: Prompts) -> list[Message]:
    """What the tutor sees: its own prompt with the problem, and the dialogue."""
    return [Message("system", prompts.for_tutor(dialogue.seed)), *_heard_by_tutor(dialogue, prompts)]


def teacher_view(
    dialogue: Dialogue, prompts: Prompts, profile: str, teacher: str, quotes: Quotes = NOTHING_QUOTED
) -> list[Message]:
    """What a teacher sees: its own prompt, which may quote what came later, and the dialogue from the tutor's side."""
    return [
        Message("system", prompts.for_teacher(dialogue.seed, profile, teacher, quotes)),
        *_heard_by_tutor(dialogue, prompts),
    ]


def student_view(dialogue: Dialogue, prompts: Prompts, profile: str, *, reads_text: bool = False) -> list[Message]:
    """What the student sees: its prompt with its profile, the problem and its mistake, and the dialogue.

    Args:
        dialogue: the dialogue so far.
        prompts: the prompts of the run.
        profile: who the student is, for seeds without a profile.
        reads_text: whether its own turns are text, not tokens.
    """
    # Whoever hears the tutor first needs no other request to speak.
    asked = [] if dialogue.first == "tutor" and dialogue.turns else [Message("user", prompts.student_opening)]
    system = Message("system", prompts.for_student(dialogue.seed, profile))
    talk = _talk(dialogue.turns, viewer="student")
    if reads_text:
        talk = [replace(message, text=turn.text) for message, turn in zip(talk, dialogue.turns, strict=True)]
    return [system, *asked, *talk]


def _heard_by_tutor(dialogue: Dialogue, prompts: Prompts) -> list[Message]:
    """The dialogue from the tutor's side; a tutor who speaks first is asked to, since templates begin with a user."""
    asked = [Message("user", prompts.tutor_opening)] if dialogue.first == "tutor" else []
    return [*asked, *_talk(dialogue.turns, viewer="tutor")]


def _talk(turns: tuple[Turn, ...], viewer: Role) -> list[Message]:
    return [
        Message("user", turn.text)
        if turn.role != viewer
        else Message("assistant", turn.text)  # the student's recorded turn, which nobody sampled
        if turn.by == RECORDED and not turn.tokens
        else Message("assistant", tokens=turn.history)
        for turn in turns
    ]


ModelRole = Literal["tutor", "student", "teacher", "judge"]
