"""What this project's SDK cannot do without, and SkyRL 0.4.0 lacks. Importing it adds it to SkyRL's app.

Whatever else a server may lack is left as it is, since the tests are there to see how the library takes it.
"""

# pyright: reportMissingImports=false

import uuid
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from fastapi import Depends, Request
from pydantic import BaseModel
from skyrl.tinker import api, types
from skyrl.tinker.db_models import ModelDB
from sqlmodel.ext.asyncio.session import AsyncSession

Database: TypeAlias = Annotated[AsyncSession, Depends(api.get_session)]


def answers(method: str, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Puts a function in the place of the one that SkyRL has for a path."""
    routes = api.app.router.routes
    routes[:] = [one for one in routes if not (one.path == path and method in one.methods)]
    return api.app.api_route(path, methods=[method])


@answers("POST", "/api/v1/asample")
async def sample(request: api.SampleRequest, whole: Request, database: Database) -> dict[str, Any]:
    """The SDK wants an id for each reply."""
    answer = await api.asample(request, whole, database)
    return {**answer.model_dump(), "sample_sequence_ids": [uuid.uuid4().hex for _ in range(request.num_samples)]}


class Load(BaseModel):
    """How the SDK asks for a training client on a state: in one request, whose model's id both sides derive."""

    path: str
    optimizer: bool
    session_id: str
    model_seq_id: int


@answers("POST", "/api/v1/load_weights")
async def load(request: Load, whole: Request, database: Database) -> api.FutureResponse:
    """Makes the model as its origin was made, and then loads, as SkyRL does."""
    path = types.TinkerPath.parse(request.path)
    origin = await api.get_model(database, path.primary_id if path else request.path)
    model = f"{request.session_id}:train:{request.model_seq_id}"
    lora = types.CreateModelInput(lora_config=types.LoraConfig(**origin.lora_config))
    created = await api.create_future(database, types.RequestType.CREATE_MODEL, model, lora)
    row = origin.model_dump(exclude={"created_at"})
    database.add(ModelDB(**{**row, "model_id": model, "request_id": created, "session_id": request.session_id}))
    await database.flush()
    order = api.LoadWeightsRequest(model_id=model, path=request.path, optimizer=request.optimizer)
    return await api.load_weights(order, whole, database)


# Such an id has colons, which SkyRL takes everywhere but here.
@answers("GET", "/api/v1/training_runs/{unique_id}/checkpoints")
async def list_checkpoints(unique_id: str, database: Database) -> api.ListCheckpointsResponse:
    """The saves of a model."""
    return await api.list_checkpoints(unique_id, database)


@answers("DELETE", "/api/v1/training_runs/{unique_id}/checkpoints/{checkpoint_path:path}")
async def delete_checkpoint(unique_id: str, checkpoint_path: str, whole: Request, database: Database) -> None:
    """Deletes one."""
    await api.delete_checkpoint(whole, unique_id, checkpoint_path, None, database)
