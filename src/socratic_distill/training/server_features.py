"""Which scoring features a server has: known in advance, or asked for once and kept in `features.json`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from socratic_distill.config.objectives import EVERY_KIND, Feature, ObjectiveKind
from socratic_distill.config.wanted import features_of_weights
from socratic_distill.errors import UnsupportedFeature
from socratic_distill.service.connect import is_complete
from socratic_distill.service.failures import failure, status_of
from socratic_distill.service.interface import SamplingClient
from socratic_distill.text import get_logger
from socratic_distill.training.dialect import MOST_COLUMNS
from socratic_distill.training.server_facts import REMEMBERED, Facts, recall, remember
from socratic_distill.training.server_losses import problem_of, refuses_request

if TYPE_CHECKING:
    from tinker import SampleResponse

    from socratic_distill.config.config import SocraticConfig

_log = get_logger(__name__)


TWO_DIMENSIONS = "targets_in_two_dimensions"
FEATURES: tuple[Feature, ...] = get_args(Feature)

# Ids that every vocabulary has.
_PROMPT = (1, 2, 3)


def needed_features(config: "SocraticConfig") -> frozenset[Feature]:
    """The features that a config's objectives and token weights ask of its server."""
    return frozenset(feature for needs in _needs(config).values() for feature in needs)


async def check_features(
    config: "SocraticConfig", client: SamplingClient, directory: Path, said: "Mapping[Feature, bool] | None" = None
) -> None:
    """Returns if the server has what the objectives need.

    Sends nothing where they need nothing or the server is a known one, and else one request for each feature that
    `features.json` does not remember of it: a prompt of 3 tokens, and 1 to sample.

    Args:
        config: the objectives, and the server by its `base_url`.
        client: a sampling client of the teacher.
        directory: the run's; made where it does not exist.
        said: what the server says that it has, or lacks.

    Raises:
        UnsupportedFeature: the server lacks some; the message says which objectives work there.
        ServiceError: the service failed a request for another reason.
        StorageError: features.json cannot be written.
    """
    needed = needed_features(config)
    if not needed or is_complete(config.base_url):
        return
    url = str(config.base_url)
    known: Facts = recall(directory, url) | dict(said or {})
    unknown: list[Feature] = [feature for feature in FEATURES if not isinstance(known.get(feature), bool)]
    untried: list[Feature] = [feature for feature in unknown if feature in needed]
    answers = {feature: await _probe(client, feature) for feature in untried}
    if answers:
        remember(directory, url, answers)
    known |= answers
    lacking: list[Feature] = [feature for feature in FEATURES if feature in needed and not known[feature]]
    if lacking:
        raise UnsupportedFeature(_message(config, lacking, known, directory / REMEMBERED))


def _needs(config: "SocraticConfig") -> dict[str, frozenset[Feature]]:
    """The features that each kind of objective of the config needs, and each kind of its token weights."""
    needs: dict[str, frozenset[Feature]] = {}
    if config.plays_dialogues:
        needs |= {part.kind: part.features(played=True) for part in config.objective.divergences}
        needs |= features_of_weights(config.token_weights, config.temperature)
    if config.recordings is not None:
        for part in config.recordings.objective.divergences:
            needs.setdefault(part.kind, part.features(played=False))
    return needs


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
    """Whether an error refuses the feature: by its status, or by its text if the SDK itself misses the answer."""
    return refuses_request(error) or (status_of(error) is None and feature in str(error))


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


def losses_of(objectives: Iterable[ObjectiveKind], policy: str) -> list[str]:
    """The losses that objectives are trained by.

    Args:
        objectives: kinds or mixtures.
        policy: the config's `loss_fn`, for tokens that were sampled.
    """
    parts = [part for objective in objectives for part in (objective.divergences or (objective,))]
    return [policy if part.trains_sampled_tokens else "cross_entropy" for part in parts]


def columns_of(objective: ObjectiveKind) -> int:
    """The most target columns that an objective's data have; 0: one dimension."""
    named = [part for part in objective.divergences if not part.trains_sampled_tokens]
    return sum(part.tutor_top + part.teacher_top + part.draws for part in named)


def works(kind: ObjectiveKind, config: "SocraticConfig", facts: Mapping[str, bool | str]) -> bool:
    """Whether a server is known to have the features that a kind of objective needs, and to lack nothing else for it.

    Args:
        kind: the objective.
        config: says whether dialogues are played, and the loss of sampled tokens.
        facts: what is known of the server.
    """
    if any(facts.get(feature) is not True for feature in kind.features(config.plays_dialogues)):
        return False
    if any(problem_of(loss, facts) for loss in losses_of([kind], config.loss_fn)):
        return False
    return facts.get(TWO_DIMENSIONS) is not False or columns_of(kind) <= MOST_COLUMNS


def _message(config: "SocraticConfig", lacking: Sequence[Feature], known: Mapping[str, bool | str], path: Path) -> str:
    kinds_lacking = {kind: needs for kind, needs in _needs(config).items() if not needs.isdisjoint(lacking)}.keys()
    kinds = ", ".join(map(repr, kinds_lacking))
    of_weights = {weight.kind for weight in config.token_weights}
    what = "token weight" if kinds_lacking <= of_weights else "objective"
    able = ", ".join(repr(objective.kind) for objective in EVERY_KIND if works(objective, config, known))
    return (
        f"the {what} {kinds} needs {', '.join(lacking)}, which the server at base_url={config.base_url!r} "
        f"lacks. What is known to work there: {able or 'nothing'} ('supervised' on recordings alone). Change the "
        f"{what} or the server; {path} remembers the answer, delete it to have the server asked again"
    )
