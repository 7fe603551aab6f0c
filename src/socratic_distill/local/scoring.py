"""Questions about a prompt's own tokens, and their answers, computed from the model's outputs."""

from dataclasses import dataclass

import numpy as np
import torch
from tinker.types.topk_logprobs import MASK_LOGPROB

from socratic_distill.local.base_model import Weights
from socratic_distill.local.draws import choose, likeliest, stream


@dataclass(frozen=True, eq=False)
class ScoreRequest:
    """What is asked about the tokens of a prompt of P tokens. The first token has no score.

    Attributes:
        size: P.
        logprobs: whether the log-probability of each token is wanted.
        top: number of likeliest tokens wanted at each position.
        last_n: `logprobs` and `top` only for the last n tokens; None for all.
        targets: ids whose log-probabilities are wanted, -1 for none, `[P - 1, K]`.
        alternatives: number of tokens to draw at each position.
        temperature: of those draws.
        seed: of those draws.
    """

    size: int
    logprobs: bool = False
    top: int = 0
    last_n: int | None = None
    targets: np.ndarray | None = None
    alternatives: int = 0
    temperature: float = 1.0
    seed: int = 0

    @property
    def is_asking(self) -> bool:
        """Whether anything is wanted."""
        return self.logprobs or self.top > 0 or self.targets is not None or self.alternatives > 0

    @property
    def first_scored(self) -> int:
        """Position of the first token that gets `logprobs` and `top`."""
        return 1 if self.last_n is None else self.size - self.last_n

    @property
    def first(self) -> int:
        """The first position whose output is needed: the output at i predicts token i + 1, the last one the reply."""
        needed = [self.size]
        if self.logprobs or self.top:
            needed.append(self.first_scored)
        if self.alternatives:
            needed.append(1)
        if self.targets is not None:
            named = np.flatnonzero((self.targets >= 0).any(axis=1))
            needed += [int(named[0]) + 1] if len(named) else []  # row i is about token i + 1
        return min(needed) - 1


@dataclass(frozen=True, eq=False)
class Scores:
    """The answers; arrays of what was not asked for have width 0.

    Attributes:
        logprobs: nats, NaN where not scored, `[P]`.
        top_ids: `[P, top]`, 0 where not scored.
        top_logprobs: `[P, top]`, -99999 where not scored.
        targets: log-probabilities of the targets, 0 for an empty slot, `[P - 1, K]`.
        drawn: alternative tokens, `[P - 1, alternatives]`.
        drawn_logprobs: their log-probabilities at temperature 1, `[P - 1, alternatives]`.
    """

    logprobs: np.ndarray
    top_ids: np.ndarray
    top_logprobs: np.ndarray
    targets: np.ndarray
    drawn: np.ndarray
    drawn_logprobs: np.ndarray

    @classmethod
    def blank(cls, question: ScoreRequest) -> "Scores":
        """Scores of the right shapes, without any answer."""
        size, rows, top = question.size, question.size - 1, question.top
        return cls(
            np.full(size, np.nan),
            np.zeros((size, top), np.int32),
            np.full((size, top), MASK_LOGPROB),
            np.zeros((rows, 0 if question.targets is None else question.targets.shape[1])),
            np.zeros((rows, question.alternatives), np.int64),
            np.zeros((rows, question.alternatives)),
        )


def answer(weights: Weights, tokens: tuple[int, ...], question: ScoreRequest, outputs: torch.Tensor) -> Scores:
    """Answers a question, a bounded number of positions at a time.

    Args:
        weights: the model that read the prompt.
        tokens: the prompt, `[P]`.
        question: what is asked.
        outputs: outputs from `question.first` on, `[P - first, H]`; the last one predicts no token of the prompt.
    """
    scores, known = Scores.blank(question), weights.base.known_tokens
    numbers = None
    if question.alternatives:
        # All numbers at once, so that a position's draws do not depend on the size of the chunks.
        drawn = stream(question.seed, 0, "alternatives").random((question.size - 1, question.alternatives))
        numbers = torch.from_numpy(drawn).to(outputs.device)
    for start in range(question.first, question.size - 1, weights.chunk):
        stop = min(start + weights.chunk, question.size - 1)
        logits = weights.logits(outputs[start - question.first : stop - question.first])  # [n, V]
        logprobs = torch.log_softmax(logits, dim=-1)  # row i predicts token start + i + 1
        _score(question, tokens, scores, start, logprobs, known)
        if question.targets is not None:
            wanted = torch.from_numpy(question.targets[start:stop]).to(logprobs.device)
            values = logprobs.gather(1, wanted.clamp(min=0)).masked_fill(wanted < 0, 0.0)  # [n, K]
            scores.targets[start:stop] = values.cpu().numpy()
        if numbers is not None:
            logits = logits[:, :known]
            if question.temperature == 0:
                chosen = logits.argmax(-1, keepdim=True).expand(-1, question.alternatives)
            else:
                chosen = choose(torch.softmax(logits / question.temperature, -1), numbers[start:stop])  # [n, K]
            scores.drawn[start:stop] = chosen.cpu().numpy()
            scores.drawn_logprobs[start:stop] = logprobs.gather(1, chosen).cpu().numpy()
    return scores


def _score(
    question: ScoreRequest, tokens: tuple[int, ...], scores: Scores, start: int, logprobs: torch.Tensor, known: int
) -> None:
    """Fills in log-probabilities, and the likeliest tokens among ids below `known`, from the first scored token on."""
    # Targets or alternatives may need outputs from before the first scored token; those rows are skipped here.
    skipped = max(0, question.first_scored - 1 - start)
    if skipped >= len(logprobs) or not (question.logprobs or question.top):
        return
    logprobs, begin = logprobs[skipped:], start + skipped + 1
    end = begin + len(logprobs)
    own = torch.tensor(tokens[begin:end], device=logprobs.device)  # [n]
    scores.logprobs[begin:end] = logprobs.gather(1, own[:, None])[:, 0].cpu().numpy()
    if question.top:
        ids, values = likeliest(logprobs[:, :known], question.top)  # narrower than `top` in a small vocabulary
        scores.top_ids[begin:end, : ids.shape[1]] = ids
        scores.top_logprobs[begin:end, : ids.shape[1]] = values
