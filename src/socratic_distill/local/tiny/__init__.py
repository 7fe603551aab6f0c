"""The tiny chat model that comes with the package, and its problems.

It has just under a million parameters, and was trained from scratch by `scripts/train_tiny.py`. Its model name on the
local engine is "tiny". It knows only the words of its problems and of the packaged prompts.
"""

from pathlib import Path

MODEL_DIR = Path(__file__).parent
"""Directory of the model and its tokenizer."""

TRAIN_SEEDS = MODEL_DIR / "train_seeds.jsonl"
"""Seeds to train on."""

HELDOUT_SEEDS = MODEL_DIR / "heldout_seeds.jsonl"
"""Seeds that neither the model nor a run on `TRAIN_SEEDS` has seen."""
