"""Callbacks of runs on torch: they change no bit, and a resumed run stops where one never interrupted does."""

from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from tests.support.rows import read_rows

from socratic_distill import Callback, EarlyStopping, build_socratic_config, load_evaluations, train
from socratic_distill.local.tiny import TRAIN_SEEDS


def tiny_config(log_path: Path, **changes: Any) -> Any:
    fields: dict[str, Any] = dict(
        tutor_model_name="tiny", student_model_name="tiny", teacher_model_name="tiny", learning_rate=3e-3,
        max_tokens=12, log_path=log_path, base_url="local", seeds_file=TRAIN_SEEDS, groups_per_batch=2, num_envs=2,
        max_turns=2, max_steps=5, save_every=2, eval_every=1, eval_seeds=2,
        eval_dialogues_per_seed=1, display="off", write_report=False,
    )  # fmt: skip
    return build_socratic_config(**(fields | changes))


class Raising(Callback):
    """Fails in every hook."""

    def fail(self, *given: Any, **named: Any) -> Any:
        raise ValueError("a mistake in a callback")

    on_begin = on_step = on_evaluation = on_save = on_end = cast(Any, fail)


def results(state_path: str | None, run: Path) -> dict[str, Any]:
    """Rows, measures and weights, bit for bit."""
    from safetensors.torch import load_file

    assert state_path is not None
    weights = load_file(Path(state_path) / "adapter_model.safetensors")
    return {
        "rows": [read_rows(run / f"{name}.jsonl") for name in ("metrics", "dialogues")],
        "evaluations": [(one.batch, one.error, one.measures) for one in load_evaluations(run)],
        "weights": {name: tensor.tolist() for name, tensor in weights.items()},
    }


@pytest.mark.slow
def test_callbacks_that_always_fail_change_no_bit(tmp_path):
    plain = train(tiny_config(tmp_path / "plain", max_steps=3))
    failing = train(tiny_config(tmp_path / "run", max_steps=3), callbacks=[Raising()])
    assert failing.status == "completed"
    assert results(failing.state_path, tmp_path / "run") == results(plain.state_path, tmp_path / "plain")


@pytest.mark.slow
def test_resumed_run_is_stopped_where_one_never_interrupted_is(tmp_path):
    def stopping():
        return EarlyStopping("teacher_kl", 3, 10, goal="lower")

    whole = train(tiny_config(tmp_path / "whole"), callbacks=[stopping()])
    assert (whole.status, whole.steps) == ("stopped", 3)
    train(tiny_config(tmp_path / "run", max_steps=2), callbacks=[stopping()])
    resumed = train(tiny_config(tmp_path / "run"), callbacks=[stopping()])
    assert (resumed.status, resumed.steps, resumed.reason) == ("stopped", 3, whole.reason)
    assert results(resumed.state_path, tmp_path / "run") == results(whole.state_path, tmp_path / "whole")
