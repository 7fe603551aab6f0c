"""The local engine on the workload of `local.py`: the calls that our trainer makes, on the same prompts as the peer.

    python local_ours.py JOB.json [DTYPE]

A step is done for every line that comes on stdin; its figures are printed as one line of JSON.
"""

import asyncio
import json
import resource
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import tinker
import torch
from local_workload import LEARNING_RATE, NEW_TOKENS, RANK, Job

from socratic_distill.dialogues.codec import Codec
from socratic_distill.dialogues.dialogue import Message
from socratic_distill.dialogues.rendering import Renderer
from socratic_distill.distillation.datums import TokenSequence, merge_turns, shift_targets
from socratic_distill.distillation.scorer import Scorer
from socratic_distill.local import LocalServiceClient, sampling
from socratic_distill.local.base_model import BaseModel, Weights

# Tensors large enough to tell the machine's own rates.
_MATRIX = 2048
_READ_BYTES = 2**29


@dataclass
class Step:
    """Seconds of a step and of its parts, and what they did."""

    seconds: float = 0.0
    sampling: float = 0.0
    teacher: float = 0.0
    training: float = 0.0
    decoding: float = 0.0
    peak_mib: float = 0.0
    tokens: int = 0
    decoding_passes: int = 0
    trained_positions: int = 0
    cached_bytes: int = 0
    rates: dict[str, float] = field(default_factory=dict)


class Contender:
    """Tutor and teacher on one base model."""

    def __init__(self, job: Job, service: LocalServiceClient) -> None:
        self.job = job
        self.service = service
        self.trainer = service.create_lora_training_client(job.model, RANK, seed=0, train_unembed=False).result()
        self.teacher = service.create_sampling_client(base_model=job.model).result()
        self.scorer = Scorer()
        self.renderer = Renderer(Codec(self.trainer.get_tokenizer()), job.model)
        (self.base,) = service.models.values()
        self.step = Step()
        _meter(self)

    def run(self, number: int) -> Step:
        """One optimizer step."""
        self.step = Step()
        with self._timed("seconds"):
            with self._timed("sampling"):
                tutor = self.trainer.save_weights_and_get_sampling_client().result()
                turns = asyncio.run(self._play_all(tutor, number))
            sequences = [merge_turns((prompt, reply.tokens) for prompt, reply in dialogue) for dialogue in turns]
            with self._timed("teacher"):
                scores = asyncio.run(self._score_all(sequences))
            with self._timed("training"):
                data = [
                    _datum(sequence, [reply for _, reply in dialogue], teachers)
                    for (sequence,), dialogue, teachers in zip(sequences, turns, scores, strict=True)
                ]
                passed = self.trainer.forward_backward(data, "importance_sampling")
                stepped = self.trainer.optim_step(tinker.AdamParams(learning_rate=LEARNING_RATE))
                passed.result()
                stepped.result()
        self.step.tokens = sum(len(reply.tokens) for dialogue in turns for _, reply in dialogue)
        self.step.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return self.step

    async def _play_all(self, tutor: Any, number: int) -> list[Any]:
        plays = (self._play(tutor, number, dialogue, lines) for dialogue, lines in enumerate(self.job.lines))
        return await asyncio.gather(*plays)

    async def _play(self, tutor: Any, number: int, dialogue: int, lines: list[str]) -> list[Any]:
        system, first = self.job.steps[number][dialogue // self.job.group]
        messages, turns = [Message("system", system), Message("user", first)], []
        for turn in range(self.job.turns):
            if turn:
                messages.append(Message("assistant", tokens=tuple(turns[-1][1].tokens)))
                messages.append(Message("user", lines[turn - 1]))
            prompt = self.renderer.prompt(messages)
            seed = (number * len(self.job.lines) + dialogue) * self.job.turns + turn
            params = tinker.SamplingParams(max_tokens=NEW_TOKENS, seed=seed, stop=[])  # replies of one length
            answer = await tutor.sample(tinker.ModelInput.from_ints(list(prompt)), 1, params)
            turns.append((prompt, answer.sequences[0]))
        return turns

    async def _score_all(self, sequences: list[list[TokenSequence]]) -> list[Any]:
        answers = (self.scorer.score(self.teacher, sequence, "teacher") for (sequence,) in sequences)
        return [scores.own for scores in await asyncio.gather(*answers)]

    @contextmanager
    def _timed(self, part: str) -> Any:
        began = time.perf_counter()
        yield
        setattr(self.step, part, getattr(self.step, part) + time.perf_counter() - began)


def _datum(sequence: TokenSequence, replies: list[Any], teachers: Any) -> tinker.Datum:
    at_token = np.zeros((2, len(sequence.tokens)))
    for span in sequence.spans:
        tutors = np.asarray(replies[span.turn].logprobs)
        at_token[:, span.start : span.stop] = tutors, teachers[span.turn] - tutors
    inputs, targets, (logprobs, advantages) = shift_targets(sequence.tokens, at_token)
    loss_inputs = {
        "target_tokens": tinker.TensorData.from_numpy(np.asarray(targets, dtype=np.int64)),
        "logprobs": tinker.TensorData.from_numpy(logprobs.astype(np.float32)),
        "advantages": tinker.TensorData.from_numpy(advantages.astype(np.float32)),
    }
    return tinker.Datum(model_input=tinker.ModelInput.from_ints(inputs), loss_fn_inputs=loss_inputs)


def _meter(contender: Contender) -> None:
    """Counts what the engine does in its own modules."""
    decode, outputs = sampling._Batch._step, Weights.outputs

    def metered_decode(self: Any) -> None:
        contender.step.decoding_passes += 1
        contender.step.cached_bytes += sum(self._lengths) * contender.base.shape.position_bytes
        with contender._timed("decoding"):
            decode(self)

    def metered_outputs(self: Weights, tokens: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        if torch.is_grad_enabled():
            contender.step.trained_positions += tokens.numel()
        return outputs(self, tokens, *args, **kwargs)

    sampling._Batch._step, Weights.outputs = metered_decode, metered_outputs


def machine_rates(base: BaseModel) -> dict[str, float]:
    """What the machine can do and what a pass needs, in flop and bytes (a second)."""
    dtype, size = base.model.dtype, {"lora": 0, "base": 0, "head": 0}
    head = base.model.get_output_embeddings().weight
    size["head"] = head.numel()
    for name, parameter in base.model.named_parameters():
        if parameter.ndim == 2 and parameter is not head and parameter is not base.model.get_input_embeddings().weight:
            size["lora" if "lora_" in name else "base"] += parameter.numel()
    # Every tutor that is sampled from is an adapter of its own beside the trained one.
    size["lora"] //= len(base.adapters)
    a, b = (torch.randn(_MATRIX, _MATRIX, dtype=torch.float32).to(dtype) for _ in range(2))
    block = torch.ones(_READ_BYTES // 4)
    return {
        "flop_per_s": 2 * _MATRIX**3 / _best(lambda: a @ b),
        "bytes_per_s": _READ_BYTES / _best(lambda: block.sum()),
        # forwards, and backwards to the inputs; the adapter's own gradients besides
        "flop_per_position": 4 * size["base"] + 6 * size["lora"],
        "flop_per_target": 4 * size["head"],
        "bytes_per_pass": sum(size.values()) * dtype.itemsize,
    }


def _best(work: Any) -> float:
    seconds = []
    for _ in range(10):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main() -> None:
    job, dtype = Job.load(sys.argv[1]), (sys.argv[2:] or ["auto"])[0]
    with tempfile.TemporaryDirectory() as store:
        contender = Contender(job, LocalServiceClient(store, device="cpu", dtype=dtype))
        for number in range(len(job.steps)):
            sys.stdin.readline()
            step = contender.run(number)
            if number == len(job.steps) - 1:
                step.rates = machine_rates(contender.base)
            print("FIGURES", json.dumps(asdict(step)), flush=True)


if __name__ == "__main__":
    main()
