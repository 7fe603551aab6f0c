"""The worker that serves the local clients: base models, the queue of calls, and the store of saved weights."""

import itertools
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from socratic_distill.config.grant import Grant
from socratic_distill.config.paths import TINY, GivenPath, resolved
from socratic_distill.in_process import ServiceFuture
from socratic_distill.local.adapters import LoraShape
from socratic_distill.local.base_model import BaseModel
from socratic_distill.local.batches import Request, run_batch
from socratic_distill.local.demand import Demand
from socratic_distill.local.machine import Machine
from socratic_distill.local.model_files import base_of, describe_model, model_folder
from socratic_distill.local.models import model_source
from socratic_distill.local.proof import check_reading
from socratic_distill.local.scheduler import Job, Scheduler
from socratic_distill.local.shapes import Shapes, shapes_of
from socratic_distill.local.store import Saved, Store


class Engine:
    """Loads each base model once and carries out all calls on it, on one thread.

    `LocalServiceClient` is an engine; the clients that it opens submit their calls to it.

    Attributes:
        store: the store of saved weights.
        models: the loaded base models, by name.
        machine: the device and the precision.
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
        quantization: Any,
    ) -> None:
        """See `LocalServiceClient`."""
        self.store = Store(Path(store), grant)
        self.models: dict[str, BaseModel] = {}
        self.machine = Machine.choose(device, dtype, gradient_checkpointing, quantization)
        self._paths = dict(paths or {})
        self._base_facts: dict[str, dict[str, Any]] = {}
        self._trust_remote_code = trust_remote_code
        self._grant = grant
        self._scheduler = Scheduler(run_batch)
        self._unseeded = itertools.count()

    def run(self, call: Callable[[], Any]) -> ServiceFuture[Any]:
        """Runs a call on the worker thread, in order of submission.

        Args:
            call: may use torch; its result becomes the future's.
        """
        return self._scheduler.submit(Job(run=call))

    def batch(self, request: Request) -> ServiceFuture[Any]:
        """Queues a sampling or scoring request for the next batch.

        Args:
            request: what to sample or score.
        """
        return self._scheduler.submit(Job(work=request))

    def drop_with(self, client: object, base: BaseModel, adapter: str) -> None:
        """Frees an adapter on the worker once its client is gone.

        Args:
            client: the client that uses the adapter; held weakly.
            base: the model that the adapter is on.
            adapter: its name.
        """
        # At exit the process frees everything anyway, and the worker thread is gone: no call then.
        weakref.finalize(client, self.run, lambda: base.drop_adapter(adapter)).atexit = False

    def next_seed(self) -> int:
        """A seed for a request without one."""
        return next(self._unseeded)

    def base_name(self, facts: Mapping[str, Any]) -> str:
        """The name of the base model of saved weights, as this engine knows it.

        Args:
            facts: the contents of the weights' `state.json`.
        """
        name = facts["base_model"]
        return name if name in self.models else base_of(facts, self._paths, self._may_load)

    def base_facts(self, name: str) -> dict[str, Any]:
        """The facts about a base model that are saved with weights: its name, its path, and digests of its files.

        Args:
            name: as given to the service.
        """
        if name not in self._base_facts:  # digests read the files, so once for each model
            files = model_folder(self._path(name))
            path = None if files is None or name == TINY else str(files.absolute())
            content = describe_model(self._path(name))
            self._base_facts[name] = {"base_model": name, "base_path": path, "base_content": content}
        return self._base_facts[name]

    def _load(self, saved: Saved) -> tuple[BaseModel, str]:
        base = self._base(self.base_name(saved.facts))
        return base, base.adapters.load(saved.config, saved.adapter)

    def _base(self, name: str) -> BaseModel:
        if name not in self.models:
            path = self._path(name)
            if self._grant is not None:
                self._grant.check_model(GivenPath(name, path))
            base = BaseModel(path, self._trust_remote_code, self.machine)
            base.name = name  # the name given, not the resolved path
            others = [other.size for other in self.models.values()]
            self.machine.fit_threads(max([base.size, *others]))
            check_reading(base)
            self.models[name] = base
        return self.models[name]

    def shapes(self, name: str, machine: Machine, demand: Demand) -> Shapes:
        """A model's shapes, without its weights, and with the adapter that a run asks for.

        Args:
            name: as given to the service.
            machine: what the model would be computed on.
            demand: the sizes of the run.

        Raises:
            UntrustedConfig: the config may not load the model.
            LocalEngineError: there is no such GGUF file, or its weights take an unknown number of bytes.
        """
        path = self._path(name)
        if self._grant is not None:
            self._grant.check_model(GivenPath(name, path))
        shape = LoraShape(demand.rank, demand.train_mlp, demand.train_attn, demand.train_unembed)
        return shapes_of(model_source(path, self._trust_remote_code, machine), machine, shape)

    def _may_load(self, path: str) -> bool:
        return self._grant is None or self._grant.may_load(path)

    def _path(self, name: str) -> str:
        return self._paths.get(name, resolved(name))
