"""What the SDK and these tests cannot do without, and TuFT 0.2.2 lacks: four things, and nothing else.

Whatever else a server may lack is left as it is, since the tests are there to see how the library takes it.
"""

# pyright: reportMissingImports=false

import uuid
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import torch
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from tinker import types
from tuft import server
from tuft.auth import User
from tuft.backends.hf_training_model import HFTrainingModel
from tuft.state import ServerState
from tuft.training_controller import TrainingRunRecord

State: TypeAlias = Annotated[ServerState, Depends(server._get_state)]
Asking: TypeAlias = Annotated[User, Depends(server._get_user)]


def before_the_app_is_made() -> None:
    """Unknown fields of requests are ignored, and a LoRA's seed is kept."""
    _ignore_unknown_fields()
    _keep_seeds()


def add_to(app: FastAPI) -> None:
    """Promises of samples carry ids, and one request makes a model and loads a state."""
    _sample_with_ids(app)
    _create_by_loading(app)


def _ignore_unknown_fields() -> None:
    # A newer SDK sends `optimizer_config` and others, to which TuFT answers 422. FastAPI reads the models when the app
    # is made. Twice: models that hold others are built anew from those.
    models = [member for member in vars(types).values() if isinstance(member, type) and issubclass(member, BaseModel)]
    for _ in range(2):
        for model in models:
            if model.model_config.get("extra") == "forbid":
                model.model_config["extra"] = "ignore"
            model.model_rebuild(force=True)


def _keep_seeds() -> None:
    # TuFT draws a fresh LoRA from torch's global random state, whatever its seed: two runs would never be equal.
    create = HFTrainingModel.create_adapter

    async def create_seeded(self: Any, lora_id: str, lora_config: Any, *given: Any) -> None:
        torch.manual_seed(lora_config.seed or 0)
        await create(self, lora_id, lora_config, *given)

    HFTrainingModel.create_adapter = create_seeded


def _replaced(app: FastAPI, path: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """TuFT's function for a path, which is taken off the app, and the decorator of the one that takes its place."""
    (route,) = [route for route in app.routes if getattr(route, "path", None) == path]
    app.routes.remove(route)
    return route.endpoint, app.post(path, status_code=202)


def _sample_with_ids(app: FastAPI) -> None:
    original, takes_its_place = _replaced(app, "/api/v1/asample")

    @takes_its_place
    async def sample(request: types.SampleRequest, state: State, user: Asking) -> dict[str, Any]:
        promise = await original(request, state, user)
        return {**promise.model_dump(), "sample_sequence_ids": [uuid.uuid4().hex for _ in range(request.num_samples)]}


class Load(BaseModel):
    """How the SDK asks for a training client on a state: in one request, whose model's id both sides derive."""

    path: str
    optimizer: bool
    session_id: str
    model_seq_id: int


def _create_by_loading(app: FastAPI) -> None:
    original, takes_its_place = _replaced(app, "/api/v1/load_weights")

    @takes_its_place
    async def load(request: Load, state: State, user: Asking) -> types.UntypedAPIFuture:
        model = f"{request.session_id}:train:{request.model_seq_id}"
        # The SDK asks again where an answer is lost.
        if model not in state.training.training_runs:
            await _create_like_its_origin(state, user, model, request)
        order = types.LoadWeightsRequest(model_id=model, path=request.path, optimizer=request.optimizer)
        return await original(order, state, user)


async def _create_like_its_origin(state: ServerState, user: User, model: str, request: Load) -> None:
    """Makes a model of the geometry that a state has; a path that leads nowhere is left to TuFT's own load."""
    training = state.training
    run = types.ParsedCheckpointTinkerPath.from_tinker_path(request.path).training_run_id
    origin = training.get_run_record(run, user.user_id)
    fields = origin.model_dump(include={"base_model", "lora_rank", "train_attn", "train_mlp", "train_unembed"})
    record = TrainingRunRecord(
        **fields, target_modules=origin.target_modules, target_parameters=origin.target_parameters,
        training_run_id=model, session_id=request.session_id, model_owner=user.user_id, backend=origin.backend,
    )  # fmt: skip
    await origin.backend.create_adapter(model, record.lora_config())
    training.training_runs[model] = record
    training._save_training_run(model)
