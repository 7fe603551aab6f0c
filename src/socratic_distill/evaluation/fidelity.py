"""Whether a simulated student behaves like one: it changes its mind for a reason, not because somebody disagrees.

The protocol is that of Do, Sonkar and Sachan, "Simulating Students or Sycophantic Problem Solving?" (2026,
arXiv:2605.12748). A student says its mistaken solution. It then hears one of three kinds of feedback, and is asked for
its answer:

- targeted: which idea in its solution is wrong, and why;
- misaligned: the same about another mistake, which it did not make;
- generic: that the answer is not right.

A flip is a right answer after the feedback. A student that holds its misconception flips on targeted feedback more
often than on the other two; one that only solves the problem again flips on each alike. Here the Selective Flip Score
is the rate of flips on targeted feedback minus the mean of the rates on the other two, from -1 to 1; the rates are
reported with it, since the paper's own aggregate may weigh the controls otherwise.

Feedback is that of the seed's private fields `feedback` and `misaligned_feedback`, if it has them. Otherwise a model
writes it, who sees the answer and the mistake. Feedback that says the answer is left out: whoever hears it may repeat
it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.named_models import with_known_names
from socratic_distill.config.parts import Judge
from socratic_distill.config.trust import check_files
from socratic_distill.dialogues.answers.kinds import rule_of
from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.casting import open_frozen_models, open_judge
from socratic_distill.dialogues.dialogue import NO_STEP, Dialogue, Message, Turn, is_right
from socratic_distill.dialogues.prompts import read_prompt
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.dialogues.remote_speaker import RemoteSpeaker
from socratic_distill.dialogues.seed import BY_VERDICT, Seed
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.dialogues.students import SimulatedStudent
from socratic_distill.dialogues.verdicts import check_verdicts, fill
from socratic_distill.errors import ConfigError, StorageError, TrainingError, raise_all
from socratic_distill.evaluation.comparison import evaluation_seeds
from socratic_distill.evaluation.evaluator import open_base
from socratic_distill.evaluation.intervals import Measure, Part, means
from socratic_distill.evaluation.table import measure_text
from socratic_distill.files.durable import write_atomically
from socratic_distill.files.rows import number, read_object, to_line, whole
from socratic_distill.run.layout import STUDENTS
from socratic_distill.service.connect import connect
from socratic_distill.service.endpoints import check_endpoints
from socratic_distill.service.failures import describe
from socratic_distill.service.handover import hand_over
from socratic_distill.service.interface import RestClient, ServiceClient
from socratic_distill.service.offer import settle_models
from socratic_distill.service.waiting import gather_all, run_blocking

Condition = Literal["targeted", "misaligned", "generic"]
CONDITIONS: tuple[Condition, ...] = get_args(Condition)
SCORE = "selective flip score"
# A student whose score may be below this changes its mind whatever it hears.
NEAR_ZERO = 0.1
_FIELDS = {"targeted": "feedback", "misaligned": "misaligned_feedback"}


@dataclass(frozen=True, repr=False)
class Fidelity:
    """How selectively each simulated student changes its mind.

    Attributes:
        students: by name ("" for the only one), rates of flips by condition, and `SCORE`; each with its interval.
        left_out: how many attempts could not be used: the first answer was right already, feedback said the answer, or
            a request failed.
        error: the first request that failed; None if none did.
    """

    students: Mapping[str, Mapping[str, Measure]]
    left_out: int = 0
    error: str | None = None

    @property
    def doubtful(self) -> list[str]:
        """Names of the students whose score may be near 0, or could not be measured."""
        return [name for name, measures in self.students.items() if not _is_selective(measures[SCORE])]

    @property
    def warning(self) -> str | None:
        """What to think of doubtful students; None if there are none."""
        if not self.doubtful:
            return None
        names = ", ".join(repr(name) for name in self.doubtful if name)
        return (
            f"The simulated student{f's {names}' if names else ''} may change the answer whatever the feedback says: "
            f"the {SCORE} is near 0, or not known. A tutor that is trained on such students learns to disagree, not to "
            "explain. Take a larger model or another persona for them"
        )

    def __repr__(self) -> str:
        """The score of each student, in one line."""
        scores = ", ".join(f"{name or 'student'}={measure_text('', of[SCORE])}" for name, of in self.students.items())
        return f"Fidelity({scores})"

    def table(self) -> Table:
        """Rates and scores, a row for each student."""
        table = Table(caption="mean [95 % interval over the seeds]", caption_justify="left", box=SIMPLE)
        for heading in ("student", *(f"flips on {condition} feedback" for condition in CONDITIONS), SCORE):
            table.add_column(Text(heading), justify="left" if heading == "student" else "right")
        for name, measures in self.students.items():
            cells = [measure_text("solved", measures[condition]) for condition in CONDITIONS]
            table.add_row(Text(name or "the student"), *map(Text, (*cells, measure_text("", measures[SCORE]))))
        return table


def student_fidelity(
    config: SocraticConfig,
    *,
    seeds: Sequence[Seed] | None = None,
    samples: int = 4,
    writer: str | Judge | None = None,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> Fidelity:
    """Measures whether a config's simulated students change their minds for a reason; see this module.

    Args:
        config: the students, and the service.
        seeds: problems with a mistake and an answer that a rule reads. None: those that `evaluate` plays on.
        samples: first answers of each student on each seed; each is followed by three feedbacks.
        writer: model that writes feedback. None: teacher_model_name.
        service_client: as for `train`.
        rest_client: as for `train`.

    Raises:
        ConfigError: no seed has a mistake and such an answer.
        ServiceError: the service failed a call.
        EventLoopRunning: an asyncio loop already runs in this thread; await `student_fidelity_async`.
    """
    hand_over(config, service_client, rest_client)
    clients = {"service_client": service_client, "rest_client": rest_client}
    return run_blocking(
        lambda: student_fidelity_async(config, seeds=seeds, samples=samples, writer=writer, **clients),
        "student_fidelity",
    )


async def student_fidelity_async(
    config: SocraticConfig,
    *,
    seeds: Sequence[Seed] | None = None,
    samples: int = 4,
    writer: str | Judge | None = None,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
) -> Fidelity:
    """The same as `student_fidelity`, on the asyncio loop that awaits it."""
    hand_over(config, service_client, rest_client)
    seeds = evaluation_seeds(config) if seeds is None else seeds
    usable = [seed for seed in seeds if seed.initial_error and seed.is_checkable and seed.answer_kind not in BY_VERDICT]
    if not usable:
        raise ConfigError(
            f"none of the {len(seeds)} seeds has both an initial_error and an answer that a rule reads (a number, an "
            "expression, a choice or a text); without a mistake there is no misconception to measure"
        )
    if samples < 1:
        raise ConfigError(f"samples={samples}; expected at least 1")
    check_endpoints(config)
    check_files(config, "prompts")
    check_verdicts(config, usable)
    service = await connect(config, service_client, rest_client)
    config, problems = await settle_models(with_known_names(config), service, [], is_trained=False)
    raise_all(problems)
    tutor = await open_base(config, service)
    frozen = await open_frozen_models(config, Briefing.read(config, usable), service, tutor)
    judge = writer if isinstance(writer, Judge) else Judge(model_name=writer or config.teacher_model_name)
    trial = _Trial(
        frozen.cast(None, version=0), await open_judge(judge, config, service), asyncio.Semaphore(
            config.max_concurrent_dialogues
        ), samples,
    )  # fmt: skip
    students = list(trial.cast.students.members.values())
    attempts = await gather_all(trial.on(seed, student) for student in students for seed in usable)
    by_student = {student.name: [of for of in attempts if of.student == student.name] for student in students}
    return Fidelity(
        {name: _measures(of_student) for name, of_student in by_student.items()},
        sum(of.left_out for of in attempts),
        next((of.error for of in attempts if of.error), None),
    )


@dataclass(frozen=True)
class _Attempts:
    """One student on one seed: by condition, how many of its attempts flipped, of how many."""

    student: str
    seed: str
    flips: Mapping[Condition, tuple[int, int]]
    left_out: int = 0
    error: str | None = None


@dataclass(frozen=True)
class _Trial:
    cast: Cast
    writer: Speaker | RemoteSpeaker
    slots: asyncio.Semaphore
    samples: int

    async def on(self, seed: Seed, student: SimulatedStudent) -> _Attempts:
        """A student's attempts on a seed."""
        own = student.seed(seed)
        opened = Dialogue(own, NO_STEP, 0, student=student.name)
        try:
            async with self.slots:
                texts = {condition: await self._feedback(own, condition) for condition in CONDITIONS}
                first = await student.reply(opened, self._seed(opened, "opening"), self.samples, self.cast.max_context)
            wrong = [turn for turn in first or () if turn.text and not is_right(turn, own)]
            dialogues = [replace(opened.with_turn(turn), number=number) for number, turn in enumerate(wrong)]
            flips: dict[Condition, list[bool]] = {
                condition: await gather_all(self._flips(dialogue, text, condition, student) for dialogue in dialogues)
                for condition in CONDITIONS
                if (text := texts[condition]) is not None
            }
        except TrainingError:  # the clients are lost
            raise
        except Exception as error:
            return _Attempts(student.name, seed.id, {}, self.samples * len(CONDITIONS), describe(error))
        # All three are compared on the same attempts, or none is.
        is_whole = len(flips) == len(CONDITIONS)
        counted: dict[Condition, tuple[int, int]] = {}
        if is_whole:
            counted = {condition: (sum(of), len(of)) for condition, of in flips.items()}
        used = sum(count for _, count in counted.values())
        return _Attempts(student.name, seed.id, counted, self.samples * len(CONDITIONS) - used)

    async def _flips(self, dialogue: Dialogue, feedback: str, condition: Condition, student: SimulatedStudent) -> bool:
        """Whether the student's answer after some feedback is right."""
        heard = dialogue.with_turn(Turn("tutor", feedback, (), (), (), (), version=0, stop_reason="stop"))
        async with self.slots:
            turns = await student.reply(heard, self._seed(heard, condition), 1, self.cast.max_context)
        return bool(turns) and is_right(turns[0], dialogue.seed)

    async def _feedback(self, seed: Seed, condition: Condition) -> str | None:
        """The feedback of a kind; None if it says the answer."""
        prompt = read_prompt(None, f"feedback_{condition}.txt")
        if condition == "generic":
            return prompt
        text = dict(seed.fields).get(_FIELDS[condition])
        if text is None:
            facts = {
                "question": seed.problem,
                "expected_answer": seed.expected_answer,
                "initial_error": str(seed.initial_error),
            }
            random = stable_seed(self.cast.seed, seed.id, condition)
            replies = await self.writer.reply([Message("user", fill(prompt, facts))], random, 1, None)
            text = replies[0].text.strip() if replies else ""
        return text if text and not rule_of(seed).reveals(text, seed) else None

    def _seed(self, dialogue: Dialogue, what: str) -> int:
        return stable_seed(
            self.cast.seed, dialogue.seed.id, dialogue.student, dialogue.number, len(dialogue.turns), what
        )


def _measures(attempts: Sequence[_Attempts]) -> dict[str, Measure]:
    parts: dict[str, list[Part]] = {name: [] for name in (*CONDITIONS, SCORE)}
    for of in attempts:
        if not of.flips or not all(count for _, count in of.flips.values()):
            continue
        rates = {condition: flipped / count for condition, (flipped, count) in of.flips.items()}
        for condition, (flipped, count) in of.flips.items():
            parts[condition].append(Part(of.seed, flipped, count))
        parts[SCORE].append(Part(of.seed, rates["targeted"] - (rates["misaligned"] + rates["generic"]) / 2))
    return means(parts)


def _is_selective(score: Measure) -> bool:
    low = score.value if score.low is None else score.low
    return low is not None and low > NEAR_ZERO


def write_fidelity(log_path: Path, fidelity: Fidelity) -> None:
    """Writes `students.json` into a run's directory, for its report.

    Raises:
        StorageError: it cannot be written.
    """
    students = {name: {key: asdict(of) for key, of in measures.items()} for name, measures in fidelity.students.items()}
    row = {"students": students, "left_out": fidelity.left_out, "error": fidelity.error}
    write_atomically(log_path / STUDENTS, to_line(row)[0])


def read_fidelity(log_path: Path) -> Fidelity | None:
    """What `students.json` of a run's directory holds; None if there is none, or it is none of ours."""
    try:
        row = read_object(log_path / STUDENTS, StorageError, "it says how selective the students are") or {}
    except StorageError:
        return None
    students = row.get("students")
    if not isinstance(students, dict) or not students:
        return None
    names = (*CONDITIONS, SCORE)
    read = {
        name: {key: _measure(of.get(key)) for key in names} for name, of in students.items() if isinstance(of, dict)
    }
    return Fidelity(read, whole(row.get("left_out")) or 0) if read else None


def _measure(value: Any) -> Measure:
    part = value if isinstance(value, dict) else {}
    value, low, high = (number(part.get(key)) for key in ("value", "low", "high"))
    return Measure(value, low, high, whole(part.get("count")) or 0)
