"""The fake service: models, server runs, checkpoints, planned faults and the record of its calls."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from socratic_distill.errors import ConfigError
from socratic_distill.features import Feature
from socratic_distill.futures import ServiceFuture
from socratic_distill.testing.checkpoints import Checkpoints
from socratic_distill.testing.clients import FakeSamplingClient, FakeTrainingClient, Reading
from socratic_distill.testing.faults import Fault, FaultPlan, status_error
from socratic_distill.testing.sampling import Sampler
from socratic_distill.testing.store import DirectoryStore, MemoryStore, RunInfo, Store
from socratic_distill.testing.tokenizer import ToyTokenizer
from socratic_distill.testing.toy_model import ToyModel
from socratic_distill.testing.weights import Weights

T = TypeVar("T")


@dataclass(frozen=True)
class CallRecord:
    """One call that reached the fake service.

    Attributes:
        call: name of the client method.
        server_run: the training client's `model_id`; None for calls of no server run.
        arguments: what matters of the arguments, small.
        outcome: "done"; "failed", not carried out; "lost", carried out but its answer lost; "unanswered",
            neither carried out nor answered.
        error: the error's text, or None.
    """

    call: str
    server_run: str | None
    arguments: dict[str, Any] = field(default_factory=dict)
    outcome: Literal["done", "failed", "lost", "unanswered"] = "done"
    error: str | None = None


class FakeServiceClient:
    """A Tinker service in this object, without network and torch, for tests.

    It has the client interface of the SDK (the calls that training needs), and behaves like the service:
    calls of one training client take effect in the order of their submission, losses are sums, gradients
    add up until `optim_step`, samplers stay on the weights they were made from, a failed call leaves those
    behind it in force. Its models are log-linear toys over a short vocabulary, and training really changes
    them. Everything is deterministic: the same calls in the same order give the same answers.

    Every call is carried out when it is submitted, and its future is done on return, unless a planned fault
    says otherwise. An `optim_step` without gradients is a step with gradient zero. `rank` and `train_*` are kept
    and told, without an effect on the toy models; `optimizer`, `retry_config`, `record_stability_info` and
    `weights_access_token` are accepted and do nothing.

    Examples:
        >>> service = FakeServiceClient()
        >>> training = service.create_lora_training_client("any/name", rank=8).result()
        >>> training.save_state("first").result().path
        'tinker://fake-0001:train:0/weights/first'
        >>> service.count("save_state")
        1

    Attributes:
        calls: every call so far, in order.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        faults: Sequence[Fault] = (),
        models: Sequence[str] | None = None,
        max_context_length: int = 32768,
        lacks: Sequence[Feature] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        """Opens a service, empty or on what a directory holds.

        Args:
            directory: keeps server runs and saved weights here, so that another `FakeServiceClient` on the
                same directory, in this process or another one, finds them. None: in memory.
            faults: calls that fail.
            models: names of the models that are offered; None offers every name.
            max_context_length: tokens of prompt and reply together.
            lacks: scoring features that it does not have, as some servers: "topk_prompt_logprobs",
                "topk_sample_logprobs", "target_prompt_logprobs" or "prompt_alt_tokens_k". A sampling request that
                uses one is answered with 400, which names it.
            now: gives the time in seconds since the epoch, for expiry.

        Raises:
            ConfigError: `lacks` names what is no such feature.
        """
        if unknown := sorted(set(lacks) - set(get_args(Feature))):
            raise ConfigError(f"lacks names {unknown}; the features are {', '.join(get_args(Feature))}")
        store: Store = MemoryStore() if directory is None else DirectoryStore(Path(directory))
        self.calls: list[CallRecord] = []
        self.models = None if models is None else tuple(models)
        self.max_context_length = max_context_length
        self.lacks = frozenset(lacks)
        self.now = now
        self.tokenizer = ToyTokenizer()
        self.checkpoints = Checkpoints(store, now)
        self._store = store
        self._plan = FaultPlan(faults)
        self._lock = threading.RLock()
        self._holes: set[str] = set()
        self._poisoned: dict[str, Exception] = {}
        self._loaded: dict[str, ToyModel] = {}
        self._session: str | None = None
        self._trained = 0
        self._sampled = 0

    def count(self, call: str) -> int:
        """How many calls there were, failed ones included.

        Args:
            call: name of the client method, such as "sample".
        """
        return sum(record.call == call for record in self.calls)

    def model_names(self) -> tuple[str, ...]:
        """The models offered; where any is, those used so far."""
        return tuple(self._loaded) if self.models is None else self.models

    def create_lora_training_client(
        self,
        base_model: str,
        rank: int = 32,
        seed: int | None = None,
        train_mlp: bool = True,
        train_attn: bool = True,
        train_unembed: bool = True,
        user_metadata: dict[str, str] | None = None,
        optimizer: Any = None,
    ) -> ServiceFuture[FakeTrainingClient]:
        """A fresh training client: a server run whose model equals the base model.

        Fails with `tinker.BadRequestError` for a model that is not offered, or a rank below 1.
        """

        def create() -> FakeTrainingClient:
            if rank < 1:
                raise status_error(400, f"rank is {rank}; give at least 1")
            weights = self.make_weights(base_model)
            flags = {"train_mlp": train_mlp, "train_attn": train_attn, "train_unembed": train_unembed}
            return self._open_run(weights, base_model, rank, seed, flags, user_metadata)

        return self.submit("create_lora_training_client", create, base_model=base_model, rank=rank, seed=seed)

    def create_training_client_from_state(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: dict[str, str] | None = None,
        weights_access_token: str | None = None,
        optimizer: Any = None,
    ) -> ServiceFuture[FakeTrainingClient]:
        """A new server run with a state's weights and a fresh optimizer.

        Fails with `tinker.NotFoundError` for an unknown or expired state, `tinker.BadRequestError` for
        sampler weights or a state of another base model.
        """
        create = partial(self._create_from, path, base_model, user_metadata, with_optimizer=False)
        return self.submit("create_training_client_from_state", create, path=path)

    def create_training_client_from_state_with_optimizer(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: dict[str, str] | None = None,
        weights_access_token: str | None = None,
    ) -> ServiceFuture[FakeTrainingClient]:
        """A new server run with a state's weights, moments and step count; fails as the one above."""
        create = partial(self._create_from, path, base_model, user_metadata, with_optimizer=True)
        return self.submit("create_training_client_from_state_with_optimizer", create, path=path)

    def create_sampling_client(
        self,
        model_path: str | None = None,
        base_model: str | None = None,
        retry_config: Any = None,
        record_stability_info: bool = False,
    ) -> ServiceFuture[FakeSamplingClient]:
        """A sampling client on saved sampler weights or on a base model.

        Fails with `tinker.NotFoundError` for unknown or expired weights, `tinker.BadRequestError` for a
        training state.

        Raises:
            ValueError: neither a path nor a model.
        """
        if model_path is None and base_model is None:
            raise ValueError("Either model_path or base_model must be provided")

        def create() -> FakeSamplingClient:
            if model_path is None:
                weights = self.make_weights(str(base_model))
            else:
                header, arrays = self.checkpoints.load(model_path, "sampler_weights")
                weights = self.make_weights(header.info.base_model)
                weights.load(arrays, with_optimizer=False)
            return FakeSamplingClient(self, weights.model.name, self.sampler(weights), model_path)

        return self.submit("create_sampling_client", create, model_path=model_path, base_model=base_model)

    def submit(
        self,
        call: str,
        action: Callable[[], T],
        *,
        server_run: str | None = None,
        read: Reading | None = None,
        **arguments: Any,
    ) -> ServiceFuture[T]:
        """Carries a call out, records it, and gives its answer as a future.

        Args:
            call: name of the client method.
            action: what it does on the service.
            server_run: the training client's server run.
            read: what a sampling or scoring call reads.
            **arguments: for the record.
        """
        with self._lock:
            record, outcome = self._execute(call, server_run, arguments, action)
            self.calls.append(record)
        return outcome

    def _execute(
        self, call: str, server_run: str | None, arguments: dict[str, Any], action: Callable[[], T]
    ) -> tuple[CallRecord, ServiceFuture[T]]:
        fault = self._plan.next(call)
        if fault is not None and fault.error == "never":
            self._strike(fault, server_run)
        if server_run in self._holes or (fault is not None and fault.error == "never"):
            return CallRecord(call, server_run, arguments, "unanswered"), ServiceFuture(Future())
        try:
            if server_run in self._poisoned:
                raise self._poisoned[server_run]
            if fault is not None and not fault.is_carried_out:
                self._strike(fault, server_run)
                raise fault.exception()
            value = action()
        except Exception as error:  # whatever goes wrong on the service is the future's to tell
            record = CallRecord(call, server_run, arguments, "failed", str(error))
            if fault is not None and fault.error == "submission":
                return record, ServiceFuture.later(error, fault.seconds)
            return record, ServiceFuture.failed(error)
        if fault is None:
            return CallRecord(call, server_run, arguments), ServiceFuture.of(value)
        if fault.error == "slow":
            return CallRecord(call, server_run, arguments), ServiceFuture.later(value, fault.seconds)
        error = fault.exception()
        return CallRecord(call, server_run, arguments, "lost", str(error)), ServiceFuture.failed(error)

    def _strike(self, fault: Fault, server_run: str | None) -> None:
        """What a fault does to the calls behind it."""
        if server_run is not None and fault.error in ("submission", "never"):
            self._holes.add(server_run)
        elif server_run is not None and fault.error == "poisoned":
            self._poisoned[server_run] = fault.exception()

    def model(self, name: str) -> ToyModel:
        """The base model of a name.

        Args:
            name: any name, or one of those that are offered.

        Raises:
            tinker.BadRequestError: it is not offered.
        """
        if self.models is not None and name not in self.models:
            raise status_error(400, f"base model {name!r} is not offered; there are {', '.join(self.models)}")
        if name not in self._loaded:
            self._loaded[name] = ToyModel(name, self.tokenizer)
        return self._loaded[name]

    def make_weights(self, model_name: str) -> Weights:
        """Fresh weights over a base model; raises as `model`.

        Args:
            model_name: name of the base model.
        """
        return Weights(self.model(model_name))

    def sampler(self, weights: Weights) -> Sampler:
        """A sampler on the weights as they are now.

        Args:
            weights: later training does not show in the sampler.
        """
        return Sampler(weights.model, weights.table, self.tokenizer, self.max_context_length)

    def next_sample(self) -> int:
        """Number of a sample request, from 0; the seed of a request that gives none."""
        self._sampled += 1
        return self._sampled - 1

    def _create_from(
        self, path: str, base_model: str | None, user_metadata: dict[str, str] | None, with_optimizer: bool
    ) -> FakeTrainingClient:
        header, arrays = self.checkpoints.load(path, "weights")
        info = header.info
        if base_model is not None and base_model != info.base_model:
            raise status_error(400, f"{path} was trained from {info.base_model!r}, not from {base_model!r}")
        weights = self.make_weights(info.base_model)
        weights.load(arrays, with_optimizer)
        flags = {name: getattr(info, name) for name in ("train_mlp", "train_attn", "train_unembed")}
        return self._open_run(weights, info.base_model, info.rank, info.seed, flags, user_metadata)

    def _open_run(
        self,
        weights: Weights,
        base_model: str,
        rank: int,
        seed: int | None,
        flags: dict[str, bool],
        user_metadata: dict[str, str] | None,
    ) -> FakeTrainingClient:
        if self._session is None:
            self._session = self._store.open_session()
        run = f"{self._session}:train:{self._trained}"
        self._trained += 1
        info = RunInfo(run, base_model, rank, seed, **flags, opened=self.now(), user_metadata=user_metadata)
        self._store.add_run(info)
        return FakeTrainingClient(self, info, weights)
