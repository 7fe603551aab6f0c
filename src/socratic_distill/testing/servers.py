"""How servers of the API differ from the hosted service, as presets of the fake.

They are what was seen of the released servers. The ones with a version in their name are as released; the others have
what the SDK of today asks of a server, as a bridge gives it, or their newest source.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import httpx
import tinker
from tinker.types import GetServerCapabilitiesResponse, SampleResponse

from socratic_distill.config.objectives import Feature
from socratic_distill.errors import ConfigError
from socratic_distill.in_process import status_error
from socratic_distill.testing.questions import Question

# How a server adds up the losses of a step's tokens. "mean" divides those of a request, cross_entropy by the sum of its
# weights and policy losses by the number of its positions; "datum" does so for each datum, and divides a step's
# gradient by the number of its data; "step" divides a step's gradient by all its positions.
Reduction = Literal["sum", "mean", "datum", "step"]
_UNANSWERED: tuple[Feature, ...] = ("topk_sample_logprobs", "target_prompt_logprobs", "prompt_alt_tokens_k")
_COMMON = frozenset({"cross_entropy", "importance_sampling", "ppo", "cispo"})


@dataclass(frozen=True)
class Server:
    """The differences of a server; the defaults are those of the hosted service: none.

    Attributes:
        losses: the losses that it has; None: all.
        reduction: how it adds up losses.
        takes_columns: whether targets may be `[N, K]`.
        lacks: scoring features that it answers with 400.
        ignores: scoring features and `prompt_logprobs_last_n` that it ignores, so that the SDK misses some of them.
        keeps_expiry: whether saves keep their TTL and metadata.
        keeps_older: whether sampling from older weights leaves training alone.
        tells_models: whether it tells context lengths, and a training client its rank.
        tells_losses: whether passes come with metrics.
        opens_states: whether a training client can be made from a state.
        is_greedy: whether a single reply at temperature 1 is the likeliest one.
        gives_first: whether prompt log-probabilities begin with None.
        has_short_paths: whether paths of sampler weights have two parts.
        answers_twice: whether a save under a name that is taken is answered.
        fails: the error of each call that it fails, by the client's method.
        claims: what its capabilities say in addition to models.
    """

    losses: frozenset[str] | None = None
    reduction: Reduction = "sum"
    takes_columns: bool = True
    lacks: frozenset[Feature] = frozenset()
    ignores: frozenset[str] = frozenset()
    keeps_expiry: bool = True
    keeps_older: bool = True
    tells_models: bool = True
    tells_losses: bool = True
    opens_states: bool = True
    is_greedy: bool = False
    gives_first: bool = True
    has_short_paths: bool = False
    answers_twice: bool = True
    fails: Mapping[str, Callable[[], Exception]] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)

    def worded(self, response: SampleResponse, asked: Question) -> SampleResponse:
        """An answer to a sampling request without what the server does not know.

        Raises:
            RuntimeError: as the SDK, where it misses what was asked.
        """
        if asked.logprobs and asked.last_n is not None and "prompt_logprobs_last_n" in self.ignores:
            raise RuntimeError(f"prompt_logprobs_last_n={asked.last_n} was requested but the server returned them all")
        ignored = self.ignores.intersection(asked.features)
        if "prompt_alt_tokens_k" in ignored:
            raise RuntimeError("prompt_alt_tokens_k was requested but the server returned no prompt_alt_tokens")
        replies, logprobs = response.sequences, response.prompt_logprobs_np
        if "topk_sample_logprobs" in ignored:
            replies = [replace(reply, topk_logprobs_np=None) for reply in replies]
        if not self.gives_first and logprobs is not None:
            logprobs = logprobs[1:]
        return SampleResponse(
            sequences=replies,
            prompt_logprobs_np=logprobs,
            topk_prompt_logprobs_np=response.topk_prompt_logprobs_np,
            target_prompt_logprobs=None if "target_prompt_logprobs" in ignored else response.target_prompt_logprobs,
            prompt_alt_tokens=response.prompt_alt_tokens,
        )


class Capabilities(GetServerCapabilitiesResponse, extra="allow"):
    """Capabilities with what else a server says of itself."""


def _no_ids() -> Exception:
    """What the SDK raises where the promise of a reply has no ids."""
    return AssertionError("asample promises always carry sample_sequence_ids")


def _no_optimizer() -> Exception:
    return status_error(422, "[{'type': 'extra_forbidden', 'loc': ['body', 'optimizer_config'], 'input': None}]")


def _no_session() -> Exception:
    request = httpx.Request("POST", "http://fake.invalid/api/v1/create_sampling_session")
    response = httpx.Response(200, request=request)
    return tinker.APIResponseValidationError(response, None, message="Data returned by API invalid.")


_SKYRL = Server(
    losses=_COMMON | {"gspo"},
    reduction="datum",
    takes_columns=False,
    lacks=frozenset({"topk_prompt_logprobs"}),
    ignores=frozenset({*_UNANSWERED, "prompt_logprobs_last_n"}),
    keeps_expiry=False,
    keeps_older=False,
    tells_models=False,
    tells_losses=False,
    gives_first=False,
    has_short_paths=True,
    answers_twice=False,
)
_TUFT = Server(
    losses=_COMMON | {"dro"},
    takes_columns=False,
    ignores=frozenset(_UNANSWERED),
    keeps_expiry=False,
)
_HATCHERY = Server(
    losses=_COMMON | {"gspo"},
    reduction="mean",
    ignores=frozenset(_UNANSWERED),
    tells_models=False,
    is_greedy=True,
    claims={
        "supported_loss_fns": ["cispo", "cross_entropy", "gspo", "importance_sampling", "ppo"],
        "supports_2d_target_tokens": True,
        "supports_topk_prompt_logprobs": True,
    },
)
_BASETEN = Server(losses=_COMMON | {"dro"}, reduction="step", ignores=frozenset(_UNANSWERED))

SERVERS: Mapping[str, Server] = {
    "skyrl": _SKYRL,
    "skyrl-0.4.0": replace(_SKYRL, opens_states=False, fails={"sample": _no_ids}),
    "tuft": _TUFT,
    "tuft-0.2.2": replace(_TUFT, opens_states=False, fails={"create_lora_training_client": _no_optimizer}),
    "hatchery": _HATCHERY,
    "hatchery-0.3.0": replace(_HATCHERY, fails={"create_sampling_client": _no_session}),
    "baseten": _BASETEN,
}


def server_named(name: str | None) -> Server:
    """A preset by its name; None: the hosted service.

    Raises:
        ConfigError: there is none of that name.
    """
    if name is None:
        return Server()
    if name not in SERVERS:
        raise ConfigError(f"server={name!r} is no preset; there are {', '.join(SERVERS)}")
    return SERVERS[name]
