"""The simulated students of a run, and which of them takes which dialogue."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.paths import resolved
from socratic_distill.config.students import Student
from socratic_distill.dialogues.dialogue import Dialogue, Message, PromptUse, Turn, student_view
from socratic_distill.dialogues.personas import persona
from socratic_distill.dialogues.prompts import Prompts, read_prompt
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.remote_speaker import RemoteSpeaker
from socratic_distill.dialogues.seed import Seed
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.errors import ConfigError
from socratic_distill.service.interface import SamplingClient

_SEEDS = 2**31


@dataclass(frozen=True)
class SimulatedStudent:
    """One student.

    Attributes:
        speaker: its model.
        prompts: the run's prompts, with this student's own.
        profile: the profile of the config, for seeds without one.
        name: its name; "" for the only student.
        share: its share of the dialogues, relative to the others'.
        own_profile: its own profile, which comes before the seed's; None: it has none.
    """

    speaker: Speaker | RemoteSpeaker
    prompts: Prompts
    profile: str
    name: str = ""
    share: float = 1.0
    own_profile: str | None = None

    def seed(self, seed: Seed) -> Seed:
        """A seed as this student gets it: with its own profile, if it has one."""
        return seed if self.own_profile is None else replace(seed, student_profile=self.own_profile)

    def view(self, dialogue: Dialogue) -> list[Message]:
        """What it sees of a dialogue."""
        reads_text = isinstance(self.speaker, RemoteSpeaker)
        return student_view(dialogue, self.prompts, self.profile, reads_text=reads_text)

    async def reply(self, dialogue: Dialogue, seed: int, count: int, limit: int | None) -> list[Turn] | None:
        """Its next turns in a dialogue; None if a context of `limit` tokens has no room for them."""
        return await self.speaker.reply(self.view(dialogue), seed, count, limit)

    def counted(self, on_use: Callable[[PromptUse], None]) -> "SimulatedStudent":
        """The same, with a function that is called with the cost of each request."""
        return replace(self, speaker=replace(self.speaker, on_use=on_use))


@dataclass(frozen=True)
class Students:
    """All students of a run.

    Attributes:
        members: by name, in the config's order.
        seed: the run's random seed.
    """

    members: dict[str, SimulatedStudent]
    seed: int = 0

    @classmethod
    def single(cls, student: SimulatedStudent) -> "Students":
        """The only student."""
        return cls({student.name: student})

    @property
    def client(self) -> SamplingClient | None:
        """The first student's sampling client on the run's service; None if all are on other endpoints."""
        speakers = (member.speaker for member in self.members.values())
        return next((speaker.client for speaker in speakers if isinstance(speaker, Speaker)), None)

    def of(self, dialogue: Dialogue) -> SimulatedStudent:
        """The student of a dialogue."""
        return self.members[dialogue.student]

    def draw(self, step: int, seed: Seed, number: int) -> SimulatedStudent:
        """The student of a dialogue that begins: by hash, so that the same config draws the same ones."""
        members = list(self.members.values())
        if len(members) == 1:
            return members[0]
        whole = sum(member.share for member in members)
        drawn = stable_seed(self.seed, step, seed.id, number, "student") / _SEEDS * whole
        for member in members:
            drawn -= member.share
            if drawn < 0:
                return member
        return members[-1]

    def counted(self, on_use: Callable[[PromptUse], None]) -> "Students":
        """The same, with a function that is called with the cost of each request."""
        return replace(self, members={name: member.counted(on_use) for name, member in self.members.items()})


def own_profile(student: Student) -> str | None:
    """The profile that a student of the config has of its own.

    Raises:
        ConfigError: its file cannot be read.
    """
    if student.persona is not None:
        return persona(student.persona)
    if student.profile_file is None:
        return student.profile
    try:
        text = Path(resolved(student.profile_file)).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"profile file {student.profile_file!r} cannot be read: {error}") from error
    if not text:
        raise ConfigError(f"profile file {student.profile_file!r} is empty; expected who the student is")
    return text


def own_prompts(student: Student, prompts: Prompts, config: SocraticConfig) -> Prompts:
    """The run's prompts, with a student's own in place of the config's.

    Raises:
        ConfigError: its file cannot be read.
    """
    if student.prompt_file is None:
        return prompts
    text = read_prompt(student.prompt_file, "student.txt", config.subject)
    return replace(prompts, student=text, student_attempt=text)
