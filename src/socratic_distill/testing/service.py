"""The fake service client: it opens server runs and sampling clients."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from socratic_distill.config.objectives import Feature
from socratic_distill.in_process import ServiceFuture, status_error
from socratic_distill.service.paths import full_path
from socratic_distill.testing.clients import FakeSamplingClient, FakeTrainingClient
from socratic_distill.testing.faults import Fault
from socratic_distill.testing.ledger import Ledger
from socratic_distill.testing.servers import server_named
from socratic_distill.testing.store import RunInfo
from socratic_distill.testing.weights import Weights


class FakeServiceClient(Ledger):
    """A Tinker service in this object, without network and torch, for tests.

    It has the client interface of the SDK (the calls that training needs), and behaves like the service:
    calls of one training client take effect in the order of their submission, losses are sums, gradients
    add up until `optim_step`, samplers stay on the weights they were made from, a failed call leaves later
    ones in force. Its models are log-linear toys over a short vocabulary, and training really changes
    them. Everything is deterministic: the same calls in the same order give the same answers.

    Every call is carried out when it is submitted, and its future is done on return, unless a planned fault
    says otherwise. An `optim_step` without gradients is a step with gradient zero. `rank` and `train_*` are kept
    and reported, without an effect on the toy models; `optimizer`, `retry_config`, `record_stability_info` and
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
        plays: name of the server whose differences it has; None: the hosted service.
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        faults: Sequence[Fault] = (),
        models: Sequence[str] | None = None,
        max_context_length: int = 32768,
        lacks: Sequence[Feature] = (),
        server: str | None = None,
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
            server: a server of the API to differ from the hosted service as; None: not at all. "skyrl", "tuft",
                "hatchery" and "baseten" have what the SDK asks of a server; "skyrl-0.4.0", "tuft-0.2.2" and
                "hatchery-0.3.0" are as released.
            now: gives the time in seconds since the epoch, for expiry.

        Raises:
            ConfigError: `lacks` names what is no such feature, or `server` no such server.
        """
        super().__init__(directory, faults, models, max_context_length, lacks, now, server_named(server))
        self.plays = server
        self._session: str | None = None
        self._trained = 0

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

        path = None if model_path is None else full_path(model_path)

        def create() -> FakeSamplingClient:
            if path is None:
                weights = self.make_weights(str(base_model))
            else:
                header, arrays = self.checkpoints.load(path, "sampler_weights")
                weights = self.make_weights(header.info.base_model)
                weights.load(arrays, with_optimizer=False)
            return FakeSamplingClient(self, weights.model.name, self.sampler(weights), path)

        return self.submit("create_sampling_client", create, model_path=model_path, base_model=base_model)

    def _create_from(
        self, path: str, base_model: str | None, user_metadata: dict[str, str] | None, with_optimizer: bool
    ) -> FakeTrainingClient:
        if not self.server.opens_states:
            raise status_error(422, "create_model takes no state to load; field required: base_model")
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
        self.in_training[run] = weights
        return FakeTrainingClient(self, info, weights)
