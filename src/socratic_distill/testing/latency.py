"""How long a hosted service takes: the latency model of the virtual service."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_BLOCK = 16


@dataclass(frozen=True)
class ModelSpeed:
    """How fast one model is, and how much it says.

    Attributes:
        prefill: seconds for an uncached prompt token.
        token: seconds for a sampled token.
        reply_tokens: mean length of a reply, tokens.
    """

    prefill: float
    token: float
    reply_tokens: float


def _speeds() -> dict[str, ModelSpeed]:
    return {
        "tutor": ModelSpeed(50e-6, 8e-3, 90),
        "student": ModelSpeed(100e-6, 20e-3, 160),
        "teacher": ModelSpeed(200e-6, 8e-3, 90),
    }


@dataclass(frozen=True)
class Latency:
    """The times of a service.

    Attributes:
        round_trip: seconds on the way there and back, for every call.
        models: by name of the base model; the names "tutor", "student" and "teacher" have a speed each, and a
            model of another name that of "tutor".
        spread: standard deviation of the logarithm of reply lengths, which are log-normal.
        cycle: seconds of a training cycle. All training calls wait for the beginning of one, at the multiples of
            its length; passes and the optimizer step after them share one.
        sampler_save: seconds to save sampler weights, in order, after the training calls before it.
        state_save: seconds to save a state, likewise.
        max_concurrent: sampling and scoring requests served at once; those above are answered with 429 and come
            again later, as the SDK sends them. None: no limit.
        retry: seconds until the first time that a refused request comes again; doubled each time, up to 30.
    """

    round_trip: float = 0.2
    models: Mapping[str, ModelSpeed] = field(default_factory=_speeds)
    spread: float = 0.7
    cycle: float = 10.0
    sampler_save: float = 4.0
    state_save: float = 8.0
    max_concurrent: int | None = None
    retry: float = 1.0

    def speed(self, model: str) -> ModelSpeed:
        """The speed of a base model.

        Args:
            model: its name.
        """
        return self.models.get(model, self.models["tutor"])


class TrainingQueue:
    """When the calls of one training client are carried out: in order, on the cycle."""

    def __init__(self, latency: Latency) -> None:
        """Begins free."""
        self._latency = latency
        self._free = 0.0
        self._cycle: float | None = None  # beginning of the last cycle, while calls may still join it

    def place(self, call: str, arrival: float) -> tuple[float, float]:
        """Beginning and end of a call that arrives now, in seconds."""
        length = self._latency.cycle
        if call.startswith("save"):
            seconds = self._latency.state_save if call == "save_state" else self._latency.sampler_save
            start = max(arrival, self._free)
            self._free, self._cycle = start + seconds, None
            return start, self._free
        if self._cycle is None or arrival > self._cycle + 1e-9 * length:
            # The small number keeps a sum of floats that should be a multiple from waiting for the next one.
            self._cycle = math.ceil(max(arrival, self._free) / length - 1e-9) * length
        start = self._cycle
        self._free = start + length
        if call == "optim_step":
            self._cycle = None
        return start, self._free


class PrefixCache:
    """The prompts that one set of weights has read, in blocks of 16 tokens, as serving engines keep them."""

    def __init__(self) -> None:
        """Begins empty."""
        self._known: set[int] = set()

    def read(self, tokens: Sequence[int]) -> int:
        """How many of the first tokens are known; all whole blocks are from here on."""
        chain, cached, is_known = 0, 0, True
        for start in range(0, len(tokens) - _BLOCK + 1, _BLOCK):
            chain = hash((chain, *tokens[start : start + _BLOCK]))
            is_known = is_known and chain in self._known
            if is_known:
                cached += _BLOCK
            else:
                self._known.add(chain)
        return cached
