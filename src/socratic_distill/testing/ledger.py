"""What the fake clients share: models, checkpoints, planned faults and the record of all calls."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import tinker

from socratic_distill.config.objectives import Feature
from socratic_distill.errors import ConfigError
from socratic_distill.in_process import ServiceFuture, status_error
from socratic_distill.testing.checkpoints import Checkpoints
from socratic_distill.testing.faults import Fault, FaultPlan
from socratic_distill.testing.sampling import Sampler
from socratic_distill.testing.servers import Server
from socratic_distill.testing.store import DirectoryStore, MemoryStore, Store
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


@dataclass(frozen=True)
class Reading:
    """What a sampling or scoring request reads: too large for the record of calls, needed to tell its time.

    Attributes:
        prompt: the prompt.
        sampler: the weights that read it.
        scored: whether log-probabilities at its tokens are asked for.
        last_n: of how many of the last ones; None for all.
        path: the sampler weights' path; None for a base model or weights without one.
    """

    prompt: tinker.ModelInput
    sampler: Sampler
    scored: bool
    last_n: int | None
    path: str | None


class Ledger:
    """The fake service's side of all calls: it carries them out, plans their faults and records them.

    `FakeServiceClient` is one; the clients that it opens submit their calls to it.

    Attributes:
        calls: every call so far, in order.
        models: names of the models that are offered; None offers every name.
        max_context_length: tokens of prompt and reply together.
        lacks: scoring features that it does not have.
        server: how it differs from the hosted service.
        now: gives the time in seconds since the epoch.
        tokenizer: of all models.
        checkpoints: what was saved.
        in_training: the weights that server runs train, by run.
    """

    def __init__(
        self,
        directory: Path | str | None,
        faults: Sequence[Fault],
        models: Sequence[str] | None,
        max_context_length: int,
        lacks: Sequence[Feature],
        now: Callable[[], float],
        server: Server,
    ) -> None:
        """See `FakeServiceClient`."""
        if unknown := sorted(set(lacks) - set(get_args(Feature))):
            raise ConfigError(f"lacks names {unknown}; the features are {', '.join(get_args(Feature))}")
        store: Store = MemoryStore() if directory is None else DirectoryStore(Path(directory))
        self.calls: list[CallRecord] = []
        self.models = None if models is None else tuple(models)
        self.max_context_length = max_context_length
        self.lacks = server.lacks.union(lacks)
        self.server = server
        self.now = now
        self.tokenizer = ToyTokenizer()
        self.checkpoints = Checkpoints(store, now, server.keeps_expiry)
        self._store = store
        self._plan = FaultPlan(faults)
        self._lock = threading.RLock()
        self._holes: set[str] = set()
        self._poisoned: dict[str, Exception] = {}
        self._loaded: dict[str, ToyModel] = {}
        self._sampled = 0
        self.in_training: dict[str, Weights] = {}
        self._sampled_last: dict[str, str] = {}  # by server run, on a server that keeps one copy of a LoRA

    def count(self, call: str) -> int:
        """How many calls there were, failed ones included.

        Args:
            call: name of the client method, such as "sample".
        """
        return sum(record.call == call for record in self.calls)

    def model_names(self) -> tuple[str, ...]:
        """The models offered; where any is, those used so far."""
        return tuple(self._loaded) if self.models is None else self.models

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
            if call in self.server.fails:
                raise self.server.fails[call]()
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
        """What a fault does to the calls after it."""
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

    def put_back(self, path: str | None) -> None:
        """On a server that keeps one copy of a LoRA, sampling puts the weights that it reads back into training.

        Args:
            path: the saved weights that are sampled from; None for others.
        """
        if self.server.keeps_older or path is None:
            return
        header, arrays = self.checkpoints.load(path, "sampler_weights")
        run = header.info.run
        if run in self.in_training and self._sampled_last.get(run) != path:
            self.in_training[run].replace(arrays)
            self._sampled_last[run] = path
