"""The worker behind the local clients: base models, the queue of calls, and where weights are saved."""

import itertools
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from socratic_distill.config.grant import Grant
from socratic_distill.config.paths import TINY, GivenPath, resolved
from socratic_distill.in_process import ServiceFuture
from socratic_distill.local.base_model import BaseModel
from socratic_distill.local.batches import Request, run_batch
from socratic_distill.local.machine import Machine
from socratic_distill.local.model_files import base_of, describe_model, model_place
from socratic_distill.local.proof import check_reading
from socratic_distill.local.saved_adapters import read_adapter_config
from socratic_distill.local.scheduler import Job, Scheduler
from socratic_distill.local.store import Saved, Store


class Engine:
    """Loads each base model once and carries out all calls on it, on one thread.

    `LocalServiceClient` is one; the clients that it opens submit their calls to it.

    Attributes:
        store: where weights are saved.
        models: the base models that are loaded, by name.
    """

    def __init__(
        self,
        store: str | Path,
        trust_remote_code: bool,
        device: str,
        dtype: Any,
        gradient_checkpointing: bool,
        grant: Grant | None,
        paths: Mapping[str, str] | None,
    ) -> None:
        """See `LocalServiceClient`."""
        self.store = Store(Path(store), grant)
        self.models: dict[str, BaseModel] = {}
        self._machine = Machine.choose(device, dtype, gradient_checkpointing)
        self._paths = dict(paths or {})
        self._base_facts: dict[str, dict[str, Any]] = {}
        self._trust_remote_code = trust_remote_code
        self._grant = grant
        self._scheduler = Scheduler(run_batch)
        self._unseeded = itertools.count()

    def run(self, call: Callable[[], Any]) -> ServiceFuture[Any]:
        """Carries a call out on the worker, in order of submission.

        Args:
            call: may touch torch; its result is the future's.
        """
        return self._scheduler.submit(Job(run=call))

    def batch(self, request: Request) -> ServiceFuture[Any]:
        """Queues a sampling or scoring request for the next batch.

        Args:
            request: what to sample or score, and its place in the batch.
        """
        return self._scheduler.submit(Job(work=request))

    def drop_with(self, client: object, base: BaseModel, adapter: str) -> None:
        """Frees an adapter on the worker once its client is gone.

        Args:
            client: whose adapter it is; held weakly.
            base: the model that the adapter is on.
            adapter: its name.
        """
        weakref.finalize(client, self.run, lambda: base.drop_adapter(adapter)).atexit = False

    def next_seed(self) -> int:
        """A seed for a request that brings none."""
        return next(self._unseeded)

    def base_name(self, facts: Mapping[str, Any]) -> str:
        """The base model of saved weights, by the name that it has here.

        Args:
            facts: what is known of the weights.
        """
        name = facts["base_model"]
        return name if name in self.models else base_of(facts, self._paths, self._may_load)

    def base_facts(self, name: str) -> dict[str, Any]:
        """What saved weights say of their base model: its name, where it lies, and what its files hold.

        Args:
            name: as the service was given it.
        """
        if name not in self._base_facts:
            place = model_place(self._place(name))
            path = None if place is None or name == TINY else str(place.absolute())
            content = describe_model(self._place(name))
            self._base_facts[name] = {"base_model": name, "base_path": path, "base_content": content}
        return self._base_facts[name]

    def _load(self, saved: Saved) -> tuple[BaseModel, str]:
        base = self._base(self.base_name(saved.facts))
        return base, base.adapters.load(read_adapter_config(saved.path), saved.adapter)

    def _base(self, name: str) -> BaseModel:
        if name not in self.models:
            place = self._place(name)
            if self._grant is not None:
                self._grant.check_model(GivenPath(name, place))
            base = BaseModel(place, self._trust_remote_code, self._machine)
            base.name = name
            check_reading(base)
            self.models[name] = base
        return self.models[name]

    def _may_load(self, path: str) -> bool:
        return self._grant is None or self._grant.may_load(path)

    def _place(self, name: str) -> str:
        return self._paths.get(name, resolved(name))
