"""The process that holds the model; `server.py` starts it. Its arguments are SkyRL's own."""

# pyright: reportMissingImports=false

import older_python  # noqa: F401

# isort: split
from skyrl.tinker.engine import main

main()
