"""What a sampling request asks in addition to its replies."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import tinker
from numpy.typing import NDArray

from socratic_distill.config.objectives import Feature
from socratic_distill.in_process import check_question


@dataclass(frozen=True, eq=False)
class Question:
    """What a request asks in addition to its replies. Nothing can be asked about the first of a prompt's P tokens.

    Attributes:
        logprobs: whether the log-probability of each prompt token is wanted.
        top: number of likeliest tokens wanted at each prompt token.
        last_n: `logprobs` and `top` at the last n alone; None for all.
        targets: ids to score, row i at token i + 1, -1 for none, `[P - 1, K]`, dense or sparse.
        draws: number of tokens to draw at each prompt token.
        reply_top: number of likeliest tokens wanted at each token of the replies.
    """

    logprobs: bool = False
    top: int = 0
    last_n: int | None = None
    targets: tinker.TensorData | None = None
    draws: int = 0
    reply_top: int = 0

    @property
    def is_about_the_prompt(self) -> bool:
        """Whether any prompt token is to be scored."""
        return self.logprobs or self.top > 0 or self.targets is not None or self.draws > 0

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features that it takes of a service."""
        asked: dict[Feature, bool] = {
            "topk_prompt_logprobs": self.top > 0,
            "topk_sample_logprobs": self.reply_top > 0,
            "target_prompt_logprobs": self.targets is not None,
            "prompt_alt_tokens_k": self.draws > 0,
        }
        return tuple(feature for feature, wanted in asked.items() if wanted)

    @cached_property
    def ids(self) -> NDArray[np.int64] | None:
        """The targets, filled up with -1 without torch."""
        if self.targets is None or self.targets.sparse_crow_indices is None:
            return None if self.targets is None else self.targets.to_numpy()
        full = np.full(self.targets.shape or (), -1, np.int64)
        full[cells(self.targets)] = self.targets.data
        return full

    def reach(self, size: int) -> int | None:
        """How many of a prompt's last tokens are scored for it; None for all."""
        if self.draws or ((self.logprobs or self.top) and self.last_n is None):
            return None
        first = size if self.ids is None else np.nonzero(self.ids >= 0)[0].min(initial=size - 1) + 1
        return max(self.last_n or 0, size - int(first)) or None

    def check(self, size: int, vocabulary: int) -> None:
        """Refuses what does not fit a prompt of `size` tokens.

        Raises:
            tinker.BadRequestError: says what was given and what fits.
        """
        check_question(size, vocabulary, self.logprobs, self.last_n, self.ids)


def cells(tensor: tinker.TensorData) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of a sparse tensor's values."""
    counts = np.diff(tensor.sparse_crow_indices or [0])
    return np.repeat(np.arange(len(counts)), counts), np.asarray(tensor.sparse_col_indices, np.int64)
