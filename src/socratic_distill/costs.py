"""What a run costs, estimated: tokens by role and phase, times their prices. Pure.

Left out are the storage of saved weights, the one token that each scoring request samples, passes forward that some
objectives add to a step, evaluations, and steps whose rows were never written.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from socratic_distill.config import SocraticConfig
from socratic_distill.models import full_model_name
from socratic_distill.prices import PriceList
from socratic_distill.settings import Price
from socratic_distill.teachers import plan_teachers

_log = logging.getLogger(__name__)

Role = Literal["tutor", "student", "teacher"]
Phase = Literal["prefill", "cached_prefill", "sample", "train"]

_MILLION = 1_000_000


@dataclass(frozen=True)
class Use:
    """Tokens that a service bills for.

    Attributes:
        role: whose model works on them.
        phase: what it does: reads them for the first time, reads them from its cache, samples them, is trained on them.
        tokens: how many.
    """

    role: Role
    phase: Phase
    tokens: float


@dataclass(frozen=True)
class Tariff:
    """What a token costs in a run.

    Attributes:
        prices: by role; None where the price of its model is not known, or its models differ in price.
    """

    prices: Mapping[Role, Price | None]

    def cost(self, uses: Iterable[Use]) -> float | None:
        """The cost of some uses, USD; None where one of them has no known price."""
        total = 0.0
        for use in uses:
            if not use.tokens:
                continue
            price = self.prices.get(use.role)
            usd = None if price is None else getattr(price, use.phase)
            if usd is None:
                return None
            total += usd * use.tokens / _MILLION
        return total


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
    return Tariff({role: _only([known.price(name) for name in sorted(each)]) for role, each in names.items()})


def models_of(config: SocraticConfig) -> dict[Role, frozenset[str]]:
    """The full names of the models behind each role; several behind the teacher alone."""
    return {
        "tutor": frozenset({full_model_name(config.tutor_model_name)}),
        "student": frozenset({full_model_name(config.student_model_name)}),
        "teacher": frozenset(one.model_name for one in plan_teachers(config)),
    }


def step_uses(metrics: Mapping[str, Any]) -> list[Use]:
    """What a step used, by its row of `metrics.jsonl`.

    The row does not tell the tutor's sampled tokens from recorded ones: of a batch with both, dialogues are taken to be
    equally long.
    """
    uses = []
    for role in get_args(Role):
        sent, cached = (metrics.get(f"prompt_tokens/{role}{suffix}") or 0 for suffix in ("", "_cached"))
        uses += [Use(role, "prefill", sent - cached), Use(role, "cached_prefill", cached)]
    dialogues = metrics.get("dialogues") or 0
    played = 1 - (metrics.get("dialogues/recorded") or 0) / dialogues if dialogues else 1
    return [
        *uses,
        Use("tutor", "sample", (metrics.get("tokens/tutor") or 0) * played),
        Use("student", "sample", metrics.get("tokens/student") or 0),
        Use("tutor", "train", metrics.get("tokens/trained") or 0),
    ]


def step_cost(metrics: Mapping[str, Any], tariff: Tariff | None) -> float | None:
    """The estimated cost of a step.

    Args:
        metrics: its row of `metrics.jsonl`.
        tariff: of the run; None for one that is not billed by the token.

    Returns:
        USD; None without a tariff, or where a price is not known.
    """
    return None if tariff is None else tariff.cost(step_uses(metrics))


def _only(prices: list[Price | None]) -> Price | None:
    """The price, where all are the same."""
    return prices[0] if all(price == prices[0] for price in prices) else None
