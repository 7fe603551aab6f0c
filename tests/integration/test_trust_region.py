"""Tokens whose probability moved too far are not trained on; losses that count the context do not train it."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import read_rows, rows_of_run
from tests.support.tiny_runs import tiny_config

from socratic_distill import load_checkpoints, train
from socratic_distill.testing import FakeServiceClient
from socratic_distill.testing.clients import FakeTrainingClient

pytestmark = pytest.mark.thinned

KEY = "trust_region/masked"
OWN_KEYS = ("time/", "memory/", "trust_region/", "tokens/forward", "cost/")
# Weights move within a batch, so the second part of it trains tokens that older weights sampled.
MOVING = {"num_substeps": 3, "learning_rate": 0.3}


def table_of(service, log_path):
    """The tutor's final weights on the fake."""
    path = load_checkpoints(log_path)[-1].state_path
    return service.create_training_client_from_state(path).result()._weights.table


def local_tensors(log_path):
    from safetensors.torch import load_file

    return load_file(Path(load_checkpoints(log_path)[-1].state_path or "") / "adapter_model.safetensors")


@pytest.fixture
def passes(monkeypatch):
    """Every pass of the fake: the call, the loss, the data, the log-probabilities in the answer, and the options."""
    found = []
    right = FakeTrainingClient._run_pass

    def run(self, data, loss_fn, config, backward):
        output = right(self, data, loss_fn, config, backward)
        arrays = [{name: value.to_numpy() for name, value in datum.loss_fn_inputs.items()} for datum in data]
        answers = [one["logprobs"].to_numpy() for one in output.loss_fn_outputs]
        found.append(("forward_backward" if backward else "forward", loss_fn, arrays, answers, config))
        return output

    monkeypatch.setattr(FakeTrainingClient, "_run_pass", run)
    return found


@pytest.mark.parametrize("loss_fn", ["importance_sampling", "ppo", "dro"])
def test_a_bound_that_no_token_can_exceed_changes_nothing(make_config, tmp_path, loss_fn):
    tables = []
    for bound in (None, 1.0):
        config = make_config(log_path=tmp_path / str(bound), max_probability_change=bound, loss_fn=loss_fn, **MOVING)
        service = FakeServiceClient()
        train_on_fake(service, config)
        tables.append(table_of(service, config.log_path))
    np.testing.assert_array_equal(*tables)
    plain, bounded = (rows_of_run(tmp_path / name, without=OWN_KEYS) for name in ("None", "1.0"))
    assert plain == bounded
    rows = read_rows(tmp_path / "1.0" / "metrics.jsonl")
    assert [row[KEY] for row in rows] == [0.0] * 6 and all(row["tokens/forward"] > 0 for row in rows)
    assert KEY not in read_rows(tmp_path / "None" / "metrics.jsonl")[0]


def test_tokens_that_moved_too_far_have_no_advantage(make_config, tmp_path, passes):
    train_on_fake(FakeServiceClient(), make_config(max_probability_change=0.01, **MOVING))
    left_out = kept = 0
    pairs = [(one, next(x for x in passes[i + 1 :] if x[0] == "forward_backward")) for i, one in enumerate(passes)
             if one[0] == "forward"]  # fmt: skip
    for (_, _, before, now, _), (_, _, after, _, _) in pairs:
        for old, logprobs, new in zip(before, now, after, strict=True):
            sampled = old["logprobs"] != 0
            moved = np.abs(np.exp(logprobs) - np.exp(old["logprobs"])) > 0.01
            assert (new["advantages"][moved & sampled] == 0).all(), "a token that moved is trained on"
            np.testing.assert_array_equal(new["advantages"][~moved], old["advantages"][~moved])
            left_out, kept = left_out + (moved & sampled).sum(), kept + (~moved & sampled).sum()
    shares = [row[KEY] for row in read_rows(tmp_path / "run" / "metrics.jsonl")]
    assert left_out > 20 and kept > 20 and max(shares) > 0.01


def test_masked_tokens_have_no_gradient_by_finite_differences():
    """The loss of a revised datum does not depend on a masked token's log-probability; that of others does."""
    from tests.unit.training.test_learner import example

    from socratic_distill.distillation.objective import Revision
    from socratic_distill.testing.losses import evaluate

    plain = example(5, 4)
    now = np.asarray([-13.0, -0.5, -13.0, -0.1])
    for loss_fn in ("importance_sampling", "ppo", "cispo", "gspo", "dro"):
        revision = Revision(0.3, loss_fn in ("gspo", "dro"))
        revised = type(plain)(plain.datum, loss_fn, plain.mask, plain.sampled, revision=revision).reweighed(now)
        assert revised.mask.tolist() == [True, False, True, False] and revised.left_out == 2
        inputs = {name: value.to_numpy().astype(float) for name, value in revised.datum.loss_fn_inputs.items()}
        loss, slope = evaluate(loss_fn, now, inputs, None)
        for place in (1, 3):
            moved = now.copy()
            moved[place] += 1e-4
            assert evaluate(loss_fn, moved, inputs, None)[0] == pytest.approx(loss, abs=1e-9), loss_fn
        assert np.abs(slope[[0, 2]]).max() > 0.1 and np.abs(slope[[1, 3]]).max() < 1e-7, loss_fn


def test_with_fresh_tokens_and_one_step_nothing_is_masked(make_config, tmp_path):
    train_on_fake(FakeServiceClient(), make_config(max_probability_change=1e-4, learning_rate=0.3))
    assert [row[KEY] for row in read_rows(tmp_path / "run" / "metrics.jsonl")] == [0.0] * 6


@pytest.mark.parametrize("changes", [{"max_probability_change": 0.05}, {"loss_fn": "gspo"}, {"loss_fn": "dro"}])
def test_a_resumed_run_equals_the_uninterrupted_one(make_config, tmp_path, whole_run, changes):
    whole = whole_run(**changes, **MOVING)
    service = FakeServiceClient()
    train_on_fake(service, make_config(max_steps=2, **changes, **MOVING))
    train_on_fake(service, make_config(**changes, **MOVING))
    assert rows_of_run(tmp_path / "run") == rows_of_run(whole)


@pytest.mark.parametrize("loss_fn", ["gspo", "dro"])
def test_losses_that_count_the_context_do_not_train_it(make_config, passes, loss_fn):
    train_on_fake(FakeServiceClient(), make_config(loss_fn=loss_fn, max_steps=2))
    trained = [one for one in passes if one[0] == "forward_backward"]
    assert [one[0] for one in passes[:2]] == ["forward", "forward_backward"]
    for _, name, data, answers, _ in trained:
        assert name == loss_fn
        for inputs, now in zip(data, answers, strict=True):
            context = inputs["advantages"] == 0
            np.testing.assert_allclose(inputs["logprobs"][context], now[context], atol=1e-6)
            assert context.sum() > 5


def test_the_options_of_a_loss_are_always_sent(make_config, tmp_path, passes):
    clip = {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}
    for loss_fn, given, sent in [
        ("importance_sampling", {}, None),
        ("ppo", {}, clip),
        ("cispo", {"clip_high_threshold": 3.0}, clip | {"clip_high_threshold": 3.0}),
        ("dro", {"beta": 0.5}, {"beta": 0.5}),
    ]:
        passes.clear()
        config = make_config(log_path=tmp_path / loss_fn, loss_fn=loss_fn, loss_fn_options=given, max_steps=1)
        train_on_fake(FakeServiceClient(), config)
        assert passes and all(one[-1] == sent for one in passes), loss_fn


def test_named_and_sampled_tokens_are_read_forward_in_passes_of_their_own(make_config, tmp_path):
    service = FakeServiceClient()
    parts = [{"objective": {"kind": kind}} for kind in ("sampled_reverse_kl", "reverse_kl")]
    changes = {"objective": {"kind": "mixture", "parts": parts}, "max_probability_change": 0.5}
    train_on_fake(service, make_config(max_steps=1, groups_per_minibatch=3, **changes))
    calls = [(call.call, call.arguments["loss_fn"]) for call in service.calls if call.call.startswith("forward")]
    losses = ["importance_sampling", "cross_entropy"]
    assert calls == [(call, loss_fn) for call in ("forward", "forward_backward") for loss_fn in losses]


def test_on_the_engine_a_wide_bound_changes_no_bit_and_a_narrow_one_masks(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    small = {"max_steps": 2, "max_tokens": 12, "num_substeps": 3, "max_turns": 1}
    for bound in (None, 1.0, 0.001):
        train(tiny_config(tmp_path / str(bound), max_probability_change=bound, **small))
    plain, wide, narrow = (local_tensors(tmp_path / name) for name in ("None", "1.0", "0.001"))
    assert all((plain[key] == wide[key]).all() for key in plain)
    assert any((plain[key] != narrow[key]).any() for key in plain)
    assert read_rows(tmp_path / "0.001" / "metrics.jsonl")[-1][KEY] > 0
    assert read_rows(tmp_path / "1.0" / "metrics.jsonl")[-1][KEY] == 0


@pytest.mark.slow
def test_on_the_engine_fresh_tokens_are_not_masked_and_a_resume_is_exact(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    small = {"max_tokens": 12, "max_turns": 1, "max_probability_change": 0.01, "loss_fn": "gspo", "save_every": 1}
    train(tiny_config(tmp_path / "whole", max_steps=2, **small))
    train(tiny_config(tmp_path / "run", max_steps=1, **small))
    train(tiny_config(tmp_path / "run", max_steps=2, **small))
    assert [row[KEY] for row in read_rows(tmp_path / "whole" / "metrics.jsonl")] == [0.0, 0.0]
    one, other = (local_tensors(tmp_path / name) for name in ("run", "whole"))
    assert all((one[key] == other[key]).all() for key in one)
