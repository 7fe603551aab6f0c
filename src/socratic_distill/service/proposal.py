"""Which offered models to take in place of names that a service does not offer.

Tutor and teachers must have one vocabulary. The packaged table says which models do; where their tokenizers are on
this machine, those are compared as well. Nothing is asked of a network.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from socratic_distill.config.call import as_call
from socratic_distill.config.catalogue import KnownModel, base_name, catalogue
from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.named_models import named_models, with_names

# Distances: the same model 0, its successor a little, others by their sizes' ratio.
_SUCCESSOR = 0.05
_OTHER_MAKER = 1.0
_UNKNOWN_SIZE = 3.0
_TEXTS = ("12,345.678 are 007 numbers, 1/2 + 3/4 = 5/4", "Isn't THAT why? \u4e09\u4e2a\u82f9\u679c", "\n\n  1. x\t= 2")


def propose(config: SocraticConfig, trainable: Sequence[str], sampleable: Sequence[str]) -> str | None:
    """The call with the nearest offered models that fit together, and what their fit was judged by.

    Args:
        config: has full names, some of them of models that are not offered.
        trainable: full names that can be trained.
        sampleable: full names that can be sampled from.

    Returns:
        None where the table knows no offered models with one vocabulary.
    """
    for names in _by_distance(named_models(config), trainable, sampleable):
        fit = _fit([name for field, name in names.items() if _shares_tokens(field)])
        if fit is not None:
            call = as_call(with_names(config, lambda field, name, names=names: names[field]))
            return f"the nearest offered models that fit together, {fit}:\n{call}"
    return None


def _by_distance(
    wanted: Mapping[str, str], trainable: Sequence[str], sampleable: Sequence[str]
) -> Iterator[dict[str, str]]:
    """Offered names for every field, one choice for each vocabulary, the nearest first."""
    talkers = [model for name in sampleable if (model := _talks(name)) is not None]
    choices: list[tuple[float, dict[str, str]]] = []
    for vocabulary in sorted({model.vocabulary for model in talkers if model.vocabulary is not None}):
        family = [model for model in talkers if model.vocabulary == vocabulary]
        tutors = [model for model in family if model.name in trainable]
        if not tutors:
            continue
        tutor = min(tutors, key=lambda model: _distance(wanted["tutor_model_name"], model))
        # A teacher smaller than its tutor has nothing to teach.
        teachers = [model for model in family if model.billions >= tutor.billions]
        names, far = {}, 0.0
        for field, name in wanted.items():
            pool = [tutor] if field == "tutor_model_name" else teachers if _shares_tokens(field) else talkers
            nearest = min(pool, key=lambda model, name=name: (_distance(name, model), model.name))
            names[field], far = nearest.name, far + _distance(name, nearest)
        choices.append((far, names))
    yield from (names for _, names in sorted(choices, key=lambda choice: choice[0]))


def _talks(name: str) -> KnownModel | None:
    """A known model that takes messages; None for one that is not known, for a base model, and for variants."""
    model = catalogue().find(name)
    if model is None or model.name != name or name.endswith("-Base") or model.template is not None:
        return None
    return model


def _shares_tokens(field: str) -> bool:
    return field.startswith(("tutor", "teacher"))


def _distance(name: str, model: KnownModel) -> float:
    """How far a model is from the one that was named."""
    if base_name(name) == model.name:
        return 0.0
    known = catalogue().find(name)
    if known is None:
        return _UNKNOWN_SIZE
    if known.successor == model.name:
        return _SUCCESSOR
    is_other = known.name.partition("/")[0] != model.name.partition("/")[0]
    return 2 * _SUCCESSOR + abs(math.log(known.billions / model.billions)) + _OTHER_MAKER * is_other


def _fit(names: Sequence[str]) -> str | None:
    """What says that models cut texts alike, in words; None where their tokenizers on this machine say otherwise."""
    tokenizers = [tokenizer for name in dict.fromkeys(names) if (tokenizer := _tokenizer(name)) is not None]
    if len(tokenizers) < len(set(names)):
        return "by the packaged table, since their tokenizers are not on this machine"
    first, *others = tokenizers
    for other in others:
        if first.get_vocab() != other.get_vocab() or any(first.encode(text) != other.encode(text) for text in _TEXTS):
            return None
    return "by the packaged table and their tokenizers on this machine"


def _tokenizer(name: str) -> Any | None:
    """A model's tokenizer from the files that are on this machine; None where they are not."""
    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(name, local_files_only=True, trust_remote_code=False)
    except Exception:  # whatever keeps it from being read: the run's own check of tokenizers says it later
        return None
