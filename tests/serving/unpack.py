"""Takes from the wheels of vLLM and SGLang what reads adapters, and deletes the wheels.

python unpack.py DIRECTORY
"""

import shutil
import sys
from pathlib import Path
from zipfile import ZipFile

WANTED = ("vllm/lora/", "vllm/config/lora.py", "vllm/model_executor/models/", "sglang/srt/lora/")


def main() -> None:
    """Unpacks the wheels in a directory's folder `wheels` into the directory."""
    directory = Path(sys.argv[1])
    for path in sorted((directory / "wheels").glob("*.whl")):
        with ZipFile(path) as wheel:
            wheel.extractall(directory, [name for name in wheel.namelist() if name.startswith(WANTED)])
    shutil.rmtree(directory / "wheels")


if __name__ == "__main__":
    main()
