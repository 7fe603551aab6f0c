"""The dialogues of a config: how many, who begins, and what ends them before their maximum number of turns."""

from typing import Annotated, Literal

from pydantic import Field

from socratic_distill.config.shorthand import Kind, Several
from socratic_distill.config.students import Student
from socratic_distill.config.values import FunctionPath, Groups, Name, PathText, Schedule, Section, Setting, Share, Tens

DEFAULT_PROFILE = "You are in sixth grade and like to understand things."
Opening = Literal["mistake", "question", "attempt", "tutor"]


class SolvedEnding(Setting):
    """The student gives the answer."""

    kind: Literal["solved"] = "solved"


class PhraseEnding(Setting):
    """One side says a phrase. It may be written in capitals or not."""

    kind: Literal["phrase"] = "phrase"
    by: Literal["tutor", "student"] = Field(default="tutor", description="Who says it.")
    phrase: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S")] = Field(
        description="The phrase. The tutor's and the teachers' prompts must name one that the tutor says; the packaged "
        "prompts do."
    )


class FunctionEnding(Setting):
    """A function of the user says so, asked after each turn."""

    kind: Literal["function"] = "function"
    function: FunctionPath = Field(
        description="'module:name' of a function that takes a `socratic_distill.dialogues.dialogue.Dialogue` and "
        "returns True to end it; '__main__:name' is a function of the running script."
    )


EndingRule = Kind[Annotated[SolvedEnding | PhraseEnding | FunctionEnding, Field(discriminator="kind")]]


class Dialogues(Section):
    """How many dialogues a batch has, how long they are, and who talks."""

    groups_per_batch: Groups = Field(8, description="Seeds in a batch; one group of dialogues each.")
    num_envs: Tens = Field(4, description="Dialogues in a group, all on the same seed.")
    max_turns: Tens = Field(20, description="Maximum number of tutor turns in a dialogue.")
    max_turns_schedule: Schedule | None = Field(
        None,
        description="Maximum number of tutor turns by step, rounded down; use it to start with short dialogues. None: "
        "always max_turns.",
    )
    teacher_turns: Share | Schedule = Field(
        0.0,
        description="Share of the tutor's turns that a teacher speaks in its place, drawn by the random seed, or a "
        "schedule of it by step. They are context: the tutor is not trained on them. Of several teachers the seed's "
        "first one with a weight above 0 speaks.",
    )
    subject: Name = Field(
        "math",
        description="What is taught, in the packaged prompts: 'You are a math tutor'. Prompt files of yours may "
        "use it as {subject}.",
    )
    opening: Opening = Field(
        "mistake",
        description="How a dialogue begins: the student says its mistake, or an attempt of its own on seeds without "
        "one ('mistake'), always an attempt ('attempt'), or a question ('question'); or the tutor begins ('tutor').",
    )
    endings: Several[tuple[EndingRule, ...]] = Field(
        (SolvedEnding(),),
        description="What ends a dialogue before max_turns: the answer of the student ('solved'), a phrase of either "
        "side, or a function of yours. Without 'solved', a dialogue goes on after the answer.",
    )
    students: Several[tuple[Student, ...]] = Field(
        (),
        description="Several simulated students; each dialogue has one of them, drawn by their shares. Empty: a single "
        "one, as the student_… fields say.",
    )
    student_profile: str = Field(
        DEFAULT_PROFILE, description="Who the student is, for seeds without a profile of their own."
    )
    tutor_prompt_file: PathText | None = Field(
        None, description="Text file with the tutor's system prompt. None: the packaged one."
    )
    student_prompt_file: PathText | None = Field(
        None, description="Text file with the student's system prompt. None: the packaged ones."
    )
