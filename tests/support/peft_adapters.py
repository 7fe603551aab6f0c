"""LoRAs that peft trains and saves by itself, on the packaged tiny model."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from socratic_distill.local.adapters import peft_quiet
from socratic_distill.local.tiny import MODEL_DIR

TOKENS = [5, 9, 17, 33, 21, 40, 8, 6, 5, 9, 17, 33]


def peft_adapter(directory: Path, steps: int = 5, **settings: Any) -> Any:
    """Trains a LoRA with peft alone, saves it, and returns the model with it on.

    Args:
        directory: to write.
        steps: optimizer steps; each makes one fixed text likelier.
        **settings: of its LoraConfig.
    """
    torch.manual_seed(3)
    base: Any = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    given = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **settings}
    with peft_quiet():
        model: Any = get_peft_model(base, LoraConfig(**given))
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=2e-2)
    tokens = torch.tensor([TOKENS])
    for _ in range(steps):
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with peft_quiet():
        model.save_pretrained(str(directory), save_embedding_layers=False)
    return model.eval()


def peft_logprobs(model: Any, tokens: list[int] = TOKENS) -> list[float]:
    """Log-probabilities of the tokens after the first."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([tokens])).logits[0, :-1]  # [N - 1, V]
    return torch.log_softmax(logits, -1).gather(1, torch.tensor(tokens[1:])[:, None])[:, 0].tolist()


def change_settings(directory: Path, **changes: Any) -> None:
    """Changes fields of a saved adapter's adapter_config.json."""
    path = directory / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
