"""The participants of a dialogue: tutor, student and teachers, with their clients and prompts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from socratic_distill.config.wanted import Wanted
from socratic_distill.dialogues.dialogue import (
    Dialogue,
    Ends,
    Role,
    Turn,
    by_answer,
    teacher_view,
    tutor_view,
)
from socratic_distill.dialogues.prompts import Prompts
from socratic_distill.dialogues.quotes import NOTHING_QUOTED, Quotes
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.routing import lag_batch
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.dialogues.students import Students
from socratic_distill.dialogues.teacher_keys import joint_key
from socratic_distill.dialogues.verdicts import Verdicts
from socratic_distill.errors import TeacherError
from socratic_distill.service.interface import SamplingClient


@dataclass(frozen=True)
class Member:
    """One teacher.

    Attributes:
        name: as in the config; "teacher" for a single one.
        renderer: messages to tokens for its model.
        client: its sampling client; None for a lagged teacher, which scores with the tutor's own weights.
        lag_steps: number of batches after which a lagged teacher takes new weights; None for other teachers.
        weight: its weight in an average.
        key: a digest of its weights and prompt; None if the weights change, or are not known.
    """

    name: str
    renderer: Renderer
    client: SamplingClient | None
    lag_steps: int | None = None
    weight: float = 1.0
    key: str | None = None


@dataclass
class Teachers:
    """All teachers.

    Attributes:
        members: the teachers by name, in the config's order.
        routes: by seed id, the names of its teachers.
        how: how the scores of a seed's teachers are combined; None: each seed has one teacher.
        clip: bound on how far each of several is from the first, nats; None: no bound.
        max_staleness: that of the run; it decides which of the tutor's weights a lagged teacher uses.
        tutors: sampling clients on earlier tutor weights, by the batch that those weights were saved before.
    """

    members: Mapping[str, Member]
    routes: Mapping[str, tuple[str, ...]]
    how: Literal["log_mean", "mixture"] | None = None
    clip: float | None = None
    max_staleness: int = 0
    tutors: dict[int, SamplingClient] = field(default_factory=dict)

    def of(self, seed: Seed) -> list[Member]:
        """The teachers of a seed."""
        return [self.members[name] for name in self.routes[seed.id]]

    def key(self, seed: Seed) -> str | None:
        """A digest of a seed's teachers and of how their scores are joined; None if their weights change."""
        members = self.of(seed)
        weights = [member.weight for member in members]
        return joint_key([member.key for member in members], weights, self.how, self.clip)

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


@dataclass(frozen=True)
class Cast:
    """The participants of a dialogue, and its limits.

    Attributes:
        tutor: the tutor's side.
        students: the students, one of which has the other side.
        teachers: the teachers, whose contexts must hold the dialogue too.
        prompts: the system prompts.
        profile: the student's profile for seeds without one.
        max_turns: gives the maximum number of tutor turns, by the number of the batch.
        max_context: limit of a context, in tokens; None if no model's context length is known.
        seed: the run's random seed.
        of_played: what the objective needs to know about the tokens of a dialogue that was played.
        of_recorded: the same for a recorded dialogue.
        tutor_as: name of the teacher whose prompt the tutor gets, to measure a teacher; None: the tutor's own prompt.
        first: who speaks first.
        ends: what ends a dialogue before its maximum number of turns.
        verdicts: says of turns whether they give the answer, where no rule does; None: no seed needs it.
        teacher_turns: gives the share of the tutor's turns that a teacher speaks, by the number of the batch.
        reuses_scores: whether recordings of runs are trained with the scores that they came with, where those fit.
    """

    tutor: Speaker
    students: Students
    teachers: Teachers
    prompts: Prompts
    profile: str
    max_turns: Callable[[int], int]
    max_context: int | None
    seed: int
    of_played: Wanted
    of_recorded: Wanted
    tutor_as: str | None = None
    first: Role = "student"
    ends: Ends = by_answer
    verdicts: Verdicts | None = None
    teacher_turns: Callable[[int], float] = lambda step: 0.0
    reuses_scores: bool = False

    def wanted(self, dialogue: Dialogue) -> Wanted:
        """What the objective needs to know about a dialogue's tokens."""
        return self.of_played if dialogue.recording is None else self.of_recorded

    async def judged(self, turns: list[Turn], dialogue: Dialogue) -> list[Turn]:
        """Turns that follow a dialogue so far, with verdicts where its answer needs them."""
        return turns if self.verdicts is None else await self.verdicts.on(turns, dialogue)

    def tutor_prompt(self, dialogue: Dialogue) -> tuple[int, ...]:
        """The tutor's context for its next turn, `[P]`."""
        if self.tutor_as is not None:
            return self.tutor.renderer.prompt(teacher_view(dialogue, self.prompts, self.profile, self.tutor_as))
        return self.tutor.renderer.prompt(tutor_view(dialogue, self.prompts))

    async def speak(self, dialogue: Dialogue, prompt: tuple[int, ...], seed: int) -> list[Turn]:
        """The tutor's next turn, by the tutor or, in its place, by a teacher.

        Args:
            dialogue: so far.
            prompt: the tutor's context, `[P]`.
            seed: of the random numbers.
        """
        teacher = self._teacher_who_speaks(dialogue)
        if teacher is None:
            return await self.tutor.speak(prompt, seed)
        client = self.teachers.client(teacher, dialogue.step)
        speaker = replace(self.tutor, client=client, renderer=teacher.renderer, version=0)
        turns = await speaker.speak(self.teacher_prompt(dialogue, teacher), seed)
        # In the tutor's data the turn follows the tutor's own context.
        return [replace(turn, prompt=prompt, by=teacher.name) for turn in turns]

    def _teacher_who_speaks(self, dialogue: Dialogue) -> Member | None:
        """The teacher that speaks the next turn: the seed's first one with a weight above 0; None: the tutor speaks."""
        share = self.teacher_turns(dialogue.step)
        if not share or self.tutor_as is not None:
            return None
        key = (dialogue.step, dialogue.seed.id, dialogue.number, len(dialogue.turns))
        if stable_seed("teacher_turn", self.seed, *key) >= share * 2**31:
            return None
        return next((member for member in self.teachers.of(dialogue.seed) if member.weight > 0.0), None)

    def teacher_prompt(self, dialogue: Dialogue, teacher: Member, quotes: Quotes = NOTHING_QUOTED) -> tuple[int, ...]:
        """A teacher's context for the tutor's next turn, `[P]`."""
        return teacher.renderer.prompt(teacher_view(dialogue, self.prompts, self.profile, teacher.name, quotes))

    def quoted(self, seed: Seed) -> frozenset[str]:
        """What the prompts of a seed's teachers quote of what came after a turn, or of other dialogues."""
        if not self.of_played.teacher:
            return frozenset()
        return frozenset[str]().union(*(self.prompts.quoted_by(member.name) for member in self.teachers.of(seed)))

    def longest_teacher_prompt(self, dialogue: Dialogue) -> int:
        """Tokens of the longest teacher's context for the tutor's next turn; 0 if no teacher scores it."""
        if not self.wanted(dialogue).teacher:
            return 0
        return max(len(self.teacher_prompt(dialogue, member)) for member in self.teachers.of(dialogue.seed))

    def has_room(self, longest_prompt: int, reply: int) -> bool:
        """Whether a prompt and a reply of these lengths, in tokens, fit the smallest context."""
        return self.max_context is None or longest_prompt + reply <= self.max_context
