"""Which scoring features a server has: known beforehand, or asked for once and kept in `features.json`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from socratic_distill.config.objectives import Feature, divergences
from socratic_distill.errors import StorageError, UnsupportedFeature
from socratic_distill.files.durable import write_atomically
from socratic_distill.files.rows import read_object
from socratic_distill.service.connect import COMPLETE
from socratic_distill.service.failures import failure
from socratic_distill.service.interface import SamplingClient
from socratic_distill.text import get_logger

if TYPE_CHECKING:
    from tinker import SampleResponse

    from socratic_distill.config.config import SocraticConfig

_log = get_logger(__name__)


REMEMBERED = "features.json"


Facts = dict[str, dict[str, bool]]  # by base_url and name


def recall(directory: Path) -> Facts:
    """What is remembered; nothing where the file is damaged, since asking again is cheap."""
    try:
        found = read_object(directory / REMEMBERED, StorageError, "it holds what servers can do") or {}
    except StorageError:
        return {}
    return {
        url: {name: value for name, value in known.items() if isinstance(value, bool)}
        for url, known in found.items()
        if isinstance(known, dict)
    }


def remember(directory: Path, url: str, found: Mapping[str, bool]) -> None:
    """Adds what was found of a server; makes the directory where it does not exist.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{directory} cannot be made: {error.strerror or error}. Take another log_path") from error
    facts = recall(directory)
    facts[url] = facts.get(url, {}) | dict(found)
    write_atomically(directory / REMEMBERED, json.dumps(facts, indent=2, sort_keys=True) + "\n")


FEATURES: tuple[Feature, ...] = get_args(Feature)

# What each kind of objective asks for.
_NEEDS: Mapping[str, frozenset[Feature]] = {
    "sampled_reverse_kl": frozenset(),
    "supervised": frozenset(),
    "forward_kl": frozenset({"topk_prompt_logprobs"}),
    "reverse_kl": frozenset({"topk_prompt_logprobs", "target_prompt_logprobs"}),
    "jensen_shannon": frozenset({"topk_prompt_logprobs", "target_prompt_logprobs"}),
    "monte_carlo_kl": frozenset({"prompt_alt_tokens_k", "target_prompt_logprobs"}),
}
# In a dialogue that is played, the tutor's likeliest tokens come with its turns.
_NEED_THE_TUTORS_TOP = ("reverse_kl", "jensen_shannon")
_THE_TUTORS_TOP: frozenset[Feature] = frozenset({"topk_sample_logprobs"})
# A server that does not know a field of a request ignores it, or refuses the request with one of these.
_REFUSALS = (400, 422, 501)
# Ids that every vocabulary has.
_PROMPT = (1, 2, 3)


def needed_features(config: "SocraticConfig") -> frozenset[Feature]:
    """The features that a config's objectives, of played and of recorded dialogues, ask of its server."""
    return frozenset(feature for needs in _needs(config).values() for feature in needs)


async def check_features(config: "SocraticConfig", client: SamplingClient, directory: Path) -> None:
    """Returns if the server has what the objectives need.

    Sends nothing where they need nothing or the server is a known one, and else one request for each feature that
    `features.json` does not remember of it: a prompt of 3 tokens, and 1 to sample.

    Args:
        config: the objectives, and the server by its `base_url`.
        client: a sampling client of the teacher.
        directory: the run's; made where it does not exist.

    Raises:
        UnsupportedFeature: the server lacks some; the message says which objectives work there.
        ServiceError: the service failed a request for another reason.
        StorageError: features.json cannot be written.
    """
    needed = needed_features(config)
    if not needed or config.base_url in COMPLETE:
        return
    url = str(config.base_url)
    known = recall(directory).get(url, {})
    untried: list[Feature] = [feature for feature in FEATURES if feature in needed and feature not in known]
    found = {feature: await _probe(client, feature) for feature in untried}
    if found:
        remember(directory, url, found)
    known |= found
    lacking: list[Feature] = [feature for feature in FEATURES if feature in needed and not known[feature]]
    if lacking:
        raise UnsupportedFeature(_told(config, lacking, known, directory / REMEMBERED))


def _needs(config: "SocraticConfig") -> dict[str, frozenset[Feature]]:
    """What each kind of objective of the config needs."""
    needs: dict[str, frozenset[Feature]] = {}
    if config.plays_dialogues:
        needs |= {one.kind: _needs_of(one.kind, played=True) for one in divergences(config.objective)}
    if config.recordings is not None:
        for one in divergences(config.recordings.objective):
            needs.setdefault(one.kind, _needs_of(one.kind, played=False))
    return needs


def _needs_of(kind: str, played: bool) -> frozenset[Feature]:
    return _NEEDS[kind] | _THE_TUTORS_TOP if played and kind in _NEED_THE_TUTORS_TOP else _NEEDS[kind]


async def _probe(client: SamplingClient, feature: Feature) -> bool:
    """Whether the server answers a small request with what the feature gives."""
    try:
        response = await _ask(client, feature)
    except Exception as error:
        if not _is_refusal(error, feature):
            raise failure(f"asking the server for {feature}", error) from error
        _log.info("the server refuses %s: %s", feature, error)
        return False
    if feature == "topk_sample_logprobs":
        return bool(response.sequences) and response.sequences[0].topk_logprobs is not None
    answer = "prompt_alt_tokens" if feature == "prompt_alt_tokens_k" else feature
    return getattr(response, answer) is not None


def _is_refusal(error: Exception, feature: Feature) -> bool:
    """Whether it is about the feature: by its status or, where the SDK itself misses the answer, by its text."""
    status = getattr(error, "status_code", None)
    return status in _REFUSALS or (status is None and feature in str(error))


async def _ask(client: SamplingClient, feature: Feature) -> "SampleResponse":
    from tinker import ModelInput, SamplingParams, TensorData

    asked: dict[str, Any] = {feature: 1}
    if feature == "target_prompt_logprobs":  # of the last token alone, in the layout that training sends
        asked[feature] = TensorData([_PROMPT[-1]], "int64", [len(_PROMPT) - 1, 1], [0, 0, 1], [0])
    return await client.sample(
        ModelInput.from_ints(list(_PROMPT)),
        1,
        SamplingParams(max_tokens=1, seed=0),
        include_prompt_logprobs=feature != "topk_sample_logprobs",
        **asked,
    )


def _told(config: "SocraticConfig", lacking: Sequence[Feature], known: Mapping[str, bool], path: Path) -> str:
    kinds = ", ".join(repr(kind) for kind, needs in _needs(config).items() if not needs.isdisjoint(lacking))
    needs = {kind: _needs_of(kind, config.plays_dialogues) for kind in _NEEDS}
    works = ", ".join(repr(kind) for kind, all_of in needs.items() if all(known.get(one) for one in all_of))
    return (
        f"the objective {kinds} needs {', '.join(lacking)}, which the server at base_url={config.base_url!r} "
        f"lacks. What is known to work there: {works} ('supervised' on recordings alone). Change the objective or "
        f"the server; {path} remembers the answer, delete it to have the server asked again"
    )
