"""The local engine's saved weights, written by hand."""

import json
from pathlib import Path

NAME = "local-0001/weights/000004"
FACTS = {"base_model": "tiny", "rank": 4, "train_mlp": True, "train_attn": True, "train_unembed": True, "steps": 4}


def write_save(store: Path, name: str = NAME, **facts: object) -> Path:
    """A directory of weights in the store, with these facts."""
    directory = store / name
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_text("{}")
    (directory / "state.json").write_text(json.dumps(FACTS | {"created_at": 1.5, "expires_at": None} | facts))
    return directory
