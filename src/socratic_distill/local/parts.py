"""Which part of a model a layer belongs to, by names alone. Needs neither torch nor the model."""

import re
from typing import Literal

Part = Literal["attn", "mlp", "unembed"]
# In a class name the last match counts: Glm4MoeAttention is attention. In a path the innermost module counts.
_PARTS: dict[Part, re.Pattern[str]] = {
    "attn": re.compile(r"attn|attention|mixer|mamba|ssm|conv|recurrent|temporal|lstm|deltanet|mla$|retention", re.I),
    "mlp": re.compile(r"mlp|feed_?forward|ffn|moe|expert|dense_relu", re.I),
}
_OUTPUTS = frozenset({"lm_head", "embed_out", "output"})  # names of output layers


def named_part(text: str) -> Part | None:
    """The part that the name of a class or of a module mentions last; None if it mentions none."""
    last: dict[Part, int] = {}
    for part, mark in _PARTS.items():
        last[part] = max((match.end() for match in mark.finditer(text)), default=0)
    return max(last, key=last.__getitem__) if any(last.values()) else None


def part_of_path(path: str) -> Part | None:
    """The part that a layer belongs to, by its path alone; None if that does not tell."""
    names = path.split(".")
    if names[-1] in _OUTPUTS:
        return "unembed"
    return next((part for name in reversed(names) if (part := named_part(name)) is not None), None)
