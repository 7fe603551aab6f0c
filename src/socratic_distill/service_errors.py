"""The SDK's own errors, as the in-process services raise them."""

import httpx
import tinker

REQUEST = httpx.Request("POST", "http://in-process.invalid/api/v1")
_ERRORS: dict[int, type[tinker.APIStatusError]] = {
    400: tinker.BadRequestError,
    401: tinker.AuthenticationError,
    402: tinker.BillingError,
    403: tinker.PermissionDeniedError,
    404: tinker.NotFoundError,
    409: tinker.ConflictError,
    422: tinker.UnprocessableEntityError,
    429: tinker.RateLimitError,
}


def status_error(status: int, message: str) -> tinker.APIStatusError:
    """The SDK's error for an HTTP status, 400 to 599, as a server would have caused it."""
    if not 400 <= status <= 599:
        raise ValueError(f"status {status} is no HTTP error; give 400 to 599")
    default = tinker.InternalServerError if status >= 500 else tinker.APIStatusError
    response = httpx.Response(status, request=REQUEST)
    return _ERRORS.get(status, default)(message, response=response, body={"detail": message})
