"""What a run costs: tokens by role and phase, times their prices. Pure.

A step's tokens are those of its row of `metrics.jsonl`, an evaluation's those of its file. Left out are the storage of
saved weights, requests of dialogues and evaluations that failed, and steps whose rows were never written. A pass
forward is taken to cost what training on the same tokens does, since price lists name no price of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.model_names import full_model_name
from socratic_distill.config.parts import Price
from socratic_distill.config.teachers import plan_teachers
from socratic_distill.cost.prices import PriceList
from socratic_distill.dialogues.dialogue import ModelRole, PromptUse
from socratic_distill.errors import ConfigError
from socratic_distill.text import get_logger

_log = get_logger(__name__)


Phase = Literal["prefill", "cached_prefill", "sample", "forward", "train"]

_MILLION = 1_000_000
# Phases that are not priced under their own name.
_PRICED_AS = {"forward": "train"}


@dataclass(frozen=True)
class Use:
    """Tokens that a service bills for.

    Attributes:
        role: whose model works on them.
        phase: what it does: reads them for the first time, reads them from its cache, samples them, passes over them
            forward alone, is trained on them.
        tokens: how many.
    """

    role: ModelRole
    phase: Phase
    tokens: float


@dataclass(frozen=True)
class Tariff:
    """What a token costs in a run.

    Attributes:
        prices: by role; None where the price of its model is not known, or its models differ in price.
        unknown: full names of the models without a known price, sorted.
    """

    prices: Mapping[ModelRole, Price | None]
    unknown: tuple[str, ...] = ()

    def cost(self, uses: Iterable[Use]) -> float | None:
        """The cost of some uses, USD; None where one of them has no known price."""
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
    def is_complete(self) -> bool:
        """Whether every role has a price."""
        return all(price is not None for price in self.prices.values())


def tariff_of(config: SocraticConfig, prices: PriceList) -> Tariff | None:
    """What a run's tokens cost, with one log line on models whose price is not known.

    The config's own prices count before those of the list, which is that of Tinker's hosted service: on another server
    the config's alone count.

    Returns:
        The tariff; None for a run in this process, which costs nothing that tokens tell.
    """
    if config.base_url == "local":
        return None
    known = prices if config.base_url is None else prices.without_models()
    known = known.with_own({full_model_name(name): price for name, price in config.prices.items()})
    names = models_of(config)
    if unknown := sorted({name for each in names.values() for name in each if known.price(name) is None}):
        _log.info("no price is known for %s: the cost is not estimated; set prices to have it", ", ".join(unknown))
    return Tariff(
        {role: _only([known.price(name) for name in sorted(each)]) for role, each in names.items()}, tuple(unknown)
    )


def check_limit(config: SocraticConfig, tariff: Tariff | None) -> None:
    """Refuses a limit that nothing could be held to.

    Raises:
        ConfigError: the config has `max_cost_usd`, and a price is not known.
    """
    if config.max_cost_usd is None or tariff is None or tariff.is_complete:
        return
    lacking = ", ".join(tariff.unknown) or "teachers of different prices"
    raise ConfigError(
        f"max_cost_usd={config.max_cost_usd} cannot be kept: no one price is known for {lacking}. Give it in "
        "prices={'<model>': {'prefill': …, 'sample': …, 'train': …}}, USD per million tokens, or leave max_cost_usd out"
    )


def models_of(config: SocraticConfig) -> dict[ModelRole, frozenset[str]]:
    """The models of each role of a config with full names; only teachers may be several."""
    models: dict[ModelRole, frozenset[str]] = {
        "tutor": frozenset({config.tutor_model_name}),
        "student": frozenset({config.student_model_name}),
        "teacher": frozenset(one.model_name for one in plan_teachers(config)),
    }
    if config.judge is not None:
        models["judge"] = frozenset({config.judge.model_name})
    return models


def request_uses(role: ModelRole, use: PromptUse) -> list[Use]:
    """What sampling and scoring requests used."""
    return [
        Use(role, "prefill", use.sent - use.cached),
        Use(role, "cached_prefill", use.cached),
        Use(role, "sample", use.sampled),
    ]


def step_uses(metrics: Mapping[str, Any]) -> list[Use]:
    """What a step used, by its row of `metrics.jsonl`."""
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
        tariff: of the run; None for one that is not billed by the token.

    Returns:
        USD; None without a tariff, or where a price is not known.
    """
    return None if tariff is None else tariff.cost(step_uses(metrics))


def evaluation_uses(tokens: Mapping[ModelRole, PromptUse]) -> list[Use]:
    """What an evaluation used, by whose model its requests went to."""
    return [use for role, each in tokens.items() for use in request_uses(role, each) if use.tokens]


def _only(prices: list[Price | None]) -> Price | None:
    """The price, where all are the same."""
    return prices[0] if all(price == prices[0] for price in prices) else None
