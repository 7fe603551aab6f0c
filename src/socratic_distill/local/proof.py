"""Proves, before any training, that a LoRA on a model does what the engine relies on.

A fresh adapter cannot be tested: its B is zero, so it changes nothing, even on wrong layers. So adapters are filled
from fixed seeds, tested on a short prompt, and removed again.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tinker
import torch

from socratic_distill.errors import LocalEngineError, UnsupportedModel
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.base_model import BaseModel
from socratic_distill.local.draws import Row
from socratic_distill.local.failures import explain
from socratic_distill.local.sampling import carry_out
from socratic_distill.local.saved_adapters import read_adapter_config
from socratic_distill.local.scoring import ScoreRequest
from socratic_distill.local.store import Store
from socratic_distill.local.training import AdapterTrainer
from socratic_distill.local.works import Work

_PROMPT, _REPLY, _RANK = 12, 4, 2
# Size of a filled adapter's addition to a layer's outputs, relative to its inputs. It changes log-probabilities by far
# more than the mean difference that sampling and training may have by rounding.
_STRENGTH = 0.3
# Result of the test by content of the model: None if it passed, else the problem.
_verdicts: dict[str, str | None] = {}


def check_reading(base: BaseModel) -> None:
    """Returns if the engine's log-probabilities agree with the model's own forward pass.

    A model whose results differ on the fast path is read by the general one instead, if they agree there.

    Args:
        base: the model, without an adapter on.

    Raises:
        UnsupportedModel: they agree on no path, or the model cannot be run.
    """
    while problem := _misread(base):
        if not base.read_otherwise(problem):
            raise _refusal(base, "run", problem)
    base.announce()


def _misread(base: BaseModel) -> str | None:
    """What is wrong with the engine's reading of a short prompt and reply; None if nothing is."""
    tokens = _tokens(base)
    row, work = _work(tokens)
    try:
        carry_out(base, None, [work])
        sampled, whole = _sampled(row, work), [*tokens, *row.tokens]
        with torch.inference_mode():
            inputs = torch.tensor([whole], device=base.machine.device)  # [1, N]
            # Without a mask transformers warns if the prompt happens to contain the padding token.
            everything = torch.ones_like(inputs)
            logits = base.model(input_ids=inputs, attention_mask=everything, use_cache=False).logits[0, :-1]
        logprobs = torch.log_softmax(logits.double(), -1).cpu().numpy()
    except Exception as error:
        return f"reading a short prompt failed with {_named(error)}"
    difference = float(np.abs(logprobs[np.arange(len(whole) - 1), whole[1:]] - sampled).mean())
    if not difference <= _bound(base):  # not `>`: a NaN must fail too
        return f"its log-probabilities in the engine and in its own forward differ by {difference:.2g} nats"
    return None


def prove(base: BaseModel, shape: LoraShape) -> None:
    """Returns if an adapter of this shape, of any rank, works on the model; tests each model once.

    Args:
        base: the model; it is left unchanged.
        shape: of the adapter to train.

    Raises:
        UnsupportedModel: the model fails a test that training relies on.
        LocalEngineError: there is not enough memory, or no layer to train.
    """
    key = _content(base, shape)
    if key not in _verdicts:
        _verdicts[key] = _try(base, shape)
    problem = _verdicts[key]
    if problem is not None:
        raise _refusal(base, "train", problem)


def _refusal(base: BaseModel, use: str, problem: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"the local engine cannot {use} model {base.name!r} ({type(base.model).__name__}): {problem}. Choose a model "
        f"of another architecture, or {use} this one on Tinker or a self-hosted server (base_url)"
    )


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0].rstrip('.')}"


def _bound(base: BaseModel) -> float:
    """Largest mean difference of log-probabilities that rounding may explain, nats."""
    return 0.2 if base.model.dtype.itemsize < 4 else 1e-3  # bf16 has 8 bits of precision, fp32 has 24


def _training_bound(base: BaseModel, change: float) -> float:
    """Largest mean difference of training and sampling that rounding may explain, nats.

    Args:
        base: the model.
        change: mean effect of the adapter on the log-probabilities, nats.
    """
    bound = _bound(base)
    if base.model.dtype.itemsize < 4:
        # An adapter that changes log-probabilities by tens of nats makes rounding in bf16 larger too. Gemma 3 270M: a
        # mean difference of 1 nat where the adapter's effect is 16; in fp32 it is 1e-4.
        bound = max(bound, change / 8)
    # A quarter of the adapter's effect: a trainer without the adapter on must not pass by a wide bound.
    return min(bound, change / 4)


def _tokens(base: BaseModel) -> tuple[int, ...]:
    """A short prompt of fixed random tokens."""
    random_numbers = np.random.Generator(np.random.Philox(key=1))
    size = max(2, min(_PROMPT, base.max_context - _REPLY))
    return tuple(random_numbers.integers(base.known_tokens, size=size).tolist())


def _work(tokens: tuple[int, ...]) -> tuple[Row, Work]:
    """Work with one reply to sample, and the log-probabilities of the prompt."""
    row = Row(_REPLY, 1.0, 1.0, -1, frozenset(), (), seed=0, index=0)
    return row, Work(tokens, [row], ScoreRequest(size=len(tokens), logprobs=True))


def _sampled(row: Row, work: Work) -> np.ndarray:
    """Log-probabilities of a work's prompt without its first token, and of its reply, `[N - 1]`."""
    assert work.scores is not None
    return np.concatenate([work.scores.logprobs[1:], row.logprobs])


def _try(base: BaseModel, shape: LoraShape) -> str | None:
    """The first problem found; None if all tests pass."""
    proof = _Proof(base, LoraShape(_RANK, shape.train_mlp, shape.train_attn, shape.train_unembed))
    try:
        proof.run()
    except _Disproof as problem:
        return str(problem)
    except LocalEngineError:
        raise
    except Exception as error:
        failure = explain(error, "a prompt of a few tokens")
        # Missing memory says nothing about the model: no verdict is kept.
        if isinstance(failure, LocalEngineError) and "out of memory" in str(failure):
            raise failure from error
        return f"the trial with a LoRA on it failed with {_named(error)}"
    finally:
        proof.clear()
    return None


class _Disproof(Exception):
    """The model fails a test that training relies on."""


class _Proof:
    """The tests: on adapters `first` and `second`, and on the first one saved and loaded again."""

    def __init__(self, base: BaseModel, shape: LoraShape) -> None:
        self._base = base
        self._shape = shape
        self._adapters: list[str] = []
        self._tokens = _tokens(base)

    def run(self) -> None:
        """Runs all tests; raises _Disproof, or any error of torch and the model."""
        before = self._scores(None)
        first = self._filled(seed=1)
        self._same(before, None, "with the adapter off, the base model's log-probabilities change by up to {}")
        with_first = self._scores(first)
        change = self._change(with_first, before, "with the adapter on, the log-probabilities stay as they were")
        second = self._filled(seed=2)
        self._same(with_first, first, "a second adapter changes the log-probabilities of the first by up to {}")
        self._change(self._scores(second), with_first, "two different adapters give the same log-probabilities")
        self._trains_as_it_samples(first, _training_bound(self._base, change))
        self._same(with_first, self._reopened(first), "saved and opened again, an adapter's differ by up to {}")
        self._same(before, None, "after a gradient, the base model's log-probabilities differ by up to {}")

    def clear(self) -> None:
        """Removes the adapters."""
        for adapter in self._adapters:
            self._base.prefixes.forget(adapter)
        self._base.adapters.remove(self._adapters)

    def _filled(self, seed: int) -> str:
        adapter = self._base.adapters.add(self._shape, seed)
        self._adapters.append(adapter)
        generator = torch.Generator().manual_seed(seed)
        scaling = self._base.adapters.config(adapter).lora_alpha / _RANK
        with torch.no_grad():
            for name, parameter in self._base.adapters.parameters(adapter).items():
                values = torch.randn(parameter.shape, generator=generator)
                is_down = "lora_A" in name  # A [r, in], B [out, r]
                # Divided by roots of the summed dimensions, so that neither width nor rank changes the strength.
                size = parameter.shape[1] ** 0.5 if is_down else scaling * _RANK**0.5 / _STRENGTH
                parameter.copy_(values / size)
        return adapter

    def _scores(self, adapter: str | None) -> np.ndarray:
        """The sampler's log-probabilities of the prompt without its first token, `[P - 1]`."""
        work = Work(self._tokens, [], ScoreRequest(size=len(self._tokens), logprobs=True))
        carry_out(self._base, adapter, [work])
        assert work.scores is not None
        if not np.isfinite(work.scores.logprobs[1:]).all():
            raise _Disproof("a log-probability is not finite")
        return work.scores.logprobs[1:]

    def _same(self, expected: np.ndarray, adapter: str | None, problem: str) -> None:
        scores = self._scores(adapter)
        if not np.array_equal(scores, expected):  # exact: the same computation must give the same bits
            raise _Disproof(problem.format(f"{np.abs(scores - expected).max():.2g} nats"))

    def _change(self, scores: np.ndarray, before: np.ndarray, problem: str) -> float:
        change = float(np.abs(scores - before).mean())
        if not change:
            raise _Disproof(problem)
        return change

    def _trains_as_it_samples(self, adapter: str, bound: float) -> None:
        """Compares the sampler's log-probabilities of prompt and reply with the trainer's, and checks the gradient."""
        row, work = _work(self._tokens)
        carry_out(self._base, adapter, [work])
        sampled = _sampled(row, work)
        tokens = [*self._tokens, *row.tokens]
        datum = tinker.Datum(
            model_input=tinker.ModelInput.from_ints(tokens[:-1]),
            loss_fn_inputs={
                "target_tokens": tinker.TensorData.from_numpy(np.array(tokens[1:])),
                "weights": tinker.TensorData.from_numpy(np.ones(len(tokens) - 1, np.float32)),
            },
        )
        output = AdapterTrainer(self._base, adapter).run([datum], "cross_entropy", {}, backward=True)
        trained = output.loss_fn_outputs[0]["logprobs"].to_numpy()
        difference = float(np.abs(trained - sampled).mean())
        if not difference <= bound:
            raise _Disproof(
                f"training and sampling give log-probabilities that differ by {difference:.2g} nats in the mean, "
                f"more than {bound:.2g}"
            )
        for name, parameter in self._base.adapters.parameters(adapter).items():
            if parameter.grad is None:
                if "expert" not in name:  # the prompt's tokens do not reach all experts
                    raise _Disproof(f"the model does not call its layer {name.partition('.lora_')[0]}")
            elif not parameter.grad.isfinite().all():
                raise _Disproof(f"the gradient of {name} is not finite")

    def _reopened(self, adapter: str) -> str:
        adapters = self._base.adapters
        with TemporaryDirectory() as directory:
            store = Store(Path(directory))
            lora = (adapters.tensors(adapter), adapters.config(adapter))
            facts = {"base_model": self._base.name, **asdict(self._shape), "steps": 0}
            path = store.save("proof", "sampler_weights", "first", facts, *lora, {}, ttl_seconds=None, overwrite=False)
            saved, config = store.load(str(path), "sampler_weights"), read_adapter_config(path)
        self._adapters.append(adapters.load(config, saved.adapter))
        return self._adapters[-1]


def _content(base: BaseModel, shape: LoraShape) -> str:
    """Key of a verdict: digest of the model's class, config, a sample of its weights, the machine and the parts."""
    own = [parameter for name, parameter in base.model.named_parameters() if ".lora_" not in name]
    # The first 8 values of each parameter tell models apart, without reading all weights.
    few = torch.cat([parameter.detach().flatten()[:8].double() for parameter in own]).cpu()
    facts = [
        type(base.model).__module__,
        type(base.model).__name__,
        base.model.config.to_json_string(),
        str([(tuple(parameter.shape), str(parameter.dtype)) for parameter in own]),
        str(few.tolist()),
        str(base.machine),
        base.path,
        str(sorted(shape.parts)),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
