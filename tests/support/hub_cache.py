"""A hub cache on this machine, with tokenizers under the names of models that nobody downloads."""

import inspect
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from tinker.lib.public_interfaces import sampling_client

from socratic_distill.local.tiny import MODEL_DIR
from socratic_distill.testing.tokenizer import END_TOKEN, SPECIAL_TOKENS, ToyTokenizer

_FILES = ("chat_template.jinja", "config.json", "tokenizer.json", "tokenizer_config.json")
_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def lay_tokenizers(home: Path, names: Iterable[str], directory: Path = MODEL_DIR) -> None:
    """Lays the tokenizer of a model's directory under every name into the cache of an HF_HOME."""
    # The SDK asks for some tokenizers by a revision.
    pinned = re.findall(r'"revision": "([0-9a-f]{40})"', inspect.getsource(sampling_client))
    revisions = ["0" * 40, *pinned]
    for name in names:
        repository = home / "hub" / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(revisions[0])
        for revision in revisions:
            snapshot = repository / "snapshots" / revision
            snapshot.mkdir(parents=True)
            for file in filter(Path.exists, (directory / name for name in _FILES)):
                shutil.copy(file, snapshot)


def save_toy_tokenizer(directory: Path) -> None:
    """Writes the tokenizer of the fake's models as a Hugging Face one; characters outside its pieces become "?"."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = ToyTokenizer().get_vocab()
    raw = Tokenizer(models.WordLevel(vocab, unk_token="<0x3F>"))
    pieces = sorted((name for name in vocab if not name.startswith("<")), key=len, reverse=True)
    pattern = "|".join(map(re.escape, pieces))
    split = pre_tokenizers.Split(Regex(f"{pattern}|(?m:.)"), "isolated")
    raw.pre_tokenizer = split  # pyright: ignore[reportAttributeAccessIssue]
    raw.decoder = decoders.Fuse()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token=END_TOKEN,
        additional_special_tokens=list(SPECIAL_TOKENS),
        chat_template=_TEMPLATE,
    )
    tokenizer.save_pretrained(directory)
    # Transformers reads which tokenizer a model has from its config.
    (directory / "config.json").write_text('{"model_type": "llama"}')
