"""Estimates what a benchmark will cost, from the lengths of its items."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.named_models import with_known_names
from socratic_distill.cost.costs import Use, tariff_of
from socratic_distill.evaluation.suites.benchmark import wish_of
from socratic_distill.evaluation.suites.catalogue import suite_named
from socratic_distill.evaluation.suites.definitions import OPEN_TASKS
from socratic_distill.evaluation.suites.suite import Item

_CHARACTERS = 4  # a token
_REPLY = 200  # tokens of a reply, where its limit is higher


@dataclass(frozen=True)
class BenchmarkEstimate:
    """About how many tokens a benchmark takes, and what they cost. Answers that are stored are not subtracted.

    Attributes:
        items: items for each tutor, or for the judge.
        prompt_tokens: tokens of all prompts.
        reply_tokens: tokens of all replies.
        usd: their cost, USD; None if a price is not known, or tokens are not billed.
        prices: source of the prices.
    """

    items: int
    prompt_tokens: int
    reply_tokens: int
    usd: float | None
    prices: str

    def __str__(self) -> str:
        """The estimate in one line."""
        cost = "no estimate of the cost" if self.usd is None else f"about {self.usd:,.2f} USD"
        tokens = f"{self.prompt_tokens:,} tokens of prompts and {self.reply_tokens:,} of replies"
        return f"{self.items:,} items, about {tokens}: {cost} (prices: {self.prices})"


def estimate_benchmark(
    config: SocraticConfig,
    suite: str,
    data: str | PathLike[str],
    tutors: Sequence[str] = ("final",),
    *,
    limit: int | None = None,
    reward_model: str | PathLike[str] | None = None,
) -> BenchmarkEstimate:
    """Estimates a benchmark's tokens and cost, with four characters a token and 200 tokens a reply. Asks no service.

    Every tutor is priced as the config's tutor.

    Args:
        config: as for `benchmark`.
        suite: as for `benchmark`.
        data: as for `benchmark`.
        tutors: as for `benchmark`.
        limit: as for `benchmark`.
        reward_model: as for `benchmark`.

    Raises:
        ConfigError: as for `benchmark`.
        SuiteError: as for `benchmark`.
    """
    measured = suite_named(suite)
    wish = wish_of(config, measured, data, limit, reward_model)
    items, _ = measured.items(wish)
    tariff, times = tariff_of(with_known_names(config)), 1 if measured.measures_judge else len(tutors)
    role = "judge" if measured.measures_judge else "tutor"
    sent, sampled = times * sum(map(_sent, items)), times * sum(map(_sampled, items))
    uses = [Use(role, "prefill", sent), Use(role, "sample", sampled)]
    if config.judge is not None and wish.reward_model is None:
        judged = [item for item in items if item.task in OPEN_TASKS]
        of_judge = times * sum(_sent(item) + 2 * _REPLY for item in judged), times * _REPLY * len(judged)
        uses += [Use("judge", "prefill", of_judge[0]), Use("judge", "sample", of_judge[1])]
        sent, sampled = sent + of_judge[0], sampled + of_judge[1]
    usd = None if tariff is None else tariff.cost(uses)
    return BenchmarkEstimate(len(items), sent, sampled, usd, "none" if tariff is None else tariff.source)


def _sent(item: Item) -> int:
    tokens, options = len(item.prompt) // _CHARACTERS + 1, item.options
    return tokens if not options else sum(tokens + len(option) // _CHARACTERS + 1 for option in options)


def _sampled(item: Item) -> int:
    return len(item.options) or (1 if item.is_text else min(_REPLY, item.max_tokens))
