"""Task rewards of a dialogue.

A reward says how good a whole dialogue was. Training compares it with the other dialogues on the same seed, by the
group-centred advantage of GRPO (Shao et al., "DeepSeekMath", 2024):

    A_i = r_i - mean(r_1 … r_n)

It is the same for every token of dialogue i. GRPO also divides by the group's standard deviation. This library does not
(Liu et al., "Understanding R1-Zero-Like Training", 2025): seeds on which nearly all dialogues get the same reward, too
easy or too hard ones, would then have the largest influence. It would also cancel the size of the rewards, which their
weights and `reward_coef` set.

Rewards by a model need requests: the student's attempts at the problem, and the verdicts of judges. They are made when
the dialogue has ended, while the teachers score it.
"""

import asyncio
import inspect
import math
import reprlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.functions import import_function
from socratic_distill.config.rewards import (
    FunctionReward,
    OutcomeReward,
    Reward,
    SolveRateReward,
    judge_rewards,
    reward_names,
)
from socratic_distill.config.trust import check_code, check_files
from socratic_distill.dialogues.attempts import Attempts, attempts_after, attempts_before
from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.dialogue import NOTHING_SENT, Dialogue, PromptUse
from socratic_distill.dialogues.remote_speaker import RemoteSpeaker
from socratic_distill.dialogues.reward_judges import Brief, judgement, load_brief
from socratic_distill.dialogues.reward_sums import Terms, is_rejected, terms_of
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.errors import RolloutError
from socratic_distill.service.waiting import gather_all

RewardFunction = Callable[[Dialogue], Awaitable[float]]

# Multiplied by `reward_coef` and squared, as optimizers do, it still fits a 32-bit float.
_LARGEST = 1e12
_EXPECTED = (
    "takes a Dialogue and returns a number, as in `def {name}(dialogue): return 1.0 if dialogue.solved else 0.0`"
)


@dataclass(frozen=True)
class Given:
    """What one reward gives a dialogue.

    Attributes:
        value: the number; None if there is none, such as from a judge without a verdict.
        student: cost of the student's requests.
        judge: cost of the judges' requests.
        is_unparsed: whether a judge was asked and gave no verdict.
    """

    value: float | None
    student: PromptUse = NOTHING_SENT
    judge: PromptUse = NOTHING_SENT
    is_unparsed: bool = False


@dataclass(frozen=True)
class Rewarded:
    """What a config's rewards give a dialogue.

    Attributes:
        values: by name of the reward, in the config's order; None: no value.
        terms: the terms of their sum.
        unparsed: by judge, whether it was asked and gave no verdict.
        is_rejected: whether a veto rejects the dialogue; None: no reward has a veto.
        student: cost of the student's requests.
        judge: cost of the judges' requests.
        span: when the first request began and the last one ended, seconds on the loop's clock; None: no request.
    """

    values: Mapping[str, float | None]
    terms: Terms
    unparsed: Mapping[str, bool] = field(default_factory=dict)
    is_rejected: bool | None = None
    student: PromptUse = NOTHING_SENT
    judge: PromptUse = NOTHING_SENT
    span: tuple[float, float] | None = field(default=None, compare=False)

    @property
    def total(self) -> float:
        """The dialogue's reward: the sum, without the values that are not known."""
        return self.terms.total


@dataclass(frozen=True)
class Rewards:
    """The rewards of a config, ready to be given.

    Attributes:
        config: the run's config.
        judges: the models of its judges, by the judge's name.
    """

    config: SocraticConfig
    judges: Mapping[str, Speaker | RemoteSpeaker]
    _functions: Mapping[int, RewardFunction]
    _briefs: Mapping[int, Brief]

    @property
    def needs_before(self) -> bool:
        """Whether `before` asks anything."""
        return self._less_before is not None

    @property
    def _less_before(self) -> SolveRateReward | None:
        rates = (reward for reward in self.config.rewards if reward.kind == "solve_rate" and reward.less_before)
        return next(rates, None)

    async def before(self, group: Sequence[Dialogue], cast: Cast) -> dict[int, Attempts]:
        """What is sampled for a group before its tutor speaks, since it does not depend on the tutor.

        Args:
            group: the dialogues on a seed.
            cast: their student.

        Returns:
            The student's attempts, by the dialogue's number. Dialogues with the same student share one request, whose
            cost is counted at the first of them.

        Raises:
            Exception: as the failed request.
        """
        reward = self._less_before
        if reward is None or not group[0].seed.is_checkable:
            return {}
        heads: dict[str, Dialogue] = {}
        for dialogue in group:
            heads.setdefault(dialogue.student, dialogue)
        made = await gather_all(attempts_before(head, cast, reward.samples) for head in heads.values())
        by_student = dict(zip(heads, made, strict=True))
        return {
            dialogue.number: by_student[dialogue.student]
            if heads[dialogue.student] is dialogue
            else Attempts(by_student[dialogue.student].right)
            for dialogue in group
        }

    async def of(self, dialogue: Dialogue, cast: Cast, before: Attempts | None = None) -> Rewarded:
        """What the rewards give a dialogue that has ended.

        Args:
            dialogue: as played.
            cast: its participants.
            before: the student's attempts before it, if a reward needs them.

        Raises:
            RolloutError: a reward function raises an error, takes too long or returns no finite number, or a judge
                fails; the message names it and the dialogue.
            TrainingError: the service lost its clients.
            Exception: as a failed request of the student.
        """
        now = asyncio.get_running_loop().time
        rewards, began = self.config.rewards, now()
        given = await gather_all(
            self._give(index, reward, dialogue, cast, before) for index, reward in enumerate(rewards)
        )
        names, values = reward_names(rewards), [part.value for part in given]
        terms = terms_of(rewards, values)
        if not terms.size <= _LARGEST:
            raise RolloutError(
                f"the rewards of {_named(dialogue)} add up to {terms.size:g}; expected at most {_LARGEST:g}; lower "
                "their weights"
            )
        return Rewarded(
            dict(zip(names, values, strict=True)),
            terms,
            {reward.name: given[index].is_unparsed for index, reward in judge_rewards(rewards)},
            is_rejected(rewards, values),
            sum((part.student for part in given), NOTHING_SENT),
            sum((part.judge for part in given), NOTHING_SENT),
            (began, now()) if any(reward.kind in ("solve_rate", "judge") for reward in rewards) else None,
        )

    async def _give(self, index: int, reward: Reward, dialogue: Dialogue, cast: Cast, before: Attempts | None) -> Given:
        if reward.kind == "function":
            return Given(await self._functions[index](dialogue))
        if reward.kind == "judge":
            verdict = await judgement(self._briefs[index], self.judges[reward.name], dialogue, cast.seed)
            return Given(verdict.accepted, judge=verdict.use, is_unparsed=verdict.is_unparsed)
        if reward.kind == "solve_rate":
            return await _solve_rate(reward, dialogue, cast, before)
        return Given(_of_outcome(reward, dialogue, self.config.max_turns))


def load_rewards(config: SocraticConfig) -> Rewards | None:
    """The rewards of a config, their judges not opened yet; None: no rewards.

    Raises:
        ConfigError: a reward function cannot be imported or called, or a judge's prompt or rubric cannot be used; the
            message says what to write instead.
        UntrustedConfig: the config was read from a run directory, and its code or files are not allowed.
    """
    if not config.rewards:
        return None
    check_code(config, "rewards")
    check_files(config, "rewards")
    functions = {
        index: _checked(reward, config.answer_timeout_seconds)
        for index, reward in enumerate(config.rewards)
        if reward.kind == "function"
    }
    briefs = {index: load_brief(reward, config.subject) for index, reward in judge_rewards(config.rewards)}
    return Rewards(config, {}, functions, briefs)


async def _solve_rate(reward: SolveRateReward, dialogue: Dialogue, cast: Cast, before: Attempts | None) -> Given:
    if not dialogue.seed.is_checkable:
        return Given(None)
    after = await attempts_after(dialogue, cast, reward.samples)
    if not reward.less_before:
        return Given(after.right, after.use, after.judged)
    assert before is not None, "what was sampled before the dialogue is given with it"
    value = None if after.right is None or before.right is None else after.right - before.right
    return Given(value, before.use + after.use, before.judged + after.judged)


def _of_outcome(reward: OutcomeReward, dialogue: Dialogue, max_turns: int) -> float:
    if reward.kind == "solved":
        return float(dialogue.solved)
    if reward.kind == "not_telling":
        return float(not dialogue.told)
    return 1.0 - dialogue.played_turns / max_turns


def _checked(reward: FunctionReward, seconds: float | None) -> RewardFunction:
    path = reward.function
    function: Callable[[Dialogue], Any] = import_function(path, "reward function", _EXPECTED, may_be_async=True)

    async def checked(dialogue: Dialogue) -> float:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                result = function(dialogue)
                if inspect.isawaitable(result):
                    result = await result
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # the run ends; otherwise the function was cancelled by its own doing
            if isinstance(error, TimeoutError) and limit.expired():
                raise RolloutError(
                    f"reward function {path!r} gave no answer on {_named(dialogue)} in {seconds:g} seconds "
                    "(answer_timeout_seconds)"
                ) from error
            raise RolloutError(
                f"reward function {path!r} raised {type(error).__name__}: {error}, on {_named(dialogue)}"
            ) from error
        number = _number(result)
        if number is None or not math.isfinite(number):
            shown = reprlib.repr(result) if number is None else f"{number}"
            raise RolloutError(
                f"reward function {path!r} returned {shown} on {_named(dialogue)}; expected a finite number, as an "
                "int, float or bool"
            )
        return number

    return checked


def _number(value: object) -> float | None:
    """A number as a float, infinite if it is too large for one; None if the value is not a number."""
    if not isinstance(value, (Real, np.bool_)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _named(dialogue: Dialogue) -> str:
    return f"dialogue {dialogue.number} on seed {dialogue.seed.id!r}"
