"""What the machine, its control groups and a GPU leave, read from files of the kernel."""

import os

import pytest

pytest.importorskip("torch")

import torch

from socratic_distill.local import limits
from socratic_distill.local.limits import Limit, free_gpu_memory, free_memory

GIB = 2**30


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """Empty stand-ins for /proc and /sys/fs/cgroup, and a writer of files in them."""
    monkeypatch.setattr(limits, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(limits, "_CGROUPS", tmp_path / "cgroup")

    def write(path: str, text: str | int) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{text}\n")

    write("proc/meminfo", f"MemTotal: {16 * 2**20} kB\nMemFree: 5 kB\nMemAvailable:    {8 * 2**20} kB")
    return write


def test_machine_says_what_is_available(kernel):
    limit = free_memory()
    assert limit is not None and limit.free == 8 * GIB and "/proc/meminfo" in limit.source


def test_limit_of_version_2_counts_less_what_is_used_and_cannot_be_freed(kernel, tmp_path):
    kernel("proc/self/cgroup", "0::/jobs/one")
    kernel("cgroup/jobs/one/memory.max", 2 * GIB)
    kernel("cgroup/jobs/one/memory.current", GIB)
    kernel("cgroup/jobs/one/memory.stat", f"anon 1\ninactive_file {GIB // 4}\nactive_file 7")
    assert free_memory() == Limit(
        2 * GIB - GIB + GIB // 4, f"left under the limit in {tmp_path}/cgroup/jobs/one/memory.max"
    )


def test_limit_of_a_group_above_counts(kernel):
    kernel("proc/self/cgroup", "0::/jobs/one")
    for group, most in (("jobs/one", "max"), ("jobs", GIB)):
        kernel(f"cgroup/{group}/memory.max", most)
        kernel(f"cgroup/{group}/memory.current", 0)
    limit = free_memory()
    assert limit is not None and limit.free == GIB and "jobs/memory.max" in limit.source


def test_limit_at_the_root_counts_where_the_path_is_the_hosts(kernel):
    kernel("proc/self/cgroup", "0::/docker/0123")
    kernel("cgroup/memory.max", GIB)
    kernel("cgroup/memory.current", 0)
    limit = free_memory()
    assert limit is not None and limit.free == GIB


def test_limit_of_version_1_counts(kernel):
    kernel("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/box\n0::/")
    kernel("cgroup/memory/box/memory.limit_in_bytes", 3 * GIB)
    kernel("cgroup/memory/box/memory.usage_in_bytes", GIB)
    kernel("cgroup/memory/box/memory.stat", f"cache 3\ntotal_inactive_file {GIB // 2}")
    kernel("cgroup/memory/memory.limit_in_bytes", 9223372036854771712)  # no limit
    kernel("cgroup/memory/memory.usage_in_bytes", GIB)
    limit = free_memory()
    assert limit is not None and limit.free == 2 * GIB + GIB // 2


def test_group_beyond_its_limit_leaves_nothing(kernel):
    kernel("proc/self/cgroup", "0::/")
    kernel("cgroup/memory.max", GIB)
    kernel("cgroup/memory.current", 2 * GIB)
    limit = free_memory()
    assert limit is not None and limit.free == 0


@pytest.mark.parametrize("text", ["", "MemAvailable: many kB", "\u00e9"])
def test_whole_memory_counts_where_there_is_no_file_of_the_kernel(kernel, monkeypatch, text):
    kernel("proc/meminfo", text)
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert free_memory() == Limit(4_096_000, "all memory of this machine")


def test_nothing_is_known_where_nothing_says_so(kernel, monkeypatch):
    kernel("proc/meminfo", "")

    def unknown(name: str) -> int:
        raise ValueError(f"unrecognized configuration name: {name}")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert free_memory() is None


def test_gpu_leaves_what_is_free_and_what_torch_holds_unused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * GIB, 16 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: GIB)
    assert free_gpu_memory(torch.device("cuda:0")) == Limit(7 * GIB, "free on cuda:0")
