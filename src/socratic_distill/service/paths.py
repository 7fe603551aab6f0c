"""Paths of sampler weights in the ways that servers write them."""

import re

_TINKER = re.compile(r"tinker://(?P<run>[^/]+)/(?:(?P<kind>[^/]+)/)?(?P<name>[^/#]+)")


def full_path(sampler_path: str) -> str:
    """A path of sampler weights in its three parts, as the REST calls want it; some servers write it in two."""
    match = _TINKER.fullmatch(sampler_path)
    if match is None or match["kind"] is not None:
        return sampler_path
    return f"tinker://{match['run']}/sampler_weights/{match['name']}"


def spellings(path: str) -> set[str]:
    """A path in all the ways in which servers write it: that of sampler weights in three parts, or in two."""
    return {path, path.replace("/sampler_weights/", "/")} if path.startswith("tinker://") else {path}
