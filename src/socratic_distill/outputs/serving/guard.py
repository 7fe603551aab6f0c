"""Refuses requests that do not come from this machine's own programs and from this server's own page.

A page of another site may send requests to loopback from the user's browser, and a name that an attacker controls may
be made to point there. So `Host` must be a loopback name with this server's port, `Origin` this server's own, and a
body JSON, which no page of another site can send without asking first; the question gets no answer that allows it.
"""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders

from socratic_distill.outputs.serving.replies import ApiError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MOST_BYTES = 1 << 20
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """An ASGI application in front of another one."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        """Stands in front of `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or lets it pass."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # a WebSocket: no page of ours opens one
            await send({"type": "websocket.close", "code": 1008})
            return

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            _check(scope)
            await self._app(scope, _limited(receive), answer)
        except ApiError as error:
            await error.response()(scope, receive, answer)


def _check(scope: Scope) -> None:
    headers = Headers(scope=scope)
    hosts, origins = headers.getlist("host"), headers.getlist("origin")
    _, port = scope.get("server") or (None, None)
    if len(hosts) != 1 or not is_own(hosts[0], port):
        raise ApiError(
            403,
            f"the Host of the request is {' and '.join(hosts)!r}; expected a loopback name with the port {port}, such "
            f"as 127.0.0.1:{port}. A tunnel must have the same port at both ends",
        )
    if origins and origins != [f"http://{hosts[0]}"]:
        raise ApiError(
            403, f"the Origin of the request is {origins[0]!r}; pages of other sites may not use this server"
        )
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise ApiError(403, "the request comes from a page of another site, which may not use this server")
    if scope["method"] == "POST":
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/json":
            raise ApiError(415, f"the Content-Type is {kind!r}; expected application/json")
        if _too_long(headers.getlist("content-length")):
            raise ApiError(413, f"the body has more than {MOST_BYTES} bytes")


def is_own(host: str, port: int | None) -> bool:
    """Whether a Host header is a name of this machine's loopback with the port that the server listens on."""
    try:
        parts = urlsplit(f"http://{host}")
        name = parts.hostname or ""
        if parts.netloc != host or "@" in host or (80 if parts.port is None else parts.port) != port:
            return False
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False


def _too_long(lengths: Iterable[str]) -> bool:
    return any(not length.isascii() or not length.isdigit() or int(length[:20]) > MOST_BYTES for length in lengths)


def _limited(receive: Receive) -> Receive:
    """The same messages; a body without a stated length is limited too."""
    count = 0

    async def next_message() -> MutableMapping[str, Any]:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > MOST_BYTES:
            raise ApiError(413, f"the body has more than {MOST_BYTES} bytes")
        return message

    return next_message
