"""TuFT's server of the Tinker API, on this machine's CPU; runs in an environment of its own.

    python server.py MODEL_DIR STORE --port 8105 --key tml-key [--as-released]

TuFT 0.2.2 speaks the API of an older SDK; `bridge.py` adds what this project's SDK cannot do without, unless the server
is to be as it was released. Its app, checkpoints and trainer are TuFT's own; `stand_ins.py` says what is not.
"""

# pyright: reportMissingImports=false

import argparse
from pathlib import Path

import stand_ins  # noqa: F401

# isort: split
import bridge
import torch
import uvicorn
from tuft.config import AppConfig, ModelConfig
from tuft.persistence import PersistenceConfig, PersistenceMode
from tuft.server import create_root_app


def main() -> None:
    """Answers until it is told to stop; what the store holds from before is there again."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="directory of the base model; its name on the server")
    parser.add_argument("store", type=Path, help="directory for checkpoints and the server's records")
    parser.add_argument("--port", type=int, default=8105)
    parser.add_argument("--key", required=True, help="the key that its only user has")
    parser.add_argument("--context", type=int, default=1024, help="tokens of prompt and reply together")
    parser.add_argument("--also", nargs="+", default=[], help="more names that stand for the same model")
    parser.add_argument("--as-released", action="store_true", help="without the bridge")
    given = parser.parse_args()
    store = given.store.resolve()
    path = Path(given.model)
    models = [
        ModelConfig(model_name=name, model_path=path, max_model_len=given.context)
        for name in (given.model, *given.also)
    ]
    # Threads do not pay on a model this small.
    torch.set_num_threads(1)
    if not given.as_released:
        bridge.before_the_app_is_made()
    app = create_root_app(
        AppConfig(
            checkpoint_dir=store / "checkpoints",
            supported_models=models,
            authorized_users={given.key: "tester"},
            persistence=PersistenceConfig(mode=PersistenceMode.FILE, file_path=store / "records.json"),
        )
    )
    if not given.as_released:
        bridge.add_to(app)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
