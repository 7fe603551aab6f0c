"""Finds and loads a base model: the packaged tiny one, a directory, a GGUF file, or a hub name."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from socratic_distill.config.paths import TINY, resolved
from socratic_distill.errors import LocalEngineError, LocalExtraMissing
from socratic_distill.local import gguf_files
from socratic_distill.local.machine import Machine
from socratic_distill.local.quantized import loading_options
from socratic_distill.local.tiny import MODEL_DIR

# GGUF files are quantised more coarsely than this, so nothing is lost.
GGUF_PRECISION = torch.bfloat16


def load_base_model(name: str, trust_remote_code: bool, machine: Machine) -> tuple[Any, Any]:
    """Loads a causal language model, frozen and in evaluation mode, and its tokenizer.

    Args:
        name: "tiny", a directory, a `.gguf` file, or a name on the model hub.
        trust_remote_code: whether Python code among the model's files may run.
        machine: device and precision.

    Returns:
        The model and its tokenizer, which has an additional attribute `end_token_ids`.

    Raises:
        LocalEngineError: there is no such model, or it cannot be loaded.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    files = model_source(name, trust_remote_code, machine)
    if machine.quantized and files.gguf_file is not None:
        load_base_model(name, trust_remote_code, replace(machine, quantized=False))  # leaves dequantised weights
        files = model_source(name, trust_remote_code, machine)
    source, options, stored = files
    file = files.gguf_file
    logging.disable_progress_bar()  # transformers' bar would break the run's own display
    try:
        config: Any = AutoConfig.from_pretrained(source, **options)
        dtype = machine.precision(config.dtype if stored is None else stored)
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        if file is not None:
            gguf_files.split_as_trained(tokenizer, file)
        if machine.quantized:
            options = {**options, **loading_options(config, machine, dtype)}
        model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=dtype, **options)
        if machine.quantized:
            from socratic_distill.local.packed import use_plain_products  # imports bitsandbytes

            use_plain_products(model)
    except LocalExtraMissing:
        raise
    except Exception as error:  # transformers raises many kinds of errors
        raise LocalEngineError(
            f"model {name!r} cannot be loaded as {_describe(source, options)}: {error}. Give 'tiny', a directory "
            "with a transformers model, a .gguf file, or a name on the model hub"
        ) from error
    finally:
        logging.enable_progress_bar()
    _check_vocabulary(name, model, tokenizer)
    _check_template(name, model, tokenizer)
    tokenizer.end_token_ids = _end_tokens(model, tokenizer)  # for rendering, and for requests without stop tokens
    if file is not None:
        gguf_files.keep(file, dtype, model, tokenizer)
    return model.requires_grad_(False).eval().to(machine.device), tokenizer


class ModelSource(NamedTuple):
    """Where transformers finds a model.

    Attributes:
        source: a directory, or a name on the model hub.
        options: of its `from_pretrained`.
        stored: the precision of a GGUF file's weights; None for other models, whose config states theirs.
    """

    source: str
    options: dict[str, Any]
    stored: torch.dtype | None

    @property
    def gguf_file(self) -> Path | None:
        """The GGUF file that is to be dequantised; None if there is none, or its dequantised weights are cached."""
        return Path(self.source) / self.options["gguf_file"] if "gguf_file" in self.options else None


def model_source(name: str, trust_remote_code: bool, machine: Machine) -> ModelSource:
    """Where a model is opened from; a GGUF file that was dequantised before, from its cache.

    Args:
        name: "tiny", a directory, a `.gguf` file, or a name on the model hub.
        trust_remote_code: whether Python code among the model's files may run.
        machine: device and precision.

    Raises:
        LocalEngineError: there is no such GGUF file.
    """
    source, options = _source(name)
    stored = GGUF_PRECISION if "gguf_file" in options else None
    known = ModelSource(source, options, stored)
    if known.gguf_file is not None:
        cached = gguf_files.cached_directory(known.gguf_file, machine.precision(GGUF_PRECISION))
        known = known if cached is None else ModelSource(str(cached), {}, stored)
    return known._replace(options={**known.options, "trust_remote_code": trust_remote_code})


def _check_vocabulary(name: str, model: Any, tokenizer: Any) -> None:
    """Refuses a tokenizer that encodes text with ids that the model has no embeddings for.

    A model may have more rows than its tokenizer has tokens. Special tokens, which no text contains, may have ids
    beyond the rows.
    """
    rows = model.get_input_embeddings().num_embeddings
    special = set(tokenizer.all_special_tokens)
    beyond = [token for token, number in tokenizer.get_vocab().items() if number >= rows and token not in special]
    if beyond:
        raise LocalEngineError(
            f"the tokenizer of model {name!r} does not belong to its weights: {len(beyond)} of its tokens, such as "
            f"{min(beyond)!r}, have ids of {rows} or more, and the model knows {rows}. Put the model's own tokenizer "
            "into its directory"
        )


def _check_template(name: str, model: Any, tokenizer: Any) -> None:
    """Refuses a chat template that writes tokens without embeddings in the model, such as an end-of-turn token."""
    rows = model.get_input_embeddings().num_embeddings
    messages = [{"role": role, "content": "?"} for role in ("system", "user", "assistant", "user")]
    for dialogue in (messages, messages[1:]):  # some templates refuse a system message
        try:
            tokens = tokenizer.apply_chat_template(dialogue, add_generation_prompt=True, return_dict=False)
        except Exception:  # no template, or one that refuses: rendering the run's dialogues reports it
            continue
        if beyond := sorted({token for token in tokens if token >= rows}):
            raise LocalEngineError(
                f"the chat template of model {name!r} writes {tokenizer.convert_ids_to_tokens(beyond[0])!r}, token "
                f"{beyond[0]}, but the model has weights for only {rows} tokens. Put the model's own tokenizer and "
                "chat template into its directory, or resize its embeddings and train the new tokens first"
            )


def _end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """All end tokens of the model: the tokenizer's, and those of its generation_config, which may be several.

    If the model has no such file, transformers creates one with the default of the model's class. That is ignored.
    """
    named = model.generation_config.eos_token_id
    if named == getattr(type(model.config), "eos_token_id", None):
        named = None
    ends = {tokenizer.eos_token_id, *(named if isinstance(named, list | tuple) else [named])}
    return tuple(sorted(ends - {None}))


def stored_precision(name: str, trust_remote_code: bool) -> torch.dtype:
    """The precision of a model's stored weights; fp32 if its files do not state it, bf16 for GGUF files."""
    source, options = _source(name)
    if "gguf_file" in options:
        return GGUF_PRECISION
    return _dtype(source, {**options, "trust_remote_code": trust_remote_code}) or torch.float32


def _dtype(source: str, options: dict[str, Any]) -> torch.dtype | None:
    from transformers import AutoConfig

    config: Any = AutoConfig.from_pretrained(source, **options)
    return config.dtype


def _source(name: str) -> tuple[str, dict[str, Any]]:
    if name == TINY:
        return str(MODEL_DIR), {}
    path = Path(resolved(name))
    if path.suffix == ".gguf":
        if not path.is_file():
            raise LocalEngineError(f"model {name!r}: there is no such file; give the path of a .gguf file")
        return str(path.parent), {"gguf_file": path.name}
    return str(path) if path.exists() else name, {}


def _describe(source: str, options: dict[str, Any]) -> str:
    if "gguf_file" in options:
        return f"the GGUF file {options['gguf_file']} in {source}"
    return f"the directory {source}" if Path(source).is_dir() else f"{source} on the model hub"
