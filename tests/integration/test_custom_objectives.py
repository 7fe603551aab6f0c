"""Loss functions of the user on the fake service and on the local engine: the same gradients, resumes, failures."""

import sys
from typing import Any

import numpy as np
import pytest
from tests.support.on_the_fake import strict_run, train_on_fake
from tests.support.rows import read_rows, rows_of_run
from tests.support.torch_losses import forward, monte_carlo, rest, reverse  # noqa: F401

pytest.importorskip("torch")

import torch

from socratic_distill import ConfigError, TrainingError, UntrustedConfig, train
from socratic_distill.run.directory import load_config
from socratic_distill.testing import FakeServiceClient, FakeTrainingClient, Fault

pytestmark = pytest.mark.thinned

HERE = __name__


def custom(function, **fields) -> dict[str, Any]:
    return {"kind": "custom", "function": f"{HERE}:{function}", "k": 4} | fields


# Each with the built-in kind that it writes down.
PAIRS = {
    "reverse": (custom("reverse"), {"kind": "reverse_kl", "k": 4}),
    "forward": (custom("forward", tokens="teacher"), {"kind": "forward_kl", "k": 4, "tail": "bucket"}),
    "drawn": (custom("monte_carlo", tokens="drawn"), {"kind": "monte_carlo_kl", "k": 4}),
}
pairs = pytest.mark.parametrize(("own", "built_in"), PAIRS.values(), ids=PAIRS.keys())


def watch(monkeypatch, client) -> list[Any]:
    """The data of every training pass of a kind of client from here on."""
    found: list[Any] = []
    right = client.forward_backward

    def forward_backward(self, data, *others):
        found.extend(data)
        return right(self, data, *others)

    monkeypatch.setattr(client, "forward_backward", forward_backward)
    return found


def assert_same_data(data, other, rtol):
    assert len(data) == len(other) > 0
    for one, two in zip(data, other, strict=True):
        targets, weights = (
            [datum.loss_fn_inputs[name].to_numpy() for datum in (one, two)] for name in ("target_tokens", "weights")
        )
        np.testing.assert_array_equal(*targets)
        assert weights[0].any()
        np.testing.assert_allclose(*weights, rtol=rtol, atol=1e-6)


# The same gradients


@pairs
def test_a_loss_in_torch_trains_as_the_built_in_kind_on_the_fake(make_config, tmp_path, monkeypatch, own, built_in):
    found = watch(monkeypatch, FakeTrainingClient)
    servers = []
    for name, objective in (("own", own), ("built-in", built_in)):
        servers.append(strict_run(make_config(log_path=tmp_path / name, objective=objective, max_steps=1)))
    half = len(found) // 2
    assert_same_data(found[:half], found[half:], rtol=1e-5)
    calls = [[(one.call, one.arguments.get("features")) for one in server.calls] for server in servers]
    assert calls[0] == calls[1], "the requests differ from the built-in kind's"


@pairs
def test_a_loss_in_torch_trains_as_the_built_in_kind_on_the_local_engine(tmp_path, monkeypatch, own, built_in):
    pytest.importorskip("peft")
    from tests.support.tiny_runs import tiny_config

    from socratic_distill.local.training_client import LocalTrainingClient

    found = watch(monkeypatch, LocalTrainingClient)
    small: dict[str, Any] = {"groups_per_batch": 2, "max_tokens": 12, "max_steps": 2, "write_report": False}
    for name, objective in (("own", own), ("built-in", built_in)):
        train(tiny_config(tmp_path / name, objective=objective, **small))
    half = len(found) // 2
    assert_same_data(found[:half], found[half:], rtol=1e-3)
    rows = [read_rows(tmp_path / name / "metrics.jsonl") for name in ("own", "built-in")]
    assert len(rows[0]) == 2
    for one, two in zip(*rows, strict=True):
        assert one["teacher_kl"] == pytest.approx(two["teacher_kl"], rel=1e-4)


def test_training_lowers_the_divergence(make_config, tmp_path):
    strict_run(make_config(objective=custom("reverse"), max_steps=20, save_every=20))
    kl = [row["teacher_kl"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")]
    assert sum(kl[-5:]) < 0.5 * sum(kl[:5]), f"teacher_kl went from {kl[:5]} to {kl[-5:]}"


def test_a_part_of_a_mixture_has_the_weight_that_it_is_given(make_config, tmp_path, monkeypatch):
    found = watch(monkeypatch, FakeTrainingClient)

    def mixed(one, other):
        parts = [{"objective": one, "weight": 0.5}, {"objective": other, "weight": 2.0}]
        return {"kind": "mixture", "parts": parts}

    forward_kl = PAIRS["forward"][1]
    for name, one in zip(("own", "built-in"), PAIRS["reverse"], strict=True):
        strict_run(make_config(log_path=tmp_path / name, objective=mixed(one, forward_kl), max_steps=1))
    half = len(found) // 2
    assert_same_data(found[:half], found[half:], rtol=1e-5)


def test_recorded_dialogues_train_as_with_the_built_in_kind(make_config, tmp_path, monkeypatch):
    recorded = tmp_path / "recorded.jsonl"
    source = strict_run(make_config(log_path=tmp_path / "source", max_steps=1))
    recorded.write_bytes((tmp_path / "source" / "dialogues.jsonl").read_bytes())
    assert source.count("forward_backward") == 1
    found = watch(monkeypatch, FakeTrainingClient)
    for name, objective in zip(("own", "built-in"), PAIRS["reverse"], strict=True):
        recordings = {"files": [recorded], "objective": objective}
        strict_run(make_config(log_path=tmp_path / name, recordings=recordings, max_steps=1))
    half = len(found) // 2
    assert_same_data(found[:half], found[half:], rtol=1e-5)


# That it resumes


@pytest.mark.parametrize("call", ["forward", "forward_backward"])
def test_resumed_run_equals_one_never_interrupted(make_config, whole_run, tmp_path, call):
    objective = custom("reverse")
    server = FakeServiceClient(tmp_path / "server", faults=[Fault(call, nth=3)])
    with pytest.raises(TrainingError):
        strict_run(make_config(objective=objective, max_recoveries=0), server)
    assert 0 < len(read_rows(tmp_path / "run" / "metrics.jsonl")) < 6
    strict_run(make_config(objective=objective), FakeServiceClient(tmp_path / "server"))
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole_run(objective=objective))


@pytest.mark.slow
def test_resumed_run_on_the_local_engine_equals_the_uninterrupted_one(tmp_path):
    pytest.importorskip("peft")
    from tests.support.tiny_runs import tiny_config

    small: dict[str, Any] = {"groups_per_batch": 2, "max_tokens": 12, "write_report": False}
    small["objective"] = custom("reverse")
    train(tiny_config(tmp_path / "whole", **small))
    train(tiny_config(tmp_path / "run", **small, max_steps=3))
    train(tiny_config(tmp_path / "run", **small))
    for name in ("metrics.jsonl", "dialogues.jsonl"):
        assert read_rows(tmp_path / "run" / name) == read_rows(tmp_path / "whole" / name)


_calls: list[int] = []
_fails_at = 0


def fails_late(logprobs, teacher, mask):
    _calls.append(len(logprobs))
    if len(_calls) == _fails_at:
        return logprobs.sum() * torch.nan
    return reverse(logprobs, teacher, mask)


def test_a_function_that_fails_in_training_stops_the_run_and_it_resumes(make_config, tmp_path, monkeypatch):
    _calls.clear()
    objective = custom("fails_late")
    strict_run(make_config(log_path=tmp_path / "whole", objective=objective))
    _calls.clear()
    # After the trial and the 6 dialogues of each of 3 batches.
    monkeypatch.setattr(sys.modules[HERE], "_fails_at", 1 + 3 * 6 + 2)
    server = FakeServiceClient(tmp_path / "server")
    with pytest.raises(ConfigError, match=rf"'{HERE}:fails_late' returned nan, in training .*start the same script"):
        strict_run(make_config(objective=objective), server)
    assert server.count("optim_step") == 3, "a step was made on a part of a batch"
    monkeypatch.setattr(sys.modules[HERE], "_fails_at", 0)
    strict_run(make_config(objective=objective), FakeServiceClient(tmp_path / "server"))
    assert rows_of_run(tmp_path / "run") == rows_of_run(tmp_path / "whole")


def test_another_function_is_another_objective(make_config):
    from socratic_distill import ConfigDrift

    server = strict_run(make_config(objective=custom("reverse"), max_steps=1))
    with pytest.raises(ConfigDrift, match="objective"):
        strict_run(make_config(objective=custom("fails_late"), max_steps=2), server)


# Refusals


def test_a_function_that_is_no_loss_is_refused_before_any_request(make_config, tmp_path):
    server = FakeServiceClient()
    with pytest.raises(ConfigError, match=rf"loss function '{HERE}:rest' raised TypeError"):
        train_on_fake(server, make_config(objective=custom("rest")))
    assert server.calls == [] and not (tmp_path / "run" / "dialogues.jsonl").exists()


def test_a_run_directorys_loss_function_trains_only_if_allowed(make_config, tmp_path):
    strict_run(make_config(objective=custom("fails_late"), max_steps=1), FakeServiceClient(tmp_path / "server"))
    stored = load_config(tmp_path / "run", allow_files=True)
    assert stored.objective.custom[0].function == f"{HERE}:fails_late"
    _calls.clear()
    longer = stored.model_copy(update={"max_steps": 2})
    with pytest.raises(UntrustedConfig, match=r"asks for the functions of losses '.*:fails_late'.*--allow-code"):
        train_on_fake(FakeServiceClient(tmp_path / "server"), longer)
    assert not _calls
    allowed = load_config(tmp_path / "run", allow_files=True, allow_code=True).model_copy(update={"max_steps": 2})
    train_on_fake(FakeServiceClient(tmp_path / "server"), allowed)
    assert len(read_rows(tmp_path / "run" / "metrics.jsonl")) == 2 and _calls
