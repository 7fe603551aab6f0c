"""A suite as a user asked for it: its items, and of each tutor what it is and which answers are stored."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.model_names import full_model_name
from socratic_distill.config.paths import resolved
from socratic_distill.config.teachers import plan_teachers
from socratic_distill.config.trust import check_files
from socratic_distill.dialogues.seeds import seeds_of
from socratic_distill.errors import ConfigError
from socratic_distill.evaluation.judge import load_judge_prompt
from socratic_distill.evaluation.suites.catalogue import suite_named
from socratic_distill.evaluation.suites.suite import Asked, Item, Suite, Wish
from socratic_distill.evaluation.tutors import Weights

Path_ = str | PathLike[str]


@dataclass(frozen=True)
class Order:
    """A suite as a user asked for it.

    Attributes:
        suite: what is measured.
        wish: what the user asked for.
        items: the suite's items.
        notes: on what is left out.
    """

    suite: Suite
    wish: Wish
    items: list[Item]
    notes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The suite's name."""
        return self.suite.about.name


def order_of(
    config: SocraticConfig,
    suite: str,
    data: Path_,
    limit: int | None = None,
    max_tokens: int | None = None,
    reward_model: Path_ | None = None,
) -> Order:
    """Reads a suite's data.

    Args:
        config: the run.
        suite: as for `benchmark`; so are the others.
        data: the directory or file.
        limit: number of rows of each file.
        max_tokens: length limit of a tutor's replies.
        reward_model: directory of the reward model.

    Raises:
        ConfigError: a limit is not positive, or a judge is measured and the config has none.
        SuiteError: there is no such suite, or its data cannot be read.
        UntrustedConfig: the config was read from a run directory, and names files that the user did not allow.
    """
    measured = suite_named(suite)
    for name, value in (("limit", limit), ("max_tokens", max_tokens)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value}; expected at least 1, or None")
    prompt, training = "", frozenset[str]()
    if measured.measures_judge:
        if config.judge is None:
            raise ConfigError(f"the suite {suite!r} measures a judge, and the config has none; set judge to its model")
        check_files(config, "judge")
        prompt = load_judge_prompt(config.judge.prompt_file, config.subject)
        training = frozenset(seed.question for seed in seeds_of(config))
    model = None if reward_model is None else Path(resolved(reward_model))
    wish = Wish(Path(resolved(data)), limit, max_tokens, config.seed, model, prompt, training, config.judge is not None)
    items, notes = measured.items(wish)
    if max_tokens is not None:
        items = [dataclasses.replace(item, max_tokens=min(item.max_tokens, max_tokens)) for item in items]
    return Order(measured, wish, items, tuple(notes))


def check_tutors(tutors: Sequence[str], suite: Suite) -> None:
    """Refuses what are no names of tutors.

    Raises:
        ConfigError: there is no name where one is needed, or one occurs twice.
    """
    if isinstance(tutors, str) or (not tutors and not suite.measures_judge) or len(set(tutors)) < len(tutors):
        raise ConfigError(
            f'tutors is {tutors!r}; expected one or more names, each once, such as ["base", "teacher", "final"]'
        )


@dataclass(frozen=True)
class Model:
    """What the name of a tutor stands for, where this is known without the service.

    Attributes:
        base: its base model, which has a price; of weights that are given by path the config's tutor.
        identity: its weights or its model; decides, with the items, whose answers are stored.
    """

    base: str
    identity: str


def model_of(config: SocraticConfig, name: str, weights: Weights | None) -> Model:
    """What the name of a tutor stands for; None of the teachers counts as a model's name.

    Args:
        config: the run, with full model names.
        name: as for `compare`.
        weights: as `named_weights` gives them.
    """
    if weights is not None:
        return Model(config.tutor_model_name, weights.path)
    plans = plan_teachers(config)
    wanted = name.removeprefix("teacher").removeprefix(":") or plans[0].name
    plan = next((plan for plan in plans if plan.name == wanted), None)
    if plan is not None and (name == "teacher" or name.startswith("teacher:")):
        # One that lags behind the tutor has the untrained model's weights here, as in `evaluate`.
        base = config.tutor_model_name if plan.lag_steps is not None else plan.model_name
        return Model(base, base if plan.checkpoint_path is None else resolved(plan.checkpoint_path))
    model = full_model_name(config.tutor_model_name if name == "base" else name)
    return Model(model, model)


def asker_of(role: Asked, config: SocraticConfig, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a model's answers besides the items; JSON.

    Args:
        role: who is asked.
        config: the run.
        identity: the model, its weights, and how it samples.
    """
    return {"role": role, "seed": config.seed, **identity}


def judge_identity(config: SocraticConfig) -> dict[str, Any]:
    """What decides a judge's verdicts: its model, how it samples, and its prompt file; JSON."""
    assert config.judge is not None, "the config has a judge"
    return config.judge.model_dump(mode="json")
