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
_SHARPER = 8  # factor on the tutor's logits: few steps leave it less sure than a test needs
_SURE = 0.9999  # the least probability of a token of the reply, over contexts that it was not trained on
_LINES = [
    "I do not know.",
    "I do not understand.",
    "But {sum}.",
    "I got {value}, because {sum}.",
    "I think {sum}, so the answer is {value}.",
    "Oh, {sum}, so it is {value}.",
    "Oh, I see. {sum}. The answer is {value}.",
    "First I read the problem. Then I did {sum}. So it is {value}.",
]
_WORDS = ["assistant", "user", "developer", "analysis", "final", SECRET]


def save_harmony_models(tutor: Path, teacher: Path, draws: int = 0, most: int = 400) -> None:
    """Writes two models with one vocabulary that give `REPLY`: the tutor surely, the teacher less so.

    How many steps that takes differs between processors, whose sums round differently.

    Args:
        tutor: its directory, which is created.
        teacher: likewise. It holds the weights after 45 steps.
        draws: seed of the dialogues that they are taught on.
        most: optimizer steps of the tutor, at most.

    Raises:
        AssertionError: the tutor was not sure of its reply after `most` steps.
    """
    tokenizer: Any = AutoTokenizer.from_pretrained(MODEL_DIR)
    tokenizer.add_special_tokens({"eos_token": ENDS[FAMILY], "additional_special_tokens": ["<|end|>", *_MARKS]})
    tokenizer.add_tokens(_WORDS)
    tokenizer.chat_template = TEMPLATES[FAMILY]
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_pretrained(MODEL_DIR, dtype=torch.float32)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    renderer, seeds, draw = Renderer(Codec(tokenizer), FAMILY), load_seeds(TRAIN_SEEDS, 64), random.Random(draws)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.1, 1 - step / 200))
    unseen = [_context(draw, renderer, seeds) for _ in range(100)]
    for step in range(most):
        if step == 45:
            _save(model, tokenizer, teacher)
        if step >= 90 and step % 30 == 0 and _is_sure(model, renderer, unseen):
            break
        for _ in range(4):
            _loss(model, renderer, _context(draw, renderer, seeds)).backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    else:
        raise AssertionError(f"after {most} steps the tutor is not sure of its reply")
    with torch.no_grad():
        model.model.norm.weight.mul_(_SHARPER)
    _save(model, tokenizer, tutor)


def _context(draw: random.Random, renderer: Renderer, seeds: Any) -> list[Message]:
    """Messages of up to three replies on random questions, with what random students say."""
    question = draw.choice(seeds).question
    talk = [Message("system", "You are a math tutor. Help the student with this problem.\n\nProblem: " + question)]
    for _ in range(draw.randrange(1, 4)):
        texts = [draw.choice(seeds).initial_error or "", _line(draw), _line(draw), _babble(draw, renderer), ""]
        talk += [Message("user", draw.choice(texts)), Message("assistant", SPEECH)]
    return talk[:-1]


def _line(draw: random.Random) -> str:
    """A line in the manner of the packaged student."""
    first, second, sign = draw.randrange(1, 10), draw.randrange(1, 10), draw.choice("+-x")
    value = first + second if sign == "+" else first - second if sign == "-" else first * second
    return draw.choice(_LINES).format(sum=f"{first} {sign} {second} = {value}", value=value)


def _babble(draw: random.Random, renderer: Renderer) -> str:
    """Random words: the packaged student says much that is in no seed."""
    words = [number for word, number in renderer.tokenizer.get_vocab().items() if word.startswith("\u2581")]
    return renderer.codec.decode(tuple(draw.choices(words, k=draw.randrange(1, 30))))


def _loss(model: Any, renderer: Renderer, talk: list[Message]) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(*_logits(model, renderer, talk))


@torch.no_grad()
def _is_sure(model: Any, renderer: Renderer, contexts: list[list[Message]]) -> bool:
    """Whether sharpened logits give each token of the reply a probability of at least `_SURE` after each context."""
    for talk in contexts:
        logits, reply = _logits(model, renderer, talk)
        chances = (logits * _SHARPER).softmax(-1)[torch.arange(len(reply)), reply]
        if chances.min() < _SURE:
            return False
    return True


def _logits(model: Any, renderer: Renderer, talk: list[Message]) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of shape [T, V] at the T tokens of the reply to `talk`, and those tokens."""
    prompt, reply = renderer.prompt(talk), renderer.codec.encode(REPLY)
    return model(torch.tensor([[*prompt, *reply]])).logits[0, len(prompt) - 1 : -1], torch.tensor(reply)


def _save(model: Any, tokenizer: Any, directory: Path) -> None:
    tokenizer.save_pretrained(directory)
    model.save_pretrained(directory)
