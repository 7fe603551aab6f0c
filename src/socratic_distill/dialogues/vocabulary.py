"""Warns if a model's vocabulary lacks words of the seeds, as the packaged tiny model's does for foreign problems."""

from collections.abc import Iterable, Sequence

from socratic_distill.dialogues.cast import Cast
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.dialogues.seeds import Seed
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.text import get_logger

_log = get_logger(__name__)
_MOST_SEEDS = 200  # enough for a share, and quick for files of any length
_WARNS_FROM = 0.03
_EXAMPLES = 3


def warn_of_unknown_words(cast: Cast, seeds: Sequence[Seed]) -> None:
    """Warns once of the model that knows the fewest words of the seeds' questions; at most 200 seeds are read.

    Vocabularies of bytes or word pieces know every word, and cost nothing here.

    Args:
        cast: the models.
        seeds: the seeds.
    """
    members = cast.teachers.members.values()
    speakers = [student.speaker for student in cast.students.members.values()]
    students = [speaker.renderer for speaker in speakers if isinstance(speaker, Speaker)]
    renderers = [cast.tutor.renderer, *students, *(member.renderer for member in members)]
    by_model = {renderer.model_name: renderer for renderer in renderers if _unknown(renderer) is not None}
    words = [word for seed in seeds[:: -(-len(seeds) // _MOST_SEEDS) or 1] for word in seed.question.split()]
    missing = {name: _missing(renderer, words) for name, renderer in by_model.items()}
    name = max(missing, key=lambda name: len(missing[name]), default=None)
    if name is None or len(missing[name]) < _WARNS_FROM * len(words) or not words:
        return
    _log.warning(
        "the model %r does not know %.0f%% of the words in the seeds' questions, such as %s: it cannot read or write "
        "them. Use a model with a larger vocabulary, or seeds in the words that it knows",
        name,
        100 * len(missing[name]) / len(words),
        ", ".join(repr(word) for word in list(dict.fromkeys(missing[name]))[:_EXAMPLES]),
    )


def _unknown(renderer: Renderer) -> int | None:
    """The token that stands for unknown words; None if the vocabulary has none."""
    return getattr(renderer.tokenizer, "unk_token_id", None)


def _missing(renderer: Renderer, words: Iterable[str]) -> list[str]:
    """The words that hold an unknown token."""
    unknown = _unknown(renderer)
    is_missing = {word: unknown in renderer.codec.encode_said(word) for word in set(words)}
    return [word for word in words if is_missing[word]]
