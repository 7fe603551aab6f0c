"""Scoring requests: log-probabilities of a sequence's own tokens, and of other tokens named at the same positions."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from socratic_distill.dialogues.dialogue import NOTHING_SENT, PromptUse
from socratic_distill.distillation.datums import Floats, Ids, TokenSequence
from socratic_distill.errors import TeacherError
from socratic_distill.service.connect import is_complete
from socratic_distill.service.interface import SamplingClient
from socratic_distill.service.numbers import explain_bad, first_bad
from socratic_distill.service.quiet import refuses_last_n
from socratic_distill.service.waiting import gather_all
from socratic_distill.text import get_logger

if TYPE_CHECKING:
    from tinker import SampleResponse, TensorData

_log = get_logger(__name__)


@dataclass(frozen=True, eq=False)
class Named:
    """K named tokens at each of a turn's T positions, in addition to the turn's own token.

    Attributes:
        ids: token ids, `[T, K]`.
        logprobs: log-probability of each token, given all tokens before its position, nats, `[T, K]`.
    """

    ids: Ids
    logprobs: Floats


@dataclass(frozen=True)
class Ask:
    """What a scoring request asks for, in addition to the log-probabilities of the sequence's own tokens.

    Attributes:
        top: number of likeliest tokens at each position.
        draws: number of tokens to draw at each position, with `seed`, at temperature 1.
        seed: of the draws.
        targets: ids to score at each position, one array `[T, K]` for each tutor turn of the dialogue; None for none.
    """

    top: int = 0
    draws: int = 0
    seed: int = 0
    targets: Sequence[Ids] | None = None


@dataclass(eq=False)
class Scores:
    """The answers for a dialogue's tutor turns, in order of turn; lists of what was not asked for are empty.

    Attributes:
        own: log-probabilities of the turns' own tokens, nats, `[T]` each.
        top: the likeliest tokens, the likeliest first.
        draws: the drawn tokens.
        targets: log-probabilities of the requested targets, nats, `[T, K]` each.
        use: tokens that the requests used.
    """

    own: list[Floats] = field(default_factory=list)
    top: list[Named] = field(default_factory=list)
    draws: list[Named] = field(default_factory=list)
    targets: list[Floats] = field(default_factory=list)
    use: PromptUse = NOTHING_SENT

    def add(self, other: "Scores") -> None:
        """Appends the scores of later turns."""
        self.own += other.own
        self.top += other.top
        self.draws += other.draws
        self.targets += other.targets
        self.use += other.use


class Scorer:
    """Scores as few positions of a prompt as the server allows.

    The tokens before the tutor's first one need no score. A server that honours `prompt_logprobs_last_n` can take them
    from its cache. A server that does not is recognised by its error.
    """

    def __init__(self, takes_last_n: bool | None = True) -> None:
        """Sets what is known about the server.

        Args:
            takes_last_n: whether the server honours `prompt_logprobs_last_n`. None: the first request finds out, and
                the others wait for it.
        """
        self._takes_last_n = takes_last_n
        self._first = asyncio.Lock()

    @classmethod
    def for_server(cls, base_url: str | None) -> "Scorer":
        """A scorer that trusts the hosted service and the local engine, and tries any other server."""
        return cls(True if is_complete(base_url) else None)

    async def score(self, client: SamplingClient, sequence: TokenSequence, whose: str, ask: Ask = Ask()) -> Scores:
        """The scores that a client's model gives the tokens in a sequence's spans.

        Args:
            client: a sampling client of the model.
            sequence: the tokens and the spans of the tutor's turns.
            whose: who is asked and about what, for error messages.
            ask: what to score in addition.

        Raises:
            TeacherError: scores are missing or do not fit the tokens.
        """
        response = await self._answer(client, sequence, ask)
        return Scores(
            own=span_scores(sequence, response.prompt_logprobs, whose),
            top=_top(sequence, response, ask.top, whose) if ask.top else [],
            draws=_draws(sequence, response, whose) if ask.draws else [],
            targets=_targets(sequence, response, ask.targets, whose) if ask.targets is not None else [],
            use=PromptUse(
                len(sequence.tokens),
                response.prompt_cache_hit_tokens,
                sum(len(reply.tokens) for reply in response.sequences),
            ),
        )

    async def score_all(
        self, client: SamplingClient, sequences: Sequence[TokenSequence], whose: str, ask: Ask = Ask()
    ) -> Scores:
        """The scores of a dialogue's sequences, one request each; the arguments are those of `score`."""
        joint = Scores()
        for scores in await gather_all(self.score(client, sequence, whose, ask) for sequence in sequences):
            joint.add(scores)
        return joint

    async def _answer(self, client: SamplingClient, sequence: TokenSequence, ask: Ask) -> "SampleResponse":
        # While nothing is known, the first request holds the lock until its answer has decided. Else a refusing server
        # would refuse every request of the first batch.
        async with self._first:
            if self._takes_last_n is None:
                return await self._ask(client, sequence, ask)
        return await self._ask(client, sequence, ask)

    async def _ask(self, client: SamplingClient, sequence: TokenSequence, ask: Ask) -> "SampleResponse":
        """The answer; sends a second request for the whole prompt if the server refuses the first."""
        if self._takes_last_n is not False:
            try:
                response = await _request(client, sequence, ask, len(sequence.tokens) - sequence.spans[0].start)
            except Exception as error:
                if not refuses_last_n(str(error)):
                    raise
                if self._takes_last_n is not False:  # a concurrent request may have logged it already
                    _log.info("the server does not honour prompt_logprobs_last_n; whole prompts are scored (%s)", error)
                self._takes_last_n = False
            else:
                self._takes_last_n = True if self._takes_last_n is None else self._takes_last_n
                return response
        return await _request(client, sequence, ask, None)


def _request(
    client: SamplingClient, sequence: TokenSequence, ask: Ask, last_n: int | None
) -> Awaitable["SampleResponse"]:
    """Sends one scoring request. Unlike that of `compute_logprobs`, its answer says how many tokens were cached."""
    from tinker import ModelInput, SamplingParams

    # A server that lacks a feature may refuse the argument's name, so only what is needed is passed.
    features: dict[str, Any] = {}
    if ask.top:
        features["topk_prompt_logprobs"] = ask.top
    if ask.draws:
        features["prompt_alt_tokens_k"] = ask.draws
    if ask.targets is not None:
        features["target_prompt_logprobs"] = _wanted(sequence, ask.targets)
    return client.sample(
        ModelInput.from_ints(list(sequence.tokens)),
        1,
        # One token is sampled and ignored: the SDK has no request that only scores and reports its cache use.
        SamplingParams(max_tokens=1, seed=ask.seed) if ask.draws else SamplingParams(max_tokens=1),
        include_prompt_logprobs=True,
        prompt_logprobs_last_n=last_n,
        **features,
    )


def span_scores(sequence: TokenSequence, values: Sequence[float | None] | None, whose: str) -> list[Floats]:
    """Cuts the tutor's spans out of a prompt's log-probabilities.

    Args:
        sequence: what was scored, `[N]` tokens.
        values: entry i is the log-probability of token i given those before it, nats. `[N]` with None
            first, as the SDK defines it, or `[N - 1]` without it, as some servers answer; None for no answer.
        whose: whose scores they are, for error messages.

    Returns:
        One array `[T]` for each span.

    Raises:
        TeacherError: the number of values is wrong, or a value inside a span is not a log-probability.
    """
    expected = len(sequence.tokens)
    if values is None:
        raise TeacherError(f"{whose}: no log-probabilities for {expected} tokens")
    if len(values) == expected - 1:
        values = [None, *values]
    if len(values) != expected:
        raise TeacherError(f"{whose}: {len(values)} log-probabilities for {expected} tokens")
    scores = []
    for span in sequence.spans:
        cut = [float("nan") if value is None else value for value in values[span.start : span.stop]]
        array = np.asarray(cut, dtype=np.float64)
        if (bad := first_bad(array)) is not None:
            value = values[span.start + bad[0]]
            raise TeacherError(
                f"{whose}: the log-probability at token {bad[0]} of tutor turn {span.turn} is {explain_bad(value)}"
            )
        scores.append(array)
    return scores


def _top(sequence: TokenSequence, response: "SampleResponse", count: int, whose: str) -> list[Named]:
    """The likeliest tokens at the spans' positions, `[T, K]` each; K is below `count` only for a small vocabulary."""
    rows = response.topk_prompt_logprobs
    if rows is None:
        raise TeacherError(f"{whose}: no likeliest tokens; the server may not support topk_prompt_logprobs")
    if len(rows) == len(sequence.tokens) - 1:  # some servers leave out the first token, which has no score
        rows = [None, *rows]
    by_span = []
    for span in sequence.spans:
        cut = [row or [] for row in rows[span.start : span.stop]]
        widths = {len(row) for row in cut}
        if len(cut) != span.stop - span.start or len(widths) != 1 or not 0 < (width := widths.pop()) <= count:
            raise TeacherError(
                f"{whose}: the likeliest tokens of tutor turn {span.turn} came in rows of {sorted(map(len, cut))} "
                f"for {span.stop - span.start} tokens; expected {count} in each row"
            )
        pairs = np.asarray(cut, dtype=np.float64).reshape(len(cut), width, 2)  # (id, logprob)
        what = f"{whose}: the likeliest tokens of tutor turn {span.turn}"
        by_span.append(_named(pairs[..., 0], pairs[..., 1], what))
    return by_span


def _draws(sequence: TokenSequence, response: "SampleResponse", whose: str) -> list[Named]:
    drawn = response.prompt_alt_tokens
    if drawn is None:
        raise TeacherError(f"{whose}: no drawn tokens; the server may not support prompt_alt_tokens_k")
    ids, logprobs = drawn.tokens.to_numpy(), drawn.logprobs.to_numpy()  # [N - 1, K]; row i is about token i + 1
    return [
        _named(
            ids[span.start - 1 : span.stop - 1],
            logprobs[span.start - 1 : span.stop - 1].astype(np.float64),
            f"{whose}: the drawn tokens of tutor turn {span.turn}",
        )
        for span in sequence.spans
    ]


def _named(ids: npt.NDArray, logprobs: Floats, what: str) -> Named:
    """Checks tokens `[T, K]` and their log-probabilities, and puts them together."""
    # The likeliest ids come as floats, among pairs with their log-probabilities.
    if not ((ids >= 0) & (ids == np.floor(ids)) & (ids < 2**31)).all():
        raise TeacherError(f"{what} hold a value that is not a token id")
    if (bad := first_bad(logprobs)) is not None:
        raise TeacherError(f"{what} hold the log-probability {explain_bad(logprobs[bad])}")
    return Named(ids.astype(np.int64), logprobs)


def _wanted(sequence: TokenSequence, targets: Sequence[Ids]) -> "TensorData":
    """Targets as sparse `target_prompt_logprobs`, `[N - 1, K]`; row i is about token i + 1, context rows are empty."""
    from tinker import TensorData

    width = targets[0].shape[1]
    counts = np.zeros(len(sequence.tokens), np.int64)  # [N]; its cumulative sum is the CSR row pointer of N - 1 rows
    for span in sequence.spans:
        counts[span.start : span.stop] = width
    # A span may end before its turn does.
    ids = np.concatenate([targets[span.turn][: span.stop - span.start] for span in sequence.spans])  # [sum of T, K]
    return TensorData(
        data=ids.ravel(),
        dtype="int64",
        shape=[len(sequence.tokens) - 1, width],
        sparse_crow_indices=counts.cumsum().tolist(),
        sparse_col_indices=np.tile(np.arange(width), len(ids)).tolist(),
    )


def _targets(sequence: TokenSequence, response: "SampleResponse", targets: Sequence[Ids], whose: str) -> list[Floats]:
    answer = response.target_prompt_logprobs
    if answer is None:
        raise TeacherError(f"{whose}: no scores of named tokens; the server may not support target_prompt_logprobs")
    width, sizes = targets[0].shape[1], [span.stop - span.start for span in sequence.spans]
    if answer.sparse_crow_indices is None:
        dense = answer.to_numpy().reshape(len(sequence.tokens) - 1, width)
        values = np.concatenate([dense[span.start - 1 : span.stop - 1] for span in sequence.spans])
    else:  # only the rows that were asked for; to_numpy() would need torch
        values = np.asarray(answer.data).reshape(-1, width)
    if len(values) != sum(sizes):
        raise TeacherError(f"{whose}: {len(values)} rows of scores for {sum(sizes)} tokens")
    values = values.astype(np.float64)
    if (bad := first_bad(values)) is not None:
        raise TeacherError(f"{whose}: a named token's log-probability is {explain_bad(values[bad])}")
    return np.split(values, np.cumsum(sizes)[:-1])
