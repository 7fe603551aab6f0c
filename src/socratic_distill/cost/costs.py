"""The cost of a run: tokens by role and phase, times their prices. Pure.

A step's tokens are in its row of `metrics.jsonl`, an evaluation's in its file. These costs are not included: storage of
saved weights, requests of failed dialogues and failed evaluations, and steps whose rows were never written. A forward
pass is assumed to cost as much as training on the same tokens, since price lists have no price for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from socratic_distill.config.catalogue import KnownPrice, catalogue
from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.model_names import full_model_name
from socratic_distill.config.parts import Price
from socratic_distill.config.rewards import judge_rewards
from socratic_distill.config.teachers import plan_teachers
from socratic_distill.dialogues.dialogue import ModelRole, PromptUse
from socratic_distill.errors import ConfigError

PricedPhase = Literal["prefill", "cached_prefill", "sample", "forward", "train"]

_MILLION = 1_000_000
# Phases that are not priced under their own name.
_PRICED_AS = {"forward": "train"}


@dataclass(frozen=True)
class Use:
    """Tokens that a service bills.

    Attributes:
        role: role of the model that processes them.
        phase: how it processes them: "prefill" reads them for the first time, "cached_prefill" reads them from its
            cache, "sample" samples them, "forward" is a forward pass only, "train" trains on them.
        tokens: number of tokens.
    """

    role: ModelRole
    phase: PricedPhase
    tokens: float


@dataclass(frozen=True)
class Tariff:
    """The prices of a run's tokens.

    Attributes:
        prices: by role; None if the price of its model is not known, or its models have different prices.
        unknown: full names of the models without a known price, sorted.
        source: where the prices are from, in words.
    """

    prices: Mapping[ModelRole, Price | None]
    unknown: tuple[str, ...] = ()
    source: str = "the config's"

    def cost(self, uses: Iterable[Use]) -> float | None:
        """The cost of uses, USD; None if one of them has no known price."""
        total = 0.0
        for use in uses:
            if not use.tokens:
                continue
            price = self.prices.get(use.role)
            usd = None if price is None else getattr(price, _PRICED_AS.get(use.phase, use.phase))
            if usd is None:
                return None
            total += usd * use.tokens / _MILLION
        return total

    @property
    def what_is_unknown(self) -> str | None:
        """Which models have no known price, and how to give it; None if all have one."""
        if not self.unknown:
            return None
        return (
            f"no price is known for {', '.join(self.unknown)}: the cost is not estimated. Set prices="
            f"{{'{self.unknown[0]}': {{'prefill': …, 'sample': …, 'train': …}}}}, USD per million tokens"
        )

    @property
    def is_complete(self) -> bool:
        """Whether every role has a price."""
        return all(price is not None for price in self.prices.values())


def tariff_of(config: SocraticConfig) -> Tariff | None:
    """The prices of a run's tokens.

    The config's own prices take precedence over the packaged list. That holds the prices of Tinker's hosted service, so
    on another server only the config's prices are used.

    Returns:
        The tariff; None for a run in this process, which is not billed.
    """
    names = models_of(config)
    every = sorted({name for models in names.values() for name in models})
    known = prices_of(config, every)
    if known is None:
        return None
    by_role: dict[ModelRole, Price | None] = {
        role: _only([known.of.get(name) for name in sorted(models)]) for role, models in names.items()
    }
    return Tariff(by_role, tuple(name for name in every if name not in known.of), known.source)


@dataclass(frozen=True)
class Prices:
    """The prices of models.

    Attributes:
        of: by full name; models without a known price are left out.
        source: where the prices are from, in words.
    """

    of: Mapping[str, Price]
    source: str


def prices_of(config: SocraticConfig, models: Sequence[str]) -> Prices | None:
    """The prices of some models where a run's models are, by the rule of `tariff_of`.

    Args:
        config: the run.
        models: full names, sorted.

    Returns:
        The prices; None for a run in this process, which is not billed.
    """
    if config.base_url == "local":
        return None
    own = {full_model_name(name): _with_cached(price) for name, price in config.prices.items()}
    listed = (
        {} if config.base_url is not None else {name: catalogue().price(name) for name in models if name not in own}
    )
    of_list = {name: known for name, known in listed.items() if known is not None}
    source = "; ".join([*_sources(of_list), *["the config's"] * any(name in own for name in models)])
    return Prices(own | {name: known.price for name, known in of_list.items()}, source or "the config's")


def _sources(listed: Mapping[str, KnownPrice]) -> list[str]:
    """Where list prices are from: source and month, with the models that have them."""
    models: dict[tuple[str, str], list[str]] = {}
    for name, known in listed.items():
        models.setdefault((known.source, known.date), []).append(name)
    return [f"{source} of {date} ({', '.join(names)})" for (source, date), names in sorted(models.items())]


def _with_cached(price: Price) -> Price:
    if price.cached_prefill is not None:
        return price
    return price.model_copy(update={"cached_prefill": catalogue().cached_share * price.prefill})


def check_limit(config: SocraticConfig, tariff: Tariff | None) -> None:
    """Refuses a cost limit that cannot be checked.

    Raises:
        ConfigError: the config has `max_cost_usd`, and a price is not known.
    """
    if config.max_cost_usd is None or tariff is None or tariff.is_complete:
        return
    lacking = ", ".join(tariff.unknown) or "teachers of different prices"
    raise ConfigError(
        f"max_cost_usd={config.max_cost_usd} cannot be checked: no single price is known for {lacking}. Give it in "
        "prices={'<model>': {'prefill': …, 'sample': …, 'train': …}}, USD per million tokens, or leave max_cost_usd out"
    )


def models_of(config: SocraticConfig) -> dict[ModelRole, frozenset[str]]:
    """The models of each role, of a config with full names; only teachers and judges may be several."""
    models: dict[ModelRole, frozenset[str]] = {
        "tutor": frozenset({config.tutor_model_name}),
        "student": frozenset(student.model_name or config.student_model_name for student in config.students)
        or frozenset({config.student_model_name}),
        "teacher": frozenset(teacher.model_name for teacher in plan_teachers(config)),
    }
    judges = [judge for judge in (config.judge, config.answer_judge) if judge is not None]
    if judges := [*judges, *(judge for _, judge in judge_rewards(config.rewards))]:
        models["judge"] = frozenset(judge.model_name for judge in judges)
    return models


def request_uses(role: ModelRole, use: PromptUse) -> list[Use]:
    """The tokens of sampling and scoring requests."""
    return [
        Use(role, "prefill", use.sent - use.cached),
        Use(role, "cached_prefill", use.cached),
        Use(role, "sample", use.sampled),
    ]


def step_uses(metrics: Mapping[str, Any]) -> list[Use]:
    """The tokens of a step, from its row of `metrics.jsonl`."""
    uses = []
    for role in get_args(ModelRole):
        keys = (f"prompt_tokens/{role}", f"prompt_tokens/{role}_cached", f"sampled_tokens/{role}")
        uses += request_uses(role, PromptUse(*(metrics.get(key) or 0 for key in keys)))
    uses.append(Use("tutor", "forward", metrics.get("tokens/forward") or 0))
    uses.append(Use("tutor", "train", metrics.get("tokens/trained") or 0))
    return [use for use in uses if use.tokens]


def step_cost(metrics: Mapping[str, Any], tariff: Tariff | None) -> float | None:
    """The estimated cost of a step.

    Args:
        metrics: its row of `metrics.jsonl`.
        tariff: prices of the run; None for a run that is not billed by the token.

    Returns:
        USD; None without a tariff, or if a price is not known.
    """
    return None if tariff is None else tariff.cost(step_uses(metrics))


def evaluation_uses(tokens: Mapping[ModelRole, PromptUse]) -> list[Use]:
    """The tokens of an evaluation's requests, given by the role of the model."""
    return [use for role, of_role in tokens.items() for use in request_uses(role, of_role) if use.tokens]


def _only(prices: list[Price | None]) -> Price | None:
    """The price if all are the same, else None."""
    return prices[0] if all(price == prices[0] for price in prices) else None
