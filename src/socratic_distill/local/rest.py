"""The REST client of the local engine: available models and saved weights."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tinker import types

from socratic_distill.in_process import ServiceFuture
from socratic_distill.local.service import LocalServiceClient
from socratic_distill.local.store import kind_of


class LocalRestClient:
    """A Tinker REST client over a local service's models and store.

    Attributes:
        is_in_process: always True; weights of this machine need no upload.
    """

    is_in_process = True

    def __init__(self, service: LocalServiceClient) -> None:
        """Reads a service's models and store.

        Args:
            service: the service to ask about.
        """
        self._service = service

    def get_server_capabilities(self) -> ServiceFuture[types.GetServerCapabilitiesResponse]:
        """The models loaded so far and their contexts; other models load when they are first used."""
        models = [
            types.SupportedModel(model_name=name, max_context_length=base.max_context, trainable=True, sampleable=True)
            for name, base in self._service.models.items()
        ]
        return ServiceFuture.of(types.GetServerCapabilitiesResponse(supported_models=models))

    def get_weights_info_by_tinker_path(self, tinker_path: str) -> ServiceFuture[types.WeightsInfoResponse]:
        """Base model and LoRA shape of saved weights; tinker.NotFoundError if there are none at the path."""

        def look() -> types.WeightsInfoResponse:
            facts = self._service.store.facts(self._service.store.find(tinker_path))
            return types.WeightsInfoResponse(
                base_model=self._service.base_name(facts),
                is_lora=True,
                lora_rank=facts["rank"],
                train_mlp=facts["train_mlp"],
                train_attn=facts["train_attn"],
                train_unembed=facts["train_unembed"],
            )

        return _answer(look)

    def get_training_run_by_tinker_path(
        self, tinker_path: str, access_scope: str = "owned"
    ) -> ServiceFuture[types.TrainingRun]:
        """The server run of saved weights, and its newest saves of both kinds."""

        def look() -> types.TrainingRun:
            store = self._service.store
            directory = store.find(tinker_path)
            facts, server_run = store.facts(directory), directory.parent.parent.name
            saved = [self._describe(checkpoint) for checkpoint in store.directories(server_run)]
            newest = {checkpoint.checkpoint_type: checkpoint for checkpoint in saved}  # sorted: the newest wins
            return types.TrainingRun(
                training_run_id=server_run,
                base_model=self._service.base_name(facts),
                model_owner="local",
                is_lora=True,
                lora_rank=facts["rank"],
                last_request_time=max(checkpoint.time for checkpoint in saved),
                last_checkpoint=newest.get("training"),
                last_sampler_checkpoint=newest.get("sampler"),
            )

        return _answer(look)

    def list_checkpoints(self, training_run_id: str) -> ServiceFuture[types.CheckpointsListResponse]:
        """The saves of a server run, the oldest first."""
        return _answer(lambda: self._list(self._service.store.directories(training_run_id)))

    def list_user_checkpoints(self, limit: int = 100, offset: int = 0) -> ServiceFuture[types.CheckpointsListResponse]:
        """The saves of all server runs in the store, the oldest first."""
        return _answer(lambda: self._list(self._service.store.directories()[offset : offset + limit]))

    def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> ServiceFuture[None]:
        """Removes saved weights."""
        return _answer(lambda: self._service.store.delete(tinker_path))

    def set_checkpoint_ttl_from_tinker_path(self, tinker_path: str, ttl_seconds: int | None) -> ServiceFuture[None]:
        """Makes saved weights expire in `ttl_seconds`; None: never."""
        return _answer(lambda: self._service.store.set_expiry(tinker_path, ttl_seconds))

    def _list(self, directories: list[Path]) -> types.CheckpointsListResponse:
        return types.CheckpointsListResponse(checkpoints=[self._describe(directory) for directory in directories])

    def _describe(self, directory: Path) -> types.Checkpoint:
        facts = self._service.store.facts(directory)
        expires = facts["expires_at"]
        return types.Checkpoint(
            checkpoint_id=f"{directory.parent.name}/{directory.name}",
            checkpoint_type="training" if kind_of(directory) == "weights" else "sampler",
            time=datetime.fromtimestamp(facts["created_at"], UTC),
            tinker_path=str(directory),
            size_bytes=sum(path.stat().st_size for path in directory.iterdir()),
            user_metadata=facts["user_metadata"],
            expires_at=None if expires is None else datetime.fromtimestamp(expires, UTC),
        )


def _answer(call: Callable[[], Any]) -> ServiceFuture[Any]:
    try:
        return ServiceFuture.of(call())
    except Exception as error:
        return ServiceFuture.failed(error)
