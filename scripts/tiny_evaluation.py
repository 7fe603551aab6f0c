"""Measures the tiny model in self-play on seeds: telling, asking, solving, and the teacher's view of it.

The model plays tutor and student, with sampled replies at temperature 1. "Telling" is a tutor reply that
holds the expected answer, "asking" one that holds a question mark, "solved" a student turn whose last number
is the answer and that asks nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from tiny_problems import DEFAULT_PROFILE
from tiny_views import prompt_text

Seed = Mapping[str, str]


@dataclass
class Play:
    """One dialogue in self-play: the student's and the tutor's turns as text, whether it was solved."""

    seed: Seed
    system: str
    student: list[str] = field(default_factory=list)
    tutor: list[str] = field(default_factory=list)
    solved: bool = False

    @property
    def told(self) -> bool:
        """Whether a tutor turn held the answer."""
        return any(self.seed["expected_answer"] in _numbers(turn) for turn in self.tutor)

    def tutor_messages(self, system: str, turns: int) -> list[dict[str, str]]:
        """The talk from the tutor's side, up to the student's turn before tutor turn `turns`."""
        talk = [{"role": "system", "content": system}, {"role": "user", "content": self.student[0]}]
        for tutor, student in zip(self.tutor[:turns], self.student[1 : turns + 1], strict=True):
            talk += [{"role": "assistant", "content": tutor}, {"role": "user", "content": student}]
        return talk

    def student_messages(self) -> list[dict[str, str]]:
        """The talk from the student's side."""
        name = "student" if self.seed.get("initial_error") else "student_attempt"
        facts = {"student_profile": DEFAULT_PROFILE, **self.seed}
        talk = [
            {"role": "system", "content": prompt_text(name, facts)},
            {"role": "user", "content": prompt_text("student_opening")},
        ]
        for student, tutor in zip(self.student, self.tutor, strict=True):
            talk += [{"role": "assistant", "content": student}, {"role": "user", "content": tutor}]
        return talk


def self_play(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    seeds: Sequence[Seed],
    prompt: str,
    max_turns: int,
) -> list[Play]:
    """Plays one dialogue a seed, the tutor under this prompt file; sampled from torch's global generator."""
    plays = [Play(seed, prompt_text(prompt, seed)) for seed in seeds]
    for play, text in zip(plays, replies(model, tokenizer, [p.student_messages() for p in plays]), strict=True):
        play.student.append(text)
        play.solved = _solves(text, play.seed)
    for turn in range(max_turns):
        going = [play for play in plays if not play.solved]
        if not going:
            break
        views = [play.tutor_messages(play.system, turn) for play in going]
        for play, text in zip(going, replies(model, tokenizer, views), strict=True):
            play.tutor.append(text)
        views = [play.student_messages() for play in going]
        for play, text in zip(going, replies(model, tokenizer, views), strict=True):
            play.student.append(text)
            play.solved = _solves(text, play.seed)
    return plays


@torch.no_grad()
def replies(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, views: Sequence[list[dict[str, str]]]
) -> list[str]:
    """Samples one reply to each view."""
    texts = [tokenizer.apply_chat_template(view, tokenize=False, add_generation_prompt=True) for view in views]
    batch = tokenizer(
        texts, padding=True, padding_side="left", add_special_tokens=False, return_tensors="pt",
        return_token_type_ids=False,
    )  # fmt: skip
    out = model.generate(**batch, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=60)
    return tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


@torch.no_grad()
def reply_logprobs(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, view: list[dict[str, str]], reply: str
) -> torch.Tensor:
    """Log-probability of each token of a reply, its end token included, nats, `[T]`."""
    prompt = tokenizer.apply_chat_template(view, tokenize=False, add_generation_prompt=True)
    before = tokenizer.encode(prompt, add_special_tokens=False)
    after = [*tokenizer.encode(reply, add_special_tokens=False), tokenizer.eos_token_id]
    logits = model(torch.tensor([[*before, *after]])).logits[0, len(before) - 1 : -1]  # [T, vocabulary]
    return logits.log_softmax(-1).gather(-1, torch.tensor(after)[:, None])[:, 0]


def teacher_kl(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, plays: Sequence[Play]) -> list[float]:
    """Mean of plain less Socratic log-probability of the tutor's tokens, nats a token, for each turn."""
    by_turn: list[list[torch.Tensor]] = []
    for play in plays:
        teacher = prompt_text("teacher", play.seed)
        for turn, reply in enumerate(play.tutor):
            plain, socratic = (
                reply_logprobs(model, tokenizer, play.tutor_messages(system, turn), reply)
                for system in (play.system, teacher)
            )
            if turn == len(by_turn):
                by_turn.append([])
            by_turn[turn].append(plain - socratic)
    return [float(torch.cat(values).mean()) for values in by_turn]


def telling(plays: Sequence[Play]) -> float:
    """Share of first tutor replies that hold the answer."""
    first = [(play.tutor[0], play.seed["expected_answer"]) for play in plays if play.tutor]
    return sum(answer in _numbers(reply) for reply, answer in first) / len(first)


def asking(plays: Sequence[Play]) -> float:
    """Share of first tutor replies that ask a question."""
    first = [play.tutor[0] for play in plays if play.tutor]
    return sum("?" in reply for reply in first) / len(first)


def print_table(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seeds: Sequence[Seed], seed: int) -> None:
    """Prints the figures under the plain and the Socratic prompt, and three dialogues of each."""
    print(f"{'prompt':9} {'telling':>8} {'asking':>8} {'solved':>8} {'by itself':>10} {'errs first':>11}")
    for prompt in ("tutor", "teacher"):
        torch.manual_seed(seed)
        plays = self_play(model, tokenizer, seeds, prompt, max_turns=4)
        solved = sum(play.solved for play in plays) / len(plays)
        alone = sum(play.solved and not play.told for play in plays) / len(plays)
        errs = sum(not _solves(play.student[0], play.seed) for play in plays) / len(plays)
        shares = f"{telling(plays):8.1%} {asking(plays):8.1%} {solved:8.1%} {alone:10.1%} {errs:11.1%}"
        print(f"{prompt:9} {shares}")
        if prompt == "tutor":
            kl = ", ".join(f"{value:.2f}" for value in teacher_kl(model, tokenizer, plays))
            print(f"teacher_kl by turn, nats a token: {kl}")
        for play in plays[:3]:
            print("  " + play.seed["question"])
            for number, text in enumerate(play.student):
                print(f"    student: {text}")
                if number < len(play.tutor):
                    print(f"    tutor:   {play.tutor[number]}")


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def _solves(text: str, seed: Seed) -> bool:
    return _numbers(text)[-1:] == [seed["expected_answer"]] and "?" not in text
