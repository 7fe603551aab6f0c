"""What a server says of itself, beyond what the SDK reads: its version, losses and scoring features."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from socratic_distill.service.failures import failure, is_missing
from socratic_distill.service.interface import RestClient
from socratic_distill.service.waiting import in_thread
from socratic_distill.service.watched import unwatched

_SECONDS = 5.0


@dataclass(frozen=True)
class Claims:
    """What a server says of itself; each is None where it says nothing.

    Attributes:
        version: its title and version.
        losses: names of its losses.
        takes_columns: whether the targets of a datum may be `[N, K]`.
        tells_likeliest: whether it gives the likeliest tokens at a prompt's positions.
    """

    version: str | None = None
    losses: frozenset[str] | None = None
    takes_columns: bool | None = None
    tells_likeliest: bool | None = None


async def read_claims(base_url: str | None, rest: RestClient | None) -> Claims:
    """Asks a server what it says of itself.

    Args:
        base_url: the server; None where `rest` is not a client of the SDK.
        rest: a Tinker REST client, or an object with its interface; None: nothing is asked.

    Raises:
        ServiceError: the service failed the call.
    """
    import tinker

    if rest is None:
        return Claims()
    if isinstance(unwatched(rest), tinker.RestClient):  # the SDK drops what it does not know
        return Claims() if base_url is None else await in_thread(_read, base_url)
    try:
        answer = await rest.get_server_capabilities()
    except Exception as error:
        if is_missing(error):
            return Claims()
        raise failure("asking for the server's capabilities", error) from error
    return _claims(getattr(answer, "model_extra", None) or {}, None)


def _read(base_url: str) -> Claims:
    root = base_url.rstrip("/")
    about = _get(f"{root}/openapi.json", {}).get("info")
    version = None
    if isinstance(about, dict):
        version = " ".join(str(about[name])[:100] for name in ("title", "version") if about.get(name)) or None
    key = os.environ.get("TINKER_API_KEY")
    headers = {"X-API-Key": key} if key else {}
    return _claims(_get(f"{root}/api/v1/get_server_capabilities", headers), version)


def _get(url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """The object that a server answers with; empty if it gives none. Redirects are not followed: they lose the key."""
    import httpx

    try:
        answer = httpx.get(url, headers=dict(headers), timeout=_SECONDS, follow_redirects=False)
        value = answer.json() if answer.is_success else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _claims(said: Mapping[str, Any], version: str | None) -> Claims:
    losses = said.get("supported_loss_fns")
    return Claims(
        version,
        frozenset(filter(_is_text, losses)) if isinstance(losses, list) else None,
        _truth(said.get("supports_2d_target_tokens")),
        _truth(said.get("supports_topk_prompt_logprobs")),
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
