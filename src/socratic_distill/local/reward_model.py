"""A reward model on this machine: a causal language model with one number at the end of a conversation."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from socratic_distill.errors import LocalEngineError


class RewardModel:
    """Scores conversations with a sequence classifier of one label, in bfloat16 as MathTutorBench does."""

    def __init__(self, path: Path) -> None:
        """Loads model and tokenizer; nothing is downloaded, and no code in the files runs.

        Args:
            path: directory with the files of a `transformers` sequence classifier and its tokenizer.

        Raises:
            LocalEngineError: the directory holds no such model.
        """
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        if not (path / "config.json").is_file():
            raise LocalEngineError(f"{path} holds no model; expected the directory of a reward model, with config.json")
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
            model = AutoModelForSequenceClassification.from_pretrained(
                path, num_labels=1, dtype=torch.bfloat16, local_files_only=True
            )
        except (OSError, ValueError) as error:
            raise LocalEngineError(f"the reward model in {path} cannot be loaded: {error}") from error
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = model.to(device).eval()  # pyright: ignore[reportArgumentType]

    def score(self, conversation: Sequence[Mapping[str, str]]) -> float:
        """The reward of a conversation's last message.

        Args:
            conversation: messages with `role` and `content`.
        """
        import torch

        text = self._tokenizer.apply_chat_template([dict(message) for message in conversation], tokenize=False)
        # The template writes its own special tokens.
        tokens = self._tokenizer(text, add_special_tokens=False, return_tensors="pt").to(self._model.device)
        with torch.inference_mode():
            return float(self._model(**tokens).logits[0, 0])
