"""`env`: versions and devices, as text for a bug report."""

import argparse
import json
import os
import platform
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from socratic_distill.cli.printing import help_of
from socratic_distill.text import show

if TYPE_CHECKING:
    from socratic_distill.cli.options import Commands

_NAME = "socratic-distill"
_PACKAGES = (_NAME, "tinker", "torch", "transformers", "peft", "safetensors", "numpy", "pydantic", "rich")
_KEY = "TINKER_API_KEY"
# Extras for those who work on the package itself.
_OWN_EXTRAS = ("dev", "docs", "browser")


def add_parser(commands: "Commands") -> None:
    """Adds the command."""
    parser = commands.add_parser(
        "env", **help_of("print versions and devices, for a bug report", "env", "env --json > environment.json")
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace) -> int:
    """Prints them."""
    facts = environment()
    if parsed.json:
        show(json.dumps(facts, indent=2))
    else:
        width = max(map(len, facts))
        for name, value in facts.items():
            show(f"{name:{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return 0


def environment() -> dict[str, Any]:
    """Versions, processors, devices, and whether there is a key; never the key. Imports torch if it is installed."""
    packages = {name: package_version(name) or "not installed" for name in _PACKAGES}
    return {
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(),
        **packages,
        "cpus": os.cpu_count(),
        **_torch(),
        _KEY: "set" if os.environ.get(_KEY) else "not set",
        "extras": _extras() or "none",
    }


def package_version(name: str = _NAME) -> str | None:
    """The version of an installed package; None if it is not installed."""
    # Imported here, as it is slow to import.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _torch() -> dict[str, Any]:
    """What torch says of processors and GPUs; without torch, the machine's name alone."""
    if find_spec("torch") is None:
        return {"cpu": platform.machine(), "gpus": "unknown without torch"}
    try:
        import torch

        gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return {
            "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
            "threads of torch": torch.get_num_threads(),
            "gpus": gpus or "none",
        }
    except Exception as error:  # a broken torch is what the report may be about
        return {"cpu": platform.machine(), "gpus": f"unknown: {type(error).__name__}: {error}"}


def _extras() -> list[str]:
    """The extras of this package whose requirements are all installed."""
    from importlib.metadata import requires

    needed: dict[str, list[str]] = {}
    for line in requires(_NAME) or () if package_version() else ():
        requirement, _, marker = line.partition(";")
        extra = marker.partition("extra ==")[2].strip(" '\"")
        name = requirement.strip()
        for sign in "[<>=!~ (":
            name = name.partition(sign)[0]
        if extra and extra not in _OWN_EXTRAS:
            needed.setdefault(extra, []).append(name)
    return [extra for extra, names in needed.items() if all(map(package_version, names))]
