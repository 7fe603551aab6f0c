"""How a batch is cut into passes changes when the service has its data, and nothing else: data, order and gradient."""

import math
from pathlib import Path
from typing import Any

import pytest
from tests.support.on_the_fake import train_virtually
from tests.support.rows import read_rows
from tests.support.tiny_runs import tiny_config
from tests.support.virtual_runs import LearningService

from socratic_distill import load_checkpoints, open_service, train
from socratic_distill.testing import FakeServiceClient, FakeTrainingClient, Fault
from socratic_distill.testing.latency import Latency
from socratic_distill.training import loop

CUTS = [1, 2, 99]
Key = tuple[tuple[int, ...], tuple[tuple[str, str, bytes], ...]]


def key(datum: Any) -> Key:
    """All that a datum says, bit for bit."""
    arrays = {name: value.to_numpy() for name, value in sorted(datum.loss_fn_inputs.items())}
    inputs = tuple((name, str(array.dtype), array.tobytes()) for name, array in arrays.items())
    return tuple(datum.model_input.to_ints()), inputs


def record(monkeypatch, client: type) -> list[list[Key]]:
    """The data of every pass that training clients of this class are given from here on."""
    passes: list[list[Key]] = []
    right = getattr(client, "forward_backward")  # noqa: B009

    def forward_backward(self, data, *rest):
        passes.append([key(datum) for datum in data])
        return right(self, data, *rest)

    monkeypatch.setattr(client, "forward_backward", forward_backward)
    return passes


@pytest.fixture
def dialogue_sizes(monkeypatch) -> list[int]:
    """How many data each dialogue gave, in order."""
    sizes: list[int] = []
    right = loop.make_examples

    def make_examples(*parts):
        groups, *rest = parts
        for group in groups:
            sizes.extend(len(right([[one]], *rest)) for one in group)
        return right(*parts)

    monkeypatch.setattr(loop, "make_examples", make_examples)
    return sizes


def on_the_fake(config):
    train(config, service_client=FakeServiceClient())


def on_virtual_time(config, faults=()):
    # Cycles so short that a cut decides when its data are trained on.
    latency = Latency(cycle=0.1, sampler_save=0.1, state_save=0.1)
    train_virtually(LearningService(latency, faults=faults), config)


@pytest.mark.parametrize("run", [on_the_fake, on_virtual_time])
def test_a_batch_has_the_same_data_in_the_same_order_however_it_is_cut(make_config, tmp_path, monkeypatch, run):
    passes = record(monkeypatch, FakeTrainingClient)
    found = {}
    for groups in CUTS:
        passes.clear()
        run(make_config(log_path=tmp_path / str(groups), groups_per_minibatch=groups, max_steps=3, max_tokens=6))
        rows = read_rows(tmp_path / str(groups) / "metrics.jsonl")
        found[groups] = [datum for one in passes for datum in one]
        assert len(passes) == 3 * math.ceil(3 / groups)
        assert sum(row["datums"] for row in rows) == len(found[groups]) == 3 * 6
    assert found[1] == found[99] and found[2] == found[99]
    assert len(set(found[99])) == len(found[99]), "data that are alike cannot show their order"
    first, *others = [read_rows(tmp_path / str(groups) / "dialogues.jsonl") for groups in CUTS]
    assert all(other == first for other in others)


@pytest.mark.parametrize("groups", CUTS)
def test_each_pass_holds_whole_groups(make_config, monkeypatch, dialogue_sizes, groups):
    passes = record(monkeypatch, FakeTrainingClient)
    # A dialogue that failed gives no data, and the groups differ in size.
    faults = [Fault("sample", nth=nth) for nth in (9, 70, 71, 72, 130)]
    config = make_config(
        groups_per_minibatch=groups, groups_per_batch=5, max_steps=3, max_tokens=6, max_failed_fraction=1.0
    )
    on_virtual_time(config, faults)
    by_group = [sum(dialogue_sizes[at : at + 2]) for at in range(0, 30, 2)]
    assert len(dialogue_sizes) == 30 and set(by_group) >= {1, 2}
    steps = [by_group[at : at + 5] for at in range(0, 15, 5)]
    wanted = [sum(step[at : at + groups]) for step in steps for at in range(0, 5, groups)]
    assert [len(one) for one in passes] == [size for size in wanted if size]


def test_metrics_do_not_tell_how_a_batch_was_cut(make_config, tmp_path):
    found = []
    for groups in CUTS:
        changes = dict(groups_per_minibatch=groups, max_steps=2, max_tokens=6, loss_fn="ppo")
        on_the_fake(make_config(log_path=tmp_path / str(groups), **changes))
        found.append(read_rows(tmp_path / str(groups) / "metrics.jsonl"))
    sums = [[row.pop("service/loss:sum") for row in rows] for rows in found]
    assert found[0] == found[1] == found[2]
    # Hundreds of terms of some nats each, which may cancel, added up in float64.
    assert max(map(abs, sums[0])) > 1e-3
    assert sums[0] == pytest.approx(sums[2], rel=0, abs=1e-9) and sums[1] == pytest.approx(sums[2], rel=0, abs=1e-9)


# On torch


def test_on_the_local_engine_the_gradient_is_the_same_within_tolerance(tmp_path, monkeypatch):
    """After one step from a fresh optimizer, Adam's first moment is the gradient, but for a factor.

    The runs begin from weights that took a step before: in a fresh LoRA one of the two factors has no gradient.
    """
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    from safetensors.torch import load_file

    from socratic_distill.local.training_client import LocalTrainingClient

    passes = record(monkeypatch, LocalTrainingClient)
    small: dict[str, Any] = dict(max_tokens=12, max_turns=1, max_steps=1, save_every=None)
    before = tiny_config(tmp_path / "before", **small)
    service = open_service(before).client
    train(before, service_client=service)
    data, moments = {}, {}
    for groups in CUTS:
        passes.clear()
        changes = small | dict(groups_per_minibatch=groups, load_checkpoint_path=before.log_path)
        config = tiny_config(tmp_path / str(groups), **changes)
        train(config, service_client=service)
        assert len(passes) == math.ceil(3 / groups)
        data[groups] = [datum for one in passes for datum in one]
        state = Path(load_checkpoints(tmp_path / str(groups))[-1].state_path or "")
        moments[groups] = load_file(state / "optimizer.safetensors")
    assert data[1] == data[99] and data[2] == data[99], "the data differ: the gradients cannot be compared"
    wanted = moments[99]
    assert any(name.endswith("exp_avg") for name in wanted)
    for groups in (1, 2):
        assert moments[groups].keys() == wanted.keys()
        for name, moment in wanted.items():
            norm = float(moment.norm())
            assert norm > 0, f"{name} has no gradient to compare"
            apart = float((moments[groups][name] - moment).norm()) / norm
            assert apart <= 1e-5, f"{name} is {apart:.1e} of its norm apart, cut into minibatches of {groups}"
