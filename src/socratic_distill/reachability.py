"""Whether a server answers: found out before any client of the SDK is made.

The SDK connects in the calling thread and tries again for five minutes, and says nothing meanwhile.
"""

import threading

from socratic_distill.errors import ServiceUnreachable
from socratic_distill.redaction import redacted

_SECONDS = 10.0
_WANTS_A_KEY = (401, 403)  # an answer all the same


def check_health(base_url: str | None) -> None:
    """Returns if a server answers within 10 seconds.

    Args:
        base_url: the server; None: Tinker's hosted service.

    Raises:
        ServiceUnreachable: none does.
    """
    from tinker.lib.base_url import resolve_base_url

    url = resolve_base_url(base_url) + "/api/v1/healthz"
    trouble = ["no answer"]
    # Looking up a name has no limit of its own, so the request has a thread that can be left behind.
    asking = threading.Thread(target=_ask, args=(url, trouble), name="health request", daemon=True)
    asking.start()
    asking.join(_SECONDS)
    if trouble:
        given = "Tinker's hosted service" if base_url is None else f"base_url={base_url!r}"
        raise ServiceUnreachable(
            f"no Tinker server answers at {given} within {_SECONDS:.0f} s ({url}: {redacted(trouble[0])}). Check the "
            "network, the address and whether the server runs, then start the same script again"
        )


def _ask(url: str, trouble: list[str]) -> None:
    """Empties `trouble` where the server answers, or says what it is."""
    import httpx

    try:
        answer = httpx.get(url, timeout=_SECONDS, follow_redirects=False)
        if answer.is_redirect:  # to follow it, the key and all texts would have to go where nobody said
            trouble[0] = f"it redirects to {answer.headers.get('location', '?')!r}, which is not followed; if that is "
            trouble[0] += "the server, name it instead"
            return
        if answer.status_code not in _WANTS_A_KEY:
            answer.raise_for_status()
        trouble.clear()
    except Exception as error:  # httpx raises other kinds than its own for a URL that is none
        trouble[0] = f"{type(error).__name__}: {error}"
