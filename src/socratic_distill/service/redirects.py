"""Redirects of a server are not followed: the key and the texts of a request go to the named server alone."""

from functools import cache


@cache
def refuse_redirects() -> None:
    """Makes a redirect an error in every client that the Tinker SDK makes from now on.

    httpx drops the `Authorization` header when a redirect leaves the host, but the SDK's key is in `X-API-Key`, which
    it would carry along, and with it the prompts in the request's body. The SDK takes no client or option for this.
    """
    from tinker import _base_client as sdk

    class Direct(sdk.AsyncHttpxClientWrapper):
        def __init__(self, **options: object) -> None:
            super().__init__(**{**options, "follow_redirects": False})

    sdk.AsyncHttpxClientWrapper = Direct
