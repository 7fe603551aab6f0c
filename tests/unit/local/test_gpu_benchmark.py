"""The benchmark for GPUs, on a CPU: that it runs, and that it measures nothing without a GPU."""

import json
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch
from tests.benchmarks import gpu


def test_tiny_mode_runs_every_part(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--tiny", "--repeats", "1"])
    assert gpu.main() == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["device"] == "CPU" and figures["memory/peak_mib"] > 0
    assert set(figures["ours"]) == {"sampling", "scoring", "training"} and min(figures["ours"].values()) > 0


def test_without_a_gpu_nothing_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 1
    assert "nothing was measured" in capsys.readouterr().out
