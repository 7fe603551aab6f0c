"""SkyRL's server of the Tinker API, on JAX and this machine's CPU; runs in an environment of its own.

    python server.py MODEL_DIR STORE --port 8104 [--as-released]

SkyRL 0.4.0 speaks the API of an older SDK; `bridge.py` adds what this project's SDK cannot do without, unless the
server is to be as it was released.
"""

# pyright: reportMissingImports=false

import older_python  # noqa: F401

# isort: split
import argparse
import os
import sys
from pathlib import Path

import uvicorn
from skyrl.tinker import api
from skyrl.tinker.config import EngineConfig, config_to_argv


def main() -> None:
    """Answers until it is told to stop; what the store holds from before is there again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="directory of the base model; its name on the server")
    parser.add_argument("store", type=Path, help="directory for checkpoints and the server's database")
    parser.add_argument("--port", type=int, default=8104)
    parser.add_argument("--as-released", action="store_true", help="without the bridge")
    given = parser.parse_args()
    if not given.as_released:
        import bridge  # noqa: F401
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
