"""What TuFT runs its models on, without a GPU: calls in this process for Ray, a transformers sampler for vLLM.

Import this before anything of TuFT. It adds nothing to what TuFT's API can do.
"""

# pyright: reportMissingImports=false

import inspect
import sys
from collections import OrderedDict
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

LOADED_ADAPTERS = 8


@dataclass(frozen=True)
class LoRARequest:
    """An adapter, as vLLM is told of one."""

    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclass(frozen=True)
class Logprob:
    logprob: float
    rank: int


@dataclass(frozen=True)
class Completion:
    token_ids: list[int]
    logprobs: list[dict[int, Logprob]]
    finish_reason: str


@dataclass(frozen=True)
class Output:
    outputs: list[Completion]
    prompt_logprobs: list[dict[int, Logprob] | None] | None


class Sampler:
    """Takes the place of TuFT's VLLMEngine.

    Every sequence is computed alone, and has a random state of its own: what is drawn depends on the request only.
    """

    def __init__(self, config: Any) -> None:
        self._path = config.model_path
        self._model = AutoModelForCausalLM.from_pretrained(self._path).eval()
        self._ends = self._model.config.eos_token_id
        # By path, the least recently used one first.
        self._adapters: OrderedDict[str, PeftModel] = OrderedDict()

    async def prepare(self) -> None: ...

    async def get_api_server_url(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def add_lora(self, request: LoRARequest) -> bool:
        return True

    async def remove_lora(self, number: int) -> None: ...

    async def generate(self, prompt: dict[str, list[int]], lora_request: LoRARequest | None, **params: Any) -> Output:
        """Samples, and scores the prompt if `prompt_logprobs` is a number of likeliest tokens."""
        tokens = prompt["prompt_token_ids"]
        model = self._model if lora_request is None else self._with_adapter(lora_request.lora_path)
        with torch.inference_mode():
            scores = _score(model, tokens, params["prompt_logprobs"])
            samples = [self._draw(model, tokens, number, **params) for number in range(params["n"])]
        return Output(samples, scores)

    def _with_adapter(self, path: str) -> PeftModel:
        if path not in self._adapters:
            base = AutoModelForCausalLM.from_pretrained(self._path)
            self._adapters[path] = PeftModel.from_pretrained(base, path).eval()
        self._adapters.move_to_end(path)
        if len(self._adapters) > LOADED_ADAPTERS:
            self._adapters.popitem(last=False)
        return self._adapters[path]

    def _draw(self, model: Any, tokens: list[int], number: int, **params: Any) -> Completion:
        generator = torch.Generator()
        if params["seed"] is None:
            generator.seed()
        else:
            generator.manual_seed(params["seed"] + number)
        ends = {self._ends, *params.get("stop_token_ids", ())}
        ids, scores = [], []
        past, given = None, tokens
        while len(ids) < params["max_tokens"]:
            answer = model(input_ids=torch.tensor([given]), past_key_values=past, use_cache=True)
            past = answer.past_key_values
            logprobs = answer.logits[0, -1].float().log_softmax(-1)  # [V]
            token = _choose(logprobs, params["temperature"], generator)
            ids.append(token)
            scores.append({token: Logprob(float(logprobs[token]), 1)})
            if token in ends:
                return Completion(ids, scores, "stop")
            given = [token]
        return Completion(ids, scores, "length")


def _choose(logprobs: torch.Tensor, temperature: float, generator: torch.Generator) -> int:
    if temperature == 0:
        return int(logprobs.argmax())
    return int(torch.multinomial((logprobs / temperature).softmax(-1), 1, generator=generator))


def _score(model: Any, tokens: list[int], top: int | None) -> list[dict[int, Logprob] | None] | None:
    """For each token of the prompt, its own log-probability and then those of the likeliest `top` tokens."""
    if top is None:
        return None
    rows = model(input_ids=torch.tensor([tokens])).logits[0, :-1].float().log_softmax(-1)  # [n - 1, V]
    scores: list[dict[int, Logprob] | None] = [None]
    for row, token in zip(rows, tokens[1:], strict=True):
        # TuFT reads the first entry as the token's own, and sorts the rest by rank.
        likeliest = row.topk(top)
        ranks = dict(zip(likeliest.indices.tolist(), range(1, top + 1), strict=True))
        own = ranks.get(token, int((row > row[token]).sum()) + 1)
        entries = {token: Logprob(float(row[token]), own)}
        for other, rank in ranks.items():
            entries.setdefault(other, Logprob(float(row[other]), rank))
        scores.append(entries)
    return scores


class Actors:
    """A class whose objects Ray would make in other processes; here they are made in this one."""

    def __init__(self, made: type) -> None:
        self._made = made

    def options(self, **_: Any) -> "Actors":
        return self

    def remote(self, *given: Any, **named: Any) -> "Actor":
        return Actor(self._made(*given, **named))


class Actor:
    """An object whose methods are called by `.remote(...)`."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> "Method":
        return Method(getattr(self._target, name))


class Method:
    def __init__(self, call: Any) -> None:
        self._call = call

    async def remote(self, *given: Any, **named: Any) -> Any:
        answer = self._call(*given, **named)
        return await answer if inspect.isawaitable(answer) else answer


def _module(name: str, **members: Any) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


_module("ray", remote=Actors, kill=lambda *_, **__: None)
_module("ray.actor", ActorProxy=Actor)
_module("vllm")
_module("vllm.lora")
_module("vllm.lora.request", LoRARequest=LoRARequest)

# TuFT's trainer asks the GPU for its peak memory, which a torch without CUDA answers by an error.
torch.cuda.reset_peak_memory_stats = lambda *_: None

import tuft.backends.sampling_backend  # noqa: E402

tuft.backends.sampling_backend.VLLMEngine = Sampler
