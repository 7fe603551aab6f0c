"""The participants of a dialogue: tutor, student and teachers, with their clients and prompts."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from socratic_distill.config.objectives import Wanted
from socratic_distill.dialogues.dialogue import (
    NOTHING_SENT,
    Dialogue,
    PromptUse,
    Role,
    Turn,
    student_view,
    teacher_view,
    tutor_view,
)
from socratic_distill.dialogues.prompts import Prompts
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.routing import lag_batch
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.errors import RolloutError, TeacherError
from socratic_distill.service.interface import SamplingClient
from socratic_distill.service.numbers import explain_bad, first_bad

if TYPE_CHECKING:
    import tinker


@dataclass(frozen=True)
class Member:
    """One teacher.

    Attributes:
        name: as in the config; "teacher" for a single one.
        renderer: messages to tokens for its model.
        client: its sampling client; None for a lagged teacher, which scores with the tutor's own weights.
        lag_steps: number of batches after which a lagged teacher takes new weights; None for other teachers.
        weight: its weight in an average.
    """

    name: str
    renderer: Renderer
    client: SamplingClient | None
    lag_steps: int | None = None
    weight: float = 1.0


@dataclass
class Teachers:
    """All teachers.

    Attributes:
        members: the teachers by name, in the config's order.
        routes: by seed id, the names of its teachers.
        how: how the scores of a seed's teachers are combined; None: each seed has one teacher.
        max_staleness: that of the run; it decides which of the tutor's weights a lagged teacher uses.
        tutors: sampling clients on earlier tutor weights, by the batch that those weights were saved before.
    """

    members: Mapping[str, Member]
    routes: Mapping[str, tuple[str, ...]]
    how: Literal["log_mean", "mixture"] | None = None
    max_staleness: int = 0
    tutors: dict[int, SamplingClient] = field(default_factory=dict)

    def of(self, seed: Seed) -> list[Member]:
        """The teachers of a seed."""
        return [self.members[name] for name in self.routes[seed.id]]

    def client(self, member: Member, step: int) -> SamplingClient:
        """The sampling client with which a teacher scores a batch.

        If saving the tutor weights that a lagged teacher needs failed, the most recent earlier ones are used.

        Raises:
            TeacherError: there are no earlier weights.
        """
        if member.client is not None:
            return member.client
        assert member.lag_steps is not None, "a teacher has a client of its own or lags behind the tutor"
        wanted = lag_batch(step, member.lag_steps, self.max_staleness)
        batch = self._newest_kept(wanted)
        if batch is None:
            raise TeacherError(f"teacher {member.name!r}: the tutor's weights before batch {wanted} could not be saved")
        return self.tutors[batch]

    def needs(self, batch: int) -> bool:
        """Whether a lagged teacher will score with the tutor's weights before a batch."""
        return any(batch % lag == 0 for lag in self._lags)

    def tutors_before(self, batch: int) -> set[int]:
        """The earlier batches whose weights lagged teachers need for `batch` and later ones."""
        return {
            earlier for lag in self._lags for earlier in range(lag_batch(batch, lag, self.max_staleness), batch, lag)
        }

    def keep_tutor(self, batch: int, client: SamplingClient, oldest: int) -> None:
        """Keeps the tutor's weights before a batch if a lagged teacher may need them, and drops older ones.

        Args:
            batch: the batch.
            client: a sampling client on the weights before it.
            oldest: first batch that may still be scored.
        """
        if self.needs(batch):
            self.tutors[batch] = client
        first = self._newest_kept(min(self.tutors_before(oldest), default=oldest))
        for old in [old for old in self.tutors if first is not None and old < first]:
            del self.tutors[old]

    @property
    def _lags(self) -> set[int]:
        return {member.lag_steps for member in self.members.values() if member.lag_steps is not None}

    def _newest_kept(self, batch: int) -> int | None:
        """The last batch, up to and including `batch`, whose weights are kept; None if there is none."""
        return max((earlier for earlier in self.tutors if earlier <= batch), default=None)


# Start of a dialogue's error if the service returned invalid log-probabilities, as from weights that are not finite.
_TUTOR_INVALID = "the log-probability of the tutor's token"


@dataclass(frozen=True)
class Speaker:
    """One side of the dialogue: a sampling client, its renderer and its sampling parameters.

    Attributes:
        role: tutor or student.
        client: a Tinker sampling client; None: this side is never asked to speak.
        renderer: messages to tokens for the client's model.
        max_tokens: length limit of a turn, in tokens.
        temperature: sampling temperature.
        version: optimizer steps that led to the client's weights; 0 for a frozen model.
        top: number of likeliest tokens requested at each position of a turn.
        on_use: called with the cost of each request; None: no call.
    """

    role: Role
    client: SamplingClient | None
    renderer: Renderer
    max_tokens: int
    temperature: float
    version: int = 0
    top: int = 0
    on_use: Callable[[PromptUse], None] | None = None

    async def speak(self, prompt: tuple[int, ...], seed: int, count: int = 1) -> list[Turn]:
        """Samples `count` turns on one prompt."""
        from tinker import ModelInput, SamplingParams

        assert self.client is not None, f"the {self.role} was opened without a client"
        params = SamplingParams(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=seed,
            stop=list(self.renderer.end_tokens),
        )
        now = asyncio.get_running_loop().time
        began = now()
        # Passed only if needed: a server without the feature may refuse the keyword itself.
        features: dict[str, Any] = {"topk_sample_logprobs": self.top} if self.top else {}
        response = await self.client.sample(ModelInput.from_ints(list(prompt)), count, params, **features)
        sampled, span = sum(len(sequence.tokens) for sequence in response.sequences), (began, now())
        use = PromptUse(len(prompt), response.prompt_cache_hit_tokens, sampled)
        if self.on_use is not None:
            self.on_use(use)
        # The turns of one request share its prompt, so the whole cost is counted at the first turn.
        uses = [use, *[NOTHING_SENT] * (count - 1)]
        return [self._turn(prompt, sequence, use, span) for sequence, use in zip(response.sequences, uses, strict=True)]

    def _turn(
        self, prompt: tuple[int, ...], sequence: "tinker.SampledSequence", use: PromptUse, span: tuple[float, float]
    ) -> Turn:
        tokens, logprobs = tuple(sequence.tokens), sequence.logprobs
        if logprobs is None or len(logprobs) != len(tokens):
            count = "none" if logprobs is None else str(len(logprobs))
            raise RolloutError(f"the service sampled {len(tokens)} tokens with {count} log-probabilities")
        # The student's log-probabilities are not used, so they are not checked.
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
            count = "none" if rows is None else str(len(rows))
            raise RolloutError(
                f"the service sampled {len(sequence.tokens)} tokens with {count} rows of likeliest tokens; the "
                "objective needs topk_sample_logprobs"
            )
        return tuple(tuple(token for token, _ in row) for row in rows if row)


@dataclass(frozen=True)
class Cast:
    """The participants of a dialogue, and its limits.

    Attributes:
        tutor: the tutor's side.
        student: the student's side.
        teachers: the teachers, whose contexts must hold the dialogue too.
        prompts: the system prompts.
        profile: the student's profile for seeds without one.
        max_turns: gives the maximum number of tutor turns, by the number of the batch.
        max_context: limit of a context, in tokens; None if no model's context length is known.
        seed: the run's random seed.
        of_played: what the objective needs to know about the tokens of a dialogue that was played.
        of_recorded: the same for a recorded dialogue.
        tutor_as: name of the teacher whose prompt the tutor gets, to measure a teacher; None: the tutor's own prompt.
    """

    tutor: Speaker
    student: Speaker
    teachers: Teachers
    prompts: Prompts
    profile: str
    max_turns: Callable[[int], int]
    max_context: int | None
    seed: int
    of_played: Wanted
    of_recorded: Wanted
    tutor_as: str | None = None

    def wanted(self, dialogue: Dialogue) -> Wanted:
        """What the objective needs to know about a dialogue's tokens."""
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
        """Tokens of the longest teacher's context for the tutor's next turn; 0 if no teacher scores it."""
        if not self.wanted(dialogue).teacher:
            return 0
        return max(len(self.teacher_prompt(dialogue, member)) for member in self.teachers.of(dialogue.seed))

    def student_prompt(self, dialogue: Dialogue) -> tuple[int, ...]:
        """The student's context for its next turn, `[P]`."""
        return self.student.renderer.prompt(student_view(dialogue, self.prompts, self.profile))

    def has_room(self, longest_prompt: int, reply: int) -> bool:
        """Whether a prompt and a reply of these lengths, in tokens, fit the smallest context."""
        return self.max_context is None or longest_prompt + reply <= self.max_context
