"""A tiny model that speaks in harmony channels: the packaged one, taught one reply on dialogues of its own template."""

import random
from pathlib import Path
from typing import Any

import torch
from tests.support.families import ENDS, TEMPLATES
from transformers import AutoModelForCausalLM, AutoTokenizer

from socratic_distill import load_seeds
from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.dialogue import Message
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.local.tiny import MODEL_DIR, TRAIN_SEEDS

FAMILY = "openai/gpt-oss-20b"
SECRET, SPEECH = "SECRET", "What is 3 + 4?"
ANALYSIS = f"<|channel|>analysis<|message|>{SECRET}<|end|><|start|>assistant"
REPLY = f"{ANALYSIS}<|channel|>final<|message|>{SPEECH}<|return|>"
_MARKS = ["<|start|>", "<|channel|>", "<|message|>", "<|return|>"]
_SHARPER = 3  # factor on the tutor's logits: few steps leave it less sure than a test needs
_WORDS = ["assistant", "user", "developer", "analysis", "final", SECRET]


def save_harmony_models(tutor: Path, teacher: Path, steps: int = 90) -> None:
    """Writes two models with one vocabulary that give `REPLY`: the tutor surely, the teacher less so.

    Args:
        tutor: its directory, which is created.
        teacher: likewise. It holds the weights after half of the steps.
        steps: optimizer steps of the tutor.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_DIR)
    tokenizer.add_special_tokens({"eos_token": ENDS[FAMILY], "additional_special_tokens": ["<|end|>", *_MARKS]})
    tokenizer.add_tokens(_WORDS)
    tokenizer.chat_template = TEMPLATES[FAMILY]
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    renderer, seeds, draw = Renderer(Codec(tokenizer), FAMILY), load_seeds(TRAIN_SEEDS, 64), random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for step in range(steps):
        if step == steps // 2:
            _save(model, tokenizer, teacher)
        for _ in range(4):
            _loss(model, renderer, _context(draw, renderer, seeds)).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    with torch.no_grad():
        model.model.norm.weight.mul_(_SHARPER)
    _save(model, tokenizer, tutor)


def _context(draw: random.Random, renderer: Renderer, seeds: Any) -> list[Message]:
    """Messages of up to three replies on random questions, with what random students say."""
    said = [draw.choice(seeds) for _ in range(draw.randrange(1, 4))]
    texts = [draw.choice([seed.initial_error or "", seed.question, _babble(draw, renderer), ""]) for seed in said]
    talk = [Message("system", "You are a math tutor.\n\nProblem: " + draw.choice(seeds).question)]
    for text in texts:
        talk += [Message("user", text), Message("assistant", SPEECH)]
    return talk[:-1]


def _babble(draw: random.Random, renderer: Renderer) -> str:
    """Random words: the packaged student says much that is in no seed."""
    words = [number for word, number in renderer.tokenizer.get_vocab().items() if word.startswith("\u2581")]
    return renderer.codec.decode(tuple(draw.choices(words, k=draw.randrange(1, 30))))


def _loss(model: Any, renderer: Renderer, talk: list[Message]) -> torch.Tensor:
    prompt, reply = renderer.prompt(talk), renderer.codec.encode(REPLY)
    logits = model(torch.tensor([[*prompt, *reply]])).logits[0, len(prompt) - 1 : -1]  # [T, V]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(reply))


def _save(model: Any, tokenizer: Any, directory: Path) -> None:
    tokenizer.save_pretrained(directory)
    model.save_pretrained(directory)
