"""Model names as people write them, and as the services know them."""

import logging

_log = logging.getLogger(__name__)

# Short names whose organisation is beyond doubt. The guide's last one is a slip of the pen.
_SHORT_NAMES = {
    "Qwen3-4B-Instruct-2507": "Qwen/Qwen3-4B-Instruct-2507",
    "Qwen3-8B": "Qwen/Qwen3-8B",
    "Qwen3-8B-Base": "Qwen/Qwen3-8B-Base",
    "Qwen3-30B-A3B-Instruct-2507": "Qwen/Qwen3-30B-A3B-Instruct-2507",
    "Qwen3-32B": "Qwen/Qwen3-32B",
    "Qwen3-235B-A22B-Instruct-2507": "Qwen/Qwen3-235B-A22B-Instruct-2507",
    "Kimi-K2-Thinking": "moonshotai/Kimi-K2-Thinking",
    "Qwen3-35B-A22B-Instruct": "Qwen/Qwen3-235B-A22B-Instruct-2507",
}


def full_model_name(name: str) -> str:
    """The name that a service knows a model by; a name that is not a known short one stays as it is."""
    full = _SHORT_NAMES.get(name, name)
    if full.rpartition("/")[2] != name.rpartition("/")[2]:
        _log.warning("there is no model %s; taking %s", name, full)
    return full
