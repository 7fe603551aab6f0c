"""The fake service's REST client: capabilities, server runs and checkpoints."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from tinker.types import (
    Checkpoint,
    CheckpointsListResponse,
    Cursor,
    GetServerCapabilitiesResponse,
    SupportedModel,
    TrainingRun,
    WeightsInfoResponse,
)

from socratic_distill.in_process import ServiceFuture, status_error
from socratic_distill.testing.checkpoints import parse
from socratic_distill.testing.servers import Capabilities
from socratic_distill.testing.service import FakeServiceClient
from socratic_distill.testing.store import Header

T = TypeVar("T")


class FakeRestClient:
    """The REST client that goes with a `FakeServiceClient`.

    Its calls are recorded and can fail by plan, like the service's own. Unknown or expired checkpoints
    and unknown server runs fail with `tinker.NotFoundError`.
    """

    def __init__(self, service: FakeServiceClient) -> None:
        """Answers from what the service keeps.

        Args:
            service: the fake service.
        """
        self._service = service
        self._checkpoints = service.checkpoints

    def get_server_capabilities(self) -> ServiceFuture[GetServerCapabilitiesResponse]:
        """The models offered; where any name is, those used so far."""

        def answer() -> GetServerCapabilitiesResponse:
            length, server = self._service.max_context_length, self._service.server
            model = SupportedModel(max_context_length=length, trainable=True, sampleable=True)
            facts = model if server.tells_models else SupportedModel()
            models = [facts.model_copy(update={"model_name": name}) for name in self._service.model_names()]
            return Capabilities(supported_models=models, **server.claims)

        return self._submit("get_server_capabilities", answer)

    def get_weights_info_by_tinker_path(self, tinker_path: str) -> ServiceFuture[WeightsInfoResponse]:
        """Base model and LoRA settings of a checkpoint."""

        def answer() -> WeightsInfoResponse:
            if self._service.server.has_short_paths and "/weights/" not in tinker_path:
                raise status_error(400, f"{tinker_path} is not of the form tinker://<model>/weights/<name>")
            info = self._checkpoints.find(tinker_path).info
            return WeightsInfoResponse(
                base_model=info.base_model,
                is_lora=True,
                lora_rank=info.rank,
                train_unembed=info.train_unembed,
                train_mlp=info.train_mlp,
                train_attn=info.train_attn,
            )

        return self._submit("get_weights_info_by_tinker_path", answer, path=tinker_path)

    def list_checkpoints(self, training_run_id: str) -> ServiceFuture[CheckpointsListResponse]:
        """The checkpoints of one server run, the oldest first."""

        def answer() -> CheckpointsListResponse:
            self._checkpoints.run(training_run_id)
            return CheckpointsListResponse(
                checkpoints=[_listed(header) for header in self._checkpoints.all(training_run_id)]
            )

        return self._submit("list_checkpoints", answer, training_run_id=training_run_id)

    def list_user_checkpoints(self, limit: int = 100, offset: int = 0) -> ServiceFuture[CheckpointsListResponse]:
        """The checkpoints of all server runs, the newest first: `limit` of them from `offset`."""

        def answer() -> CheckpointsListResponse:
            headers = self._checkpoints.all()[::-1]
            return CheckpointsListResponse(
                checkpoints=[_listed(header) for header in headers[offset : offset + limit]],
                cursor=Cursor(offset=offset, limit=limit, total_count=len(headers)),
            )

        return self._submit("list_user_checkpoints", answer, limit=limit, offset=offset)

    def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> ServiceFuture[None]:
        """Deletes a checkpoint."""
        return self._submit(
            "delete_checkpoint_from_tinker_path",
            lambda: self._checkpoints.delete(tinker_path),
            path=tinker_path,
        )

    def set_checkpoint_ttl_from_tinker_path(self, tinker_path: str, ttl_seconds: int | None) -> ServiceFuture[None]:
        """Lets a checkpoint expire `ttl_seconds` from now, one hour to ten years; None never."""
        return self._submit(
            "set_checkpoint_ttl_from_tinker_path",
            lambda: self._checkpoints.set_ttl(tinker_path, ttl_seconds),
            path=tinker_path,
            ttl_seconds=ttl_seconds,
        )

    def get_training_run(
        self, training_run_id: str, access_scope: Literal["owned", "accessible"] = "owned"
    ) -> ServiceFuture[TrainingRun]:
        """A server run and its newest checkpoints."""
        return self._submit(
            "get_training_run", lambda: self._training_run(training_run_id), training_run_id=training_run_id
        )

    def get_training_run_by_tinker_path(
        self, tinker_path: str, access_scope: Literal["owned", "accessible"] = "owned"
    ) -> ServiceFuture[TrainingRun]:
        """The server run that a path names, whether or not the checkpoint still exists."""

        def answer() -> TrainingRun:
            parse(tinker_path)
            return self._training_run(tinker_path.removeprefix("tinker://").split("/")[0])

        return self._submit("get_training_run_by_tinker_path", answer, path=tinker_path)

    def _training_run(self, run: str) -> TrainingRun:
        info = self._checkpoints.run(run)
        headers = self._checkpoints.all(run)
        states = [_listed(header) for header in headers if header.kind == "weights"]
        samplers = [_listed(header) for header in headers if header.kind == "sampler_weights"]
        return TrainingRun(
            training_run_id=run,
            base_model=info.base_model,
            model_owner="fake",
            is_lora=True,
            lora_rank=info.rank,
            last_request_time=_time(max([info.opened, *(header.saved for header in headers)])),
            last_checkpoint=states[-1] if states else None,
            last_sampler_checkpoint=samplers[-1] if samplers else None,
            user_metadata=info.user_metadata,
        )

    def _submit(self, call: str, action: Callable[[], T], **arguments: Any) -> ServiceFuture[T]:
        return self._service.submit(call, action, **arguments)


def _listed(header: Header) -> Checkpoint:
    return Checkpoint(
        checkpoint_id=f"{header.kind}/{header.name}",
        checkpoint_type="training" if header.kind == "weights" else "sampler",
        time=_time(header.saved),
        tinker_path=header.path,
        size_bytes=header.size_bytes,
        user_metadata=header.user_metadata,
        expires_at=None if header.expires is None else _time(header.expires),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
