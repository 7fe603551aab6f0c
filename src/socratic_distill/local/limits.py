"""How much memory this process may still take, of the machine, of its control groups, of a GPU; and has taken."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
# Version 1 writes "no limit" as the largest number of whole pages, version 2 as the word "max".
_NO_LIMIT = 2**60


@dataclass(frozen=True)
class Limit:
    """Memory that can still be taken.

    Attributes:
        free: bytes.
        source: who says so, as the end of a sentence.
    """

    free: int
    source: str


def free_memory() -> Limit | None:
    """What this process may still take of the machine's memory; None if nothing here says so.

    It is the least of what the machine has and of what each control group, such as a container's, leaves. Memory that
    the kernel can take back, of cached files, counts as free.
    """
    limits = [*_machine(), *_control_groups()]
    return min(limits, key=lambda limit: limit.free, default=None)


def free_gpu_memory(device: torch.device) -> Limit:
    """What is free on a GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    # What torch has reserved and does not use is free for its next tensors.
    spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return Limit(free + spare, f"free on {device}")


def peak_memory(device: torch.device) -> dict[str, float]:
    """The most memory that this process has held so far, in MiB, as rows of metrics.jsonl hold it.

    Args:
        device: where the model is; on a GPU, it also gives the most that torch's tensors held there.
    """
    peaks = {}
    if (peak := process_peak()) is not None:
        peaks["memory/peak_mib"] = peak / 2**20
    if device.type == "cuda":
        peaks["memory/gpu_peak_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    return peaks


def process_peak() -> int | None:
    """The most memory that this process has held so far, bytes; None if the system does not say so."""
    for line in _lines(_PROC / "self" / "status"):
        # getrusage would also count what the parent held when it started this process.
        if (match := re.fullmatch(r"VmHWM:\s*(\d+) kB", line)) is not None:
            return int(match[1]) * 1024
    try:
        import resource
    except ImportError:  # only Unix has it
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _machine() -> Iterator[Limit]:
    for line in _lines(_PROC / "meminfo"):
        if (match := re.fullmatch(r"MemAvailable:\s*(\d+) kB", line)) is not None:
            yield Limit(int(match[1]) * 1024, "available on this machine (/proc/meminfo)")
            return
    try:  # without Linux's file, the whole memory: what others use of it is not known
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return
    if whole > 0:
        yield Limit(whole, "all memory of this machine")


def _control_groups() -> Iterator[Limit]:
    """The limits of this process's groups and of the groups above them."""
    for line in _lines(_PROC / "self" / "cgroup"):
        number, controllers, path = line.split(":", 2)
        if (number, controllers) == ("0", ""):
            root, files = _CGROUPS, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root, files = _CGROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        inner = PurePosixPath(path.lstrip("/"))
        # In a container the path may be that of the host; the container's own group is then at the root.
        for group in (root / inner, *(root / parent for parent in inner.parents), root):
            limit = _group(group, *files)
            if limit is not None:
                yield limit


def _group(directory: Path, most: str, used: str, reclaimable: str) -> Limit | None:
    """What one group leaves; None if it has no limit, or is not there."""
    limit, usage = _number(directory / most), _number(directory / used)
    if limit is None or usage is None or limit >= _NO_LIMIT:
        return None
    cached = [line.split()[1] for line in _lines(directory / "memory.stat") if line.split()[:1] == [reclaimable]]
    taken = usage - (int(cached[0]) if cached else 0)
    return Limit(max(0, limit - max(0, taken)), f"left under the limit in {directory / most}")


def _number(file: Path) -> int | None:
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _lines(file: Path) -> list[str]:
    """The lines of a file of the kernel; none if it cannot be read."""
    try:
        return file.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
