"""The tiny chat model that comes with the package, and its problems.

Just under a million parameters, trained from scratch by `scripts/train_tiny.py`. As a model name it is "tiny",
on the local engine. It knows the words of its problems and of the packaged prompts, and no others.
"""

from pathlib import Path

MODEL_DIR = Path(__file__).parent
"""Directory of the model and its tokenizer."""

TRAIN_SEEDS = MODEL_DIR / "train_seeds.jsonl"
"""Seeds to train on."""

HELDOUT_SEEDS = MODEL_DIR / "heldout_seeds.jsonl"
"""Seeds that neither the model nor a run that trains on `TRAIN_SEEDS` has seen."""
