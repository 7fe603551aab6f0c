"""The page, and what a browser may do with it: run its own script, read its own style, ask this server."""

import base64
import hashlib
import re
from importlib.resources import files

PAGE = files("socratic_distill.outputs.serving").joinpath("page.html").read_text(encoding="utf-8")


def _hash_of(element: str) -> str:
    """The source of a page's only element of a kind, as a policy names it."""
    (text,) = re.findall(rf"<{element}>(.*?)</{element}>", PAGE, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = "; ".join([
    "default-src 'none'",
    f"script-src {_hash_of('script')}",
    f"style-src {_hash_of('style')}",
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
])  # fmt: skip
