"""Builds the tiny model from nothing: its tokenizer, its weights and its seed files.

    python scripts/train_tiny.py --out src/socratic_distill/tiny

A Llama of just under a million parameters is trained on dialogues from `tiny_dialogues.py`, each shown as one of
three roles sees it: the tutor under its plain prompt (tells the answer, asks now and then), the teacher under
the Socratic prompt (asks), the student under its own prompt (errs, and can be led to the answer). Only the
replies of that role are learned, their end token included. Everything follows from `--seed` and `--steps`.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from random import Random

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tiny_evaluation import print_table
from tiny_problems import LARGEST_NUMBER, Split, seed_records
from tiny_views import PROMPT_DIR, Message, make_view

PAD, UNKNOWN, END = "<pad>", "<unk>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# The rest of a view, learned at this weight, teaches copying: a story names its things more than once.
CONTEXT_WEIGHT = 0.3
TRAIN_SEEDS, HELDOUT_SEEDS = 256, 128


def build_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """A word-level tokenizer: one token a word, number or mark, each with its leading space if it has one.

    Every piece of text between special tokens gets a leading space, so that a word has one token wherever
    it stands, and text split at the borders of messages encodes to the same tokens as the whole.
    """
    normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"(?<=\d)(?=[-+=])|(?<=[-+=])(?=\d)"), " "),
            normalizers.Replace(Regex(r"[ \t]+"), " "),
            normalizers.Strip(),
        ]
    )
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="always", split=True),
            pre_tokenizers.Split(Regex(r"▁?(?:[A-Za-z]+(?:'[a-z]+)?|\d+|[^A-Za-z\d▁])"), "isolated"),
        ]
    )
    words = {f"▁{number}" for number in range(LARGEST_NUMBER + 1)}
    for text in _texts(seed):
        for line in text.split("\n"):
            words.update(piece for piece, _ in splitter.pre_tokenize_str(normalizer.normalize_str(line)))
    words.discard("▁")
    tokens = [PAD, UNKNOWN, *ROLES, END, "\n", *sorted(words)]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, UNKNOWN))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=\n|\|>)▁"), ""),
            decoders.Replace("▁", " "),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([PAD, UNKNOWN, *ROLES, END])
    tokenizer.add_tokens([AddedToken("\n", normalized=False)])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def _texts(seed: int) -> Iterator[str]:
    """Text that holds every word the model meets."""
    for path in sorted(PROMPT_DIR.glob("*.txt")):
        yield "".join(part.partition("}")[2] or part for part in path.read_text(encoding="utf-8").split("{"))
    rng = Random(seed)
    for _ in range(6000):
        for message in make_view(rng):
            yield message.text


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """The number of a token of the vocabulary."""
    return tokenizer.get_vocab()[token]


class Encoder:
    """Views to token ids `[N]` and targets `[N]`, which are -100 where nothing is learned."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self._encode = lru_cache(200_000)(lambda text: tokenizer.encode(text, add_special_tokens=False))
        self._marks = {role: token_id(tokenizer, f"<|{role}|>") for role in ("system", "user", "assistant")}
        self._end = token_id(tokenizer, END)

    def __call__(self, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
        """Encodes a view as the chat template writes it."""
        ids: list[int] = []
        targets: list[int] = []
        for message in messages:
            body = [*self._encode(message.text), self._end]
            ids += [self._marks[message.role], *body]
            targets += [-100, *(body if message.learned else [-100] * len(body))]
        return ids, targets


def batches(encoder: Encoder, rng: Random, size: int, pad: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of views of like length: ids and targets, both `[size, N]`, padded on the right."""
    pool_of = 16
    while True:
        pool = sorted((encoder(make_view(rng)) for _ in range(size * pool_of)), key=lambda pair: len(pair[0]))
        chunks = [pool[i : i + size] for i in range(0, len(pool), size)]
        rng.shuffle(chunks)
        for chunk in chunks:
            width = len(chunk[-1][0])
            ids = torch.tensor([i + [pad] * (width - len(i)) for i, _ in chunk])
            targets = torch.tensor([t + [-100] * (width - len(t)) for _, t in chunk])
            yield ids, targets


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A fresh Llama of about a million parameters."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        initializer_range=0.04,
        bos_token_id=None,
        eos_token_id=token_id(tokenizer, END),
        pad_token_id=token_id(tokenizer, PAD),
    )
    return LlamaForCausalLM(config)


def losses(
    model: LlamaForCausalLM, ids: torch.Tensor, targets: torch.Tensor, pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean cross-entropy of the learned tokens and of all others, nats a token; padding is left out."""
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    following = ids[:, 1:]
    learned, real = targets[:, 1:] != -100, following != pad
    nats = torch.nn.functional.cross_entropy(model.lm_head(hidden[real]), following[real], reduction="none")
    own = learned[real]
    return nats[own].mean(), nats[~own].mean()


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, args: argparse.Namespace) -> None:
    """AdamW with warm-up and a cosine to zero."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.97), weight_decay=0.01)
    source = batches(Encoder(tokenizer), Random(args.seed + 1), args.batch, token_id(tokenizer, PAD))
    start, tokens, recent = time.perf_counter(), 0, []
    model.train()
    for step in range(args.steps):
        warm, done = min(1.0, (step + 1) / 100), step / args.steps
        scale = warm * (0.5 + 0.5 * math.cos(math.pi * done))
        ids, targets = next(source)
        loss, context_loss = losses(model, ids, targets, token_id(tokenizer, PAD))
        (loss + CONTEXT_WEIGHT * context_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = args.lr * scale
        optimizer.step()
        optimizer.zero_grad()
        tokens += ids.numel()
        recent.append(loss.item())
        if (step + 1) % 100 == 0:
            spent = time.perf_counter() - start
            mean = sum(recent) / len(recent)
            print(
                f"step {step + 1:5d}  loss {mean:.4f}  {tokens / spent:6.0f} tokens/s  {spent:4.0f} s",
                flush=True,
            )
            recent = []
    model.eval()


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path, seed: int) -> None:
    """Writes model (weights in fp16, to be loaded as fp32), tokenizer and seed files."""
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out)
    config = json.loads((out / "config.json").read_text())
    config["dtype"] = "float32"  # what transformers loads it as; the file keeps half the bytes
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tokenizer.save_pretrained(out)
    tidy_tokenizer_config(out / "tokenizer_config.json")
    (out / "model.safetensors").chmod(0o644)
    write_seeds(out, seed)


def tidy_tokenizer_config(path: Path) -> None:
    """Names the tokenizer's class as every version of transformers knows it."""
    config = json.loads(path.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n")


def write_seeds(out: Path, seed: int) -> None:
    """Writes `train_seeds.jsonl` and `heldout_seeds.jsonl`."""
    files: tuple[tuple[str, Split, int], ...] = (
        ("train", "distill", TRAIN_SEEDS),
        ("heldout", "heldout", HELDOUT_SEEDS),
    )
    for name, split, count in files:
        records = seed_records(Random(seed + 2), split, count)
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        (out / f"{name}_seeds.jsonl").write_text("".join(lines), encoding="utf-8")


def report(out: Path, seed: int) -> None:
    """Prints what the model in this directory does on the held-out seeds."""
    lines = (out / "heldout_seeds.jsonl").read_text(encoding="utf-8").splitlines()
    model = LlamaForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    print_table(model, PreTrainedTokenizerFast.from_pretrained(out), [json.loads(line) for line in lines], seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--steps", type=int, default=3000, help="optimizer steps")
    parser.add_argument("--batch", type=int, default=14, help="views a step")
    parser.add_argument("--lr", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of data, initial weights and seed files")
    parser.add_argument("--threads", type=int, default=2, help="of torch; results depend on it in the last digits")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tokenizer = build_tokenizer(args.seed)
    model = build_model(tokenizer, args.seed)
    count = sum(p.numel() for p in model.parameters())
    print(f"{count} parameters, {len(tokenizer)} tokens")
    train(model, tokenizer, args)
    save(model, tokenizer, args.out, args.seed)
    report(args.out, args.seed)


if __name__ == "__main__":
    main()
