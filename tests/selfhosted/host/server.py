"""SkyRL's server of the Tinker API, on JAX and this machine's CPU; runs in an environment of its own.

    python server.py MODEL_DIR STORE --port 8104

SkyRL 0.4.0 speaks the API of an older SDK. What this project's SDK cannot do without is added here, and nothing else:
whatever a server may lack is left as it is, since the tests are there to see how the library takes it.
"""

# pyright: reportMissingImports=false

import older_python  # noqa: F401

# isort: split
import argparse
import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import uvicorn
from fastapi import Depends, Request
from pydantic import BaseModel
from skyrl.tinker import api, types
from skyrl.tinker.config import EngineConfig, config_to_argv
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


def main() -> None:
    """Answers until it is told to stop; what the store holds from before is there again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="directory of the base model; its name on the server")
    parser.add_argument("store", type=Path, help="directory for checkpoints and the server's database")
    parser.add_argument("--port", type=int, default=8104)
    given = parser.parse_args()
    store = given.store.resolve()
    store.mkdir(parents=True, exist_ok=True)
    os.environ |= {"JAX_PLATFORMS": "cpu", "HF_HUB_OFFLINE": "1"}
    engine = str(Path(__file__).with_name("engine.py"))
    # SkyRL would start it by uv.
    api._build_uv_run_cmd_engine = lambda _, settings: [sys.executable, engine, *config_to_argv(settings)]
    api.app.state.engine_config = EngineConfig(
        base_model=given.model,
        backend="jax",
        backend_config={
            # JAX compiles for each shape: of batches of one size there are few.
            "sample_max_num_sequences": 4,
            "train_micro_batch_size": 4,
            # Every training client has an adapter until its session ends, which is when the tests do.
            "max_lora_adapters": 96,
            "max_lora_rank": 8,
        },
        checkpoints_base=store / "checkpoints",
        database_url=f"sqlite:///{store / 'server.db'}",
    )
    uvicorn.run(api.app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
