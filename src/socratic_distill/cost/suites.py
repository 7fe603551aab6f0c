"""Estimates what a benchmark will cost, from the lengths of its items."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.named_models import with_known_names
from socratic_distill.cost.costs import Prices, prices_of
from socratic_distill.errors import CheckpointNotFound
from socratic_distill.evaluation.suites.definitions import OPEN_TASKS
from socratic_distill.evaluation.suites.items import stored_answers
from socratic_distill.evaluation.suites.order import (
    Model,
    Order,
    asker_of,
    check_tutors,
    judge_identity,
    model_of,
    order_of,
)
from socratic_distill.evaluation.suites.suite import Answer, Item
from socratic_distill.evaluation.tutors import named_weights
from socratic_distill.run.cloud.reading import readable
from socratic_distill.run.layout import SUITES

_CHARACTERS = 4  # a token
_REPLY = 200  # tokens of a reply, where its limit is higher


@dataclass(frozen=True)
class BenchmarkEstimate:
    """About how many tokens a benchmark takes, and what they cost. Answers that are stored cost nothing.

    Attributes:
        items: items for each tutor, or for the judge.
        prompt_tokens: tokens of all prompts that will be sent.
        reply_tokens: tokens of all replies to them.
        usd: their cost, USD; None if a price is not known, or tokens are not billed.
        prices: source of the prices.
        stored: answers that are stored in the run directory, of all tutors and the judge.
    """

    items: int
    prompt_tokens: int
    reply_tokens: int
    usd: float | None
    prices: str
    stored: int = 0

    def __str__(self) -> str:
        """The estimate in one line."""
        cost = "no estimate of the cost" if self.usd is None else f"about {self.usd:,.2f} USD"
        tokens = f"{self.prompt_tokens:,} tokens of prompts and {self.reply_tokens:,} of replies"
        stored = f", {self.stored:,} answers stored" if self.stored else ""
        return f"{self.items:,} items{stored}, about {tokens}: {cost} (prices: {self.prices})"


@dataclass(frozen=True)
class _Asked:
    """Tokens that one model will be asked.

    Attributes:
        model: its full name.
        sent: tokens of prompts.
        sampled: tokens of replies.
        stored: number of answers that are stored.
    """

    model: str
    sent: int
    sampled: int
    stored: int = 0


def estimate_benchmark(
    config: SocraticConfig,
    suite: str,
    data: str | PathLike[str],
    tutors: Sequence[str] = ("final",),
    *,
    limit: int | None = None,
    max_tokens: int | None = None,
    reward_model: str | PathLike[str] | None = None,
) -> BenchmarkEstimate:
    """Estimates a benchmark's tokens and cost, with four characters a token and 200 tokens a reply. Asks no service.

    Each tutor is priced as its own base model; weights that are given by path as the config's tutor. Answers that are
    stored already cost nothing. They are not found if the service alone can say which model a short name means.

    Args:
        config: as for `benchmark`.
        suite: as for `benchmark`.
        data: as for `benchmark`.
        tutors: as for `benchmark`.
        limit: as for `benchmark`.
        max_tokens: as for `benchmark`.
        reward_model: as for `benchmark`.

    Raises:
        ConfigError: as for `benchmark`.
        StorageError: the stored answers cannot be read.
        SuiteError: as for `benchmark`.
    """
    order, config = order_of(config, suite, data, limit, max_tokens, reward_model), with_known_names(config)
    check_tutors(tutors, order.suite)
    answers = _Stored(config, order)
    if order.suite.measures_judge:
        uses = [answers.of_judge(order.items)]
    else:
        uses = [use for name in tutors for use in answers.of_tutor(_model(config, name))]
    prices = prices_of(config, sorted({use.model for use in uses}))
    return BenchmarkEstimate(
        len(order.items),
        sum(use.sent for use in uses),
        sum(use.sampled for use in uses),
        _cost(uses, prices),
        "none" if prices is None else prices.source,
        sum(use.stored for use in uses),
    )


def _model(config: SocraticConfig, name: str) -> Model:
    try:
        weights = named_weights(config, name)
    except CheckpointNotFound:  # the benchmark will say so; weights to come have the config's model
        return Model(config.tutor_model_name, "")
    return model_of(config, name, weights)


class _Stored:
    """The answers of a run, and what is left to ask."""

    def __init__(self, config: SocraticConfig, order: Order) -> None:
        self._config, self._order = config, order
        own = f"{SUITES}/{order.name}/"
        self._directory: Path = readable(config.log_path, lambda path: path.startswith(own)) / SUITES / order.name

    def of_tutor(self, model: Model) -> Iterator[_Asked]:
        """What a tutor is asked, and then the judge on its replies."""
        order, config = self._order, self._config
        answers = stored_answers(self._directory, order.items, asker_of("tutor", config, {"model": model.identity}))
        yield _left(model.base, order.items, answers)
        if config.judge is None or order.wish.reward_model is not None:
            return
        if len(answers) == len(order.items):
            yield self.of_judge(order.suite.follow_up(order.items, answers, order.wish))
        else:
            # Its prompt holds the tutor's reply, and the human teacher's.
            judged = [item for item in order.items if item.task in OPEN_TASKS]
            sent = sum(_sent(item) + 2 * _REPLY for item in judged)
            yield _Asked(config.judge.model_name, sent, _REPLY * len(judged))

    def of_judge(self, items: Sequence[Item]) -> _Asked:
        """What the judge is asked."""
        config = self._config
        assert config.judge is not None, "without a judge there are no items for one"
        asker = asker_of("judge", config, judge_identity(config))
        return _left(config.judge.model_name, items, stored_answers(self._directory, items, asker))


def _left(model: str, items: Sequence[Item], answers: Mapping[str, Answer]) -> _Asked:
    left = [item for item in items if item.id not in answers]
    return _Asked(model, sum(map(_sent, left)), sum(map(_sampled, left)), len(items) - len(left))


def _cost(uses: Sequence[_Asked], prices: Prices | None) -> float | None:
    """The cost of tokens, USD; None if a model that is asked has no known price."""
    total = 0.0
    for use in uses:
        price = None if prices is None else prices.of.get(use.model)
        if price is None:
            if use.sent or prices is None:
                return None
            continue
        total += (price.prefill * use.sent + price.sample * use.sampled) / 1_000_000
    return total


def _sent(item: Item) -> int:
    tokens, options = len(item.prompt) // _CHARACTERS + 1, item.options
    return tokens if not options else sum(tokens + len(option) // _CHARACTERS + 1 for option in options)


def _sampled(item: Item) -> int:
    return len(item.options) or (1 if item.is_text else min(_REPLY, item.max_tokens))
