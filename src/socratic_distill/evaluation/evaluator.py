"""Plays the same dialogues with one tutor after another, and measures them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import count, zip_longest
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.trust import check_files
from socratic_distill.config.wanted import Wanted
from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.casting import FrozenModels, open_frozen_models, open_judge
from socratic_distill.dialogues.compatibility import check_room
from socratic_distill.dialogues.dialogue import NO_STEP, NOTHING_SENT, ModelRole, PromptUse
from socratic_distill.dialogues.remote_speaker import RemoteSpeaker
from socratic_distill.dialogues.rollout import check_failures, play_batch
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.dialogues.stored import StoredDialogue
from socratic_distill.distillation.rows import dialogue_row, dialogue_uses
from socratic_distill.distillation.scorer import Scorer
from socratic_distill.distillation.scoring import ScoredDialogue, score_batch
from socratic_distill.evaluation.intervals import Measure, means
from socratic_distill.evaluation.judge import Verdict, judge_dialogues, judge_parts, load_judge_prompt
from socratic_distill.evaluation.measures import parts_of
from socratic_distill.evaluation.measures_html import brief, measures_html
from socratic_distill.evaluation.paired import BySeed, sums_by_seed
from socratic_distill.evaluation.solving import solve_parts, solve_rates
from socratic_distill.service.connect import Service, open_sampling_client
from socratic_distill.service.interface import SamplingClient

Judging = tuple[Speaker | RemoteSpeaker, str]
Progress = Callable[[str, int, int], None]
"""Is called with a tutor's name, how many of its dialogues were played, and how many there are."""


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The measures and dialogues of one tutor.

    Attributes:
        name: name of the tutor in a comparison.
        tutor: its sampler weights or base model.
        measures: by name; `socratic_distill.evaluation.MEASURES` describes each.
        dialogues: the dialogues, with the scores of the tutor's tokens.
        verdicts: the judge's verdict on each dialogue; empty without a judge.
        pieces: returns the text of each of a tutor turn's tokens.
        tokens: cost of its requests by role: "tutor", "student", "teacher", and "judge" if there was one.
        batch: the run saved these weights before this batch; None for a model, a teacher, or weights given by path.
        by_seed: for each measure and seed, the sum of its values, and how many there are; for `paired_differences`.
    """

    name: str
    tutor: str
    measures: Mapping[str, Measure]
    dialogues: tuple[ScoredDialogue, ...]
    verdicts: tuple[Verdict | None, ...]
    pieces: Callable[[Sequence[int]], list[str]]
    tokens: Mapping[ModelRole, PromptUse] = field(default_factory=dict)
    batch: int | None = None
    by_seed: Mapping[str, BySeed] = field(default_factory=dict)

    def __repr__(self) -> str:
        """What was measured, and the main measures, in one line."""
        return f"Evaluation({self.name!r}, dialogues={len(self.dialogues)}{brief(self.measures)})"

    def _repr_html_(self) -> str:
        """The measures as a table, for notebooks."""
        notes = (self.tutor, f"{len(self.dialogues)} dialogues")
        return measures_html(f"Evaluation of {self.name}", {self.name: self.measures}, *notes)

    def dialogue(self, place: int) -> StoredDialogue:
        """One of its dialogues, to read.

        Args:
            place: number of the dialogue, from 0; a negative one counts from the end.
        """
        return StoredDialogue(dialogue_row(self.dialogues[place], self.pieces))

    def value(self, name: str) -> float | None:
        """The value of a measure; None if there was nothing to measure.

        Args:
            name: as in `socratic_distill.evaluation.MEASURES`.

        Raises:
            KeyError: there is no measure of this name.
        """
        return self.measures[name].value

    def row(self) -> dict[str, Any]:
        """The evaluation as JSON: its measures, and its dialogues in the format of `dialogues.jsonl`."""
        seeds = len({scores.dialogue.seed.id for scores in self.dialogues})
        return {
            "name": self.name,
            "tutor": self.tutor,
            "batch": self.batch,
            "seeds": seeds,
            "dialogues_per_seed": len(self.dialogues) // seeds,
            "measures": {name: asdict(result) for name, result in self.measures.items()},
            "tokens": {role: asdict(use) for role, use in self.tokens.items()},
            "by_seed": self.by_seed,
            "dialogues": [
                dialogue_row(scores, self.pieces) | ({"verdict": asdict(verdict)} if verdict else {})
                for scores, verdict in zip_longest(self.dialogues, self.verdicts)
            ],
        }


@dataclass(frozen=True)
class Candidate:
    """A tutor to measure.

    Attributes:
        name: its name in a comparison.
        tutor: its sampler weights or base model.
        client: a sampling client on it; None for a teacher, which has a client.
        teacher: name of the teacher to measure, with its own prompt; None for a tutor, with the tutor's prompt.
        batch: the run saved its weights before this batch; None for others.
    """

    name: str
    tutor: str
    client: SamplingClient | None
    teacher: str | None = None
    batch: int | None = None


class Evaluator:
    """Student, teachers, judge and seeds, opened once for all tutors of one base model."""

    def __init__(
        self, config: SocraticConfig, frozen: FrozenModels, judge: Judging | None, seeds: Sequence[Seed]
    ) -> None:
        """Takes opened models; see `open`.

        Args:
            config: models, prompts and limits.
            frozen: student and teachers.
            judge: judge of whether the answer was given away, with its prompt; None: no judge.
            seeds: seeds to play on.
        """
        self._frozen = frozen
        self._seeds = seeds
        self._config = config
        self._judge = judge
        self._scorer = Scorer.for_server(config.base_url)

    @classmethod
    async def open(
        cls, config: SocraticConfig, briefing: Briefing, service: Service, tutor: SamplingClient, seeds: Sequence[Seed]
    ) -> "Evaluator":
        """Opens all models except the tutor.

        Args:
            config: models and limits, with full model names.
            briefing: teachers, their seeds, and prompts.
            service: service that runs the models.
            tutor: a sampling client of a tutor, for its tokenizer.
            seeds: seeds to play on.

        Raises:
            ConfigError: a prompt file or a tokenizer cannot be used, or a seed has no teacher or no room.
            RenderingError: the models' tokens or templates do not fit.
            ServiceError: the service failed a call.
        """
        frozen = await open_frozen_models(config, briefing, service, tutor)
        if any(member.lag_steps for member in frozen.teachers.members.values()):
            # Here a lagged teacher scores with the base model, so that every tutor meets the same weights.
            frozen.teachers.keep_tutor(0, await open_base(config, service), oldest=0)
        check_room(frozen.cast(tutor, version=0, wanted=Wanted()), seeds)
        return cls(config, frozen, await _open_judge(config, service), seeds)

    async def measure(self, candidate: Candidate, progress: Progress | None = None) -> Evaluation:
        """Plays the dialogues, scores and measures them. The same candidate gives the same result.

        Args:
            candidate: the tutor.
            progress: called after each dialogue; see `Progress`.

        Raises:
            RolloutError: more than `config.max_failed_fraction` of the dialogues failed.
        """
        config, cast = self._config, self._cast(candidate)
        concurrency = config.max_concurrent_dialogues
        per_seed = config.eval_dialogues_per_seed
        done = _counter(candidate.name, len(self._seeds) * per_seed, progress)
        played = await play_batch(self._seeds, NO_STEP, per_seed, cast, concurrency, done)
        scored = await score_batch(played, cast, self._scorer, concurrency)
        dialogues = [scores.dialogue for scores in scored]
        check_failures(dialogues, config.max_failed_fraction)
        # In a thread, since the intervals of thousands of dialogues would block the event loop.
        parts = await asyncio.to_thread(parts_of, scored)
        measures, verdicts = await asyncio.to_thread(means, parts), list[Verdict | None]()
        tokens, tried, judged = dialogue_uses(scored), list[PromptUse](), list[PromptUse]()
        if self._judge is not None:
            judge, prompt = replace(self._judge[0], on_use=judged.append), self._judge[1]
            verdicts = await judge_dialogues(dialogues, judge, config.seed, concurrency, prompt)
            parts |= (of_judge := judge_parts(verdicts, dialogues))
            measures |= means(of_judge)
        if config.eval_solve_samples:
            asked = replace(cast, students=cast.students.counted(tried.append))
            if cast.verdicts is not None and cast.verdicts.judge is not None:
                asked = replace(asked, verdicts=cast.verdicts.counted(judged.append))
            rates = await solve_rates(dialogues, asked, config.eval_solve_samples, concurrency)
            parts |= (of_attempts := solve_parts(rates, dialogues))
            measures |= means(of_attempts)
        tokens["student"] = sum(tried, tokens["student"])
        if judged:
            tokens["judge"] = sum(judged, tokens.get("judge", NOTHING_SENT))
        return Evaluation(
            candidate.name,
            candidate.tutor,
            measures,
            tuple(scored),
            tuple(verdicts),
            self._frozen.pieces,
            tokens,
            candidate.batch,
            sums_by_seed(parts),
        )

    def _cast(self, candidate: Candidate) -> Cast:
        if candidate.client is not None:
            return self._frozen.cast(candidate.client, version=0, wanted=Wanted())
        assert candidate.teacher is not None, "a candidate has a client of its own or is a teacher"
        member = self._frozen.teachers.members[candidate.teacher]
        cast = self._frozen.cast(self._frozen.teachers.client(member, NO_STEP), version=0, wanted=Wanted())
        return replace(cast, tutor=replace(cast.tutor, renderer=member.renderer), tutor_as=member.name)


def _counter(name: str, total: int, progress: Progress | None) -> Callable[[], None] | None:
    """A function that counts a tutor's dialogues and reports each; None without a progress function."""
    if progress is None:
        return None
    numbers = count(1)
    return lambda: progress(name, next(numbers), total)


async def open_base(config: SocraticConfig, service: Service, model: str | None = None) -> SamplingClient:
    """A sampling client on a base model; without a name, on the tutor's base model.

    Raises:
        ServiceError: the service failed the call.
    """
    name = model or config.tutor_model_name
    return await open_sampling_client(service.client, f"the model {name!r}", base_model=name)


async def _open_judge(config: SocraticConfig, service: Service) -> Judging | None:
    judge = config.judge
    if judge is None:
        return None
    check_files(config, "judge")
    prompt = load_judge_prompt(judge.prompt_file, config.subject)
    return await open_judge(judge, config, service), prompt
