"""The teachers of a run: who scores which seed, with which weights, and how several scores become one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from socratic_distill.errors import TeacherError
from socratic_distill.rendering import Renderer
from socratic_distill.seeds import Seed
from socratic_distill.sequences import Floats
from socratic_distill.settings import (
    ForwardKL,
    JensenShannon,
    MonteCarloKL,
    Objective,
    ReverseKL,
    Supervised,
    divergences,
)
from socratic_distill.teachers import average, lag_batch


@dataclass(frozen=True)
class Wanted:
    """What an objective wants to know of each of the tutor's tokens.

    Attributes:
        teacher: whether the teacher is asked at all.
        tutor_top: number of the tutor's likeliest tokens at its place, scored by the teacher.
        teacher_top: number of the teacher's likeliest.
        draws: number of tokens drawn from the tutor, scored by the teacher.
    """

    teacher: bool = True
    tutor_top: int = 0
    teacher_top: int = 0
    draws: int = 0

    @classmethod
    def of(cls, objective: Objective | Supervised) -> "Wanted":
        """What an objective wants."""
        of_both, of_teacher, draws = 0, 0, 0
        for one in divergences(objective):
            if isinstance(one, ReverseKL | JensenShannon):
                of_both = max(of_both, one.k)
            elif isinstance(one, ForwardKL):
                of_teacher = one.k
            elif isinstance(one, MonteCarloKL):
                draws = one.k
        is_asking = not isinstance(objective, Supervised)
        return cls(is_asking, tutor_top=of_both, teacher_top=max(of_both, of_teacher), draws=draws)


@dataclass(frozen=True)
class Member:
    """One teacher.

    Attributes:
        name: as in the config; "teacher" for a single one.
        renderer: messages to tokens for its model.
        client: its sampling client; None for one that scores with the tutor's own weights.
        lag_steps: over how many batches those are kept.
        weight: in an average.
    """

    name: str
    renderer: Renderer
    client: Any | None
    lag_steps: int | None = None
    weight: float = 1.0


@dataclass
class Panel:
    """All teachers.

    Attributes:
        members: in the order of the config.
        routes: names of the teachers of each seed, by its id.
        how: how several scores of a seed become one.
        max_staleness: the run's; decides which of the tutor's weights a lagged teacher has.
        tutors: the tutor's own sampling clients, by the batch that they are the weights before.
    """

    members: Mapping[str, Member]
    routes: Mapping[str, tuple[str, ...]]
    how: Literal["log_mean", "mixture"] | None = None
    max_staleness: int = 0
    tutors: dict[int, Any] = field(default_factory=dict)

    def of(self, seed: Seed) -> list[Member]:
        """The teachers of a seed."""
        return [self.members[name] for name in self.routes[seed.id]]

    def client(self, member: Member, step: int) -> Any:
        """The sampling client that a teacher scores a batch with.

        Where the save of the tutor's weights that a lagged one is to have failed for good, the ones before stand in.

        Raises:
            TeacherError: there are none.
        """
        if member.lag_steps is None:
            return member.client
        wanted = lag_batch(step, member.lag_steps, self.max_staleness)
        found = self._newest_kept(wanted)
        if found is None:
            raise TeacherError(f"teacher {member.name!r}: the tutor's weights before batch {wanted} could not be saved")
        return self.tutors[found]

    def needs(self, batch: int) -> bool:
        """Whether a lagged teacher is to score with the tutor's weights before a batch."""
        return any(batch % lag == 0 for lag in self._lags)

    def tutors_before(self, batch: int) -> set[int]:
        """The earlier batches whose weights lagged teachers need for `batch` and those behind it."""
        return {
            earlier for lag in self._lags for earlier in range(lag_batch(batch, lag, self.max_staleness), batch, lag)
        }

    def keep_tutor(self, batch: int, client: Any, oldest: int) -> None:
        """Keeps the tutor's weights before a batch where a lagged teacher may need them.

        Args:
            batch: the batch.
            client: a sampling client on the weights before it.
            oldest: no batch before this one is scored any more.
        """
        if self.needs(batch):
            self.tutors[batch] = client
        first = self._newest_kept(min(self.tutors_before(oldest), default=oldest))
        for old in [old for old in self.tutors if first is not None and old < first]:
            del self.tutors[old]

    @property
    def _lags(self) -> set[int]:
        return {one.lag_steps for one in self.members.values() if one.lag_steps is not None}

    def _newest_kept(self, batch: int) -> int | None:
        """The last batch up to a given one whose weights are kept."""
        return max((one for one in self.tutors if one <= batch), default=None)

    def joined(self, scores: Sequence[Sequence[Floats]], members: Sequence[Member]) -> tuple[Floats, ...]:
        """The scores of several teachers as one, turn by turn.

        Args:
            scores: of each member, one array a turn.
            members: whose they are.
        """
        if len(members) == 1:
            return tuple(scores[0])
        assert self.how is not None, "several teachers of one seed without a way to average"
        weights = [one.weight for one in members]
        return tuple(average(turns, weights, self.how) for turns in zip(*scores, strict=True))
