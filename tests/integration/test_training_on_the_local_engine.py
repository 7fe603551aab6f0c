"""The whole path on real torch, with the packaged tiny model."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tests.support.tiny_runs import tiny_config

pytest.importorskip("torch")
pytest.importorskip("peft")

from tests.support.rows import read_rows

from socratic_distill import evaluate, load_checkpoints, load_evaluations, load_seeds, open_service, train
from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.casting import open_frozen_models
from socratic_distill.dialogues.rollout import play_batch
from socratic_distill.distillation import objective, scorer as scoring
from socratic_distill.distillation.objective import make_examples
from socratic_distill.distillation.scoring import score_batch
from socratic_distill.local import LocalServiceClient
from socratic_distill.local.tiny import HELDOUT_SEEDS, MODEL_DIR, TRAIN_SEEDS
from socratic_distill.local.training_client import LocalTrainingClient
from socratic_distill.service.connect import Service


def test_distillation_lowers_teacher_kl_on_the_tiny_model(tmp_path):
    train(tiny_config(tmp_path / "run", max_steps=8, groups_per_batch=4, num_envs=4))
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert rows[-1]["teacher_kl"] < 0.6 * rows[0]["teacher_kl"]
    assert all(row["drift/max"] < 1e-4 for row in rows), "sampler and trainer disagree on the same weights"
    peaks = [row["memory/peak_mib"] for row in read_rows(tmp_path / "run" / "metrics.jsonl", without=())]
    assert peaks[0] > 50 and peaks == sorted(peaks), "a peak so far never falls"


def test_a_step_after_a_resume_equals_the_uninterrupted_run_bit_for_bit(tmp_path):
    from safetensors.torch import load_file

    small = {"groups_per_batch": 2, "max_tokens": 16, "write_report": False}
    train(tiny_config(tmp_path / "whole", **small))
    train(tiny_config(tmp_path / "run", **small, max_steps=3))
    train(tiny_config(tmp_path / "run", **small))
    for name in ("metrics.jsonl", "dialogues.jsonl"):
        assert read_rows(tmp_path / "run" / name) == read_rows(tmp_path / "whole" / name)
    finals = [Path(load_checkpoints(tmp_path / run)[-1].state_path or "") for run in ("run", "whole")]
    for file in ("adapter_model.safetensors", "optimizer.safetensors"):
        one, other = (load_file(final / file) for final in finals)
        assert one.keys() == other.keys()
        assert all((one[key] == other[key]).all() for key in one), f"{file} differs"


def test_rewards_by_a_model_are_the_same_after_a_resume(tmp_path):
    rewards = [
        {"kind": "solve_rate", "samples": 2, "less_before": True},
        {"kind": "judge", "model_name": "tiny", "max_tokens": 8},
        {"kind": "not_telling", "veto": "hard"},
    ]
    small = {"groups_per_batch": 2, "max_tokens": 16, "write_report": False, "rewards": rewards, "kl_penalty_coef": 0.0}
    train(tiny_config(tmp_path / "whole", **small))
    train(tiny_config(tmp_path / "run", **small, max_steps=2))
    train(tiny_config(tmp_path / "run", **small))
    for name in ("metrics.jsonl", "dialogues.jsonl"):
        assert read_rows(tmp_path / "run" / name) == read_rows(tmp_path / "whole" / name)
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert all(row["reward/solve_rate"] is not None and row["reward/judge/unparsed"] == 4 for row in rows)


@pytest.mark.slow
def test_evaluations_do_not_change_training_and_survive_a_resume_exactly(tmp_path):
    small = {"eval_seeds": 2, "eval_dialogues_per_seed": 1, "max_steps": 3, "max_tokens": 12, "groups_per_batch": 2}
    train(tiny_config(tmp_path / "plain", **small))
    train(tiny_config(tmp_path / "whole", **small, eval_every=1))
    train(tiny_config(tmp_path / "run", **(small | {"max_steps": 2}), eval_every=1))
    evaluation = tmp_path / "run" / "evaluations" / "000001.json"
    kept = {key: json.loads(evaluation.read_text())[key] for key in ("batch", "name", "tutor")}
    evaluation.write_text(json.dumps(kept | {"error": "not finished yet"}))  # as a kill leaves it
    train(tiny_config(tmp_path / "run", **small, eval_every=1))
    for name in ("metrics.jsonl", "dialogues.jsonl"):
        found = [read_rows(tmp_path / run / name) for run in ("plain", "whole", "run")]
        assert found[0] == found[1] == found[2], f"{name} differs"
    whole, resumed = (load_evaluations(tmp_path / run) for run in ("whole", "run"))
    assert len(whole) == 4 and [one.measures for one in whole] == [one.measures for one in resumed]


@pytest.mark.slow
def test_killed_quickstart_resumes_to_the_same_rows(tmp_path):
    script = Path(__file__).parents[2] / "examples" / "quickstart.py"
    train(_quickstart_config(tmp_path / "whole"))
    command = [sys.executable, str(script), "--steps", "6", "--log-path", str(tmp_path / "run")]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") >= 5):
        assert child.poll() is None, f"the quickstart ended by itself: {child.communicate()[0].decode()}"
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert [one.name for one in load_checkpoints(tmp_path / "run") if one.state_path] == ["000004"]
    result = train(_quickstart_config(tmp_path / "run"))
    assert result.status == "completed"
    assert read_rows(metrics) == read_rows(tmp_path / "whole" / "metrics.jsonl")
    dialogues = [read_rows(tmp_path / run / "dialogues.jsonl") for run in ("run", "whole")]
    assert dialogues[0] == dialogues[1]


def _quickstart_config(log_path):
    """The config that examples/quickstart.py builds for six steps."""
    import importlib.util

    path = Path(__file__).parents[2] / "examples" / "quickstart.py"
    spec = importlib.util.spec_from_file_location("quickstart", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make_config(steps=6, log_path=str(log_path)).model_copy(update={"display": "off"})


# -- Zero signal: a teacher that is the tutor itself has nothing to teach. --------------------------------


class Signal(NamedTuple):
    """Nats: the largest advantage of a tutor token, the largest gap between trainer and sampler."""

    advantage: float
    drift: float
    ends: int
    examples: int


async def measure_signal(config):
    opened = open_service(config)
    service = Service(opened.client, opened.rest)
    training = await service.client.create_lora_training_client("tiny", rank=4, seed=0)
    assert isinstance(training, LocalTrainingClient)
    seeds = load_seeds(TRAIN_SEEDS, 8)
    frozen = await open_frozen_models(config, Briefing.read(config, seeds), service, training)
    cast = frozen.cast(await training.save_weights_and_get_sampling_client(), version=0)
    dialogues = await play_batch(seeds, 0, 2, cast, 64)
    assert sum(len(dialogue.tutor_turns) >= 2 for dialogue in dialogues) >= 4, "the check needs several turns"
    scored = await score_batch(dialogues, cast, scoring.Scorer(), 64)
    assert not [one.dialogue.error for one in scored if one.dialogue.ending == "failed"]
    examples = make_examples([scored], config, step=0)
    output = await training.forward([example.datum for example in examples], "importance_sampling")
    advantage = drift = 0.0
    ends = 0
    for example, out in zip(examples, output.loss_fn_outputs, strict=True):
        inputs = {name: value.to_numpy() for name, value in example.datum.loss_fn_inputs.items()}
        advantage = max(advantage, float(np.abs(inputs["advantages"]).max()))
        drift = max(drift, float(np.abs(out["logprobs"].to_numpy() - example.sampled)[example.mask].max()))
        ends += int((inputs["target_tokens"][example.mask] == cast.tutor.renderer.end_token).sum())
    return Signal(advantage, drift, ends, len(examples))


@pytest.fixture
def own_teacher(tmp_path):
    """A config whose teacher has the tutor's weights and prompt: one that makes dialogues of several turns."""
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(files("socratic_distill.dialogues.prompts").joinpath("teacher.txt").read_text())
    return tiny_config(
        tmp_path / "run", max_turns=3, tutor_prompt_file=prompt, teacher_prompt_file=prompt, max_tokens=20
    )


async def test_teacher_that_is_the_tutor_gives_no_signal(own_teacher):
    signal = await measure_signal(own_teacher)
    assert signal.advantage < 1e-4, f"an advantage of {signal.advantage} nats where there is nothing to teach"
    assert signal.drift < 1e-4, f"sampler and trainer are {signal.drift} nats apart on the same weights"
    assert signal.ends > signal.examples, "end-of-turn tokens are sampled, scored and trained on"


async def test_zero_signal_check_notices_targets_shifted_by_one(own_teacher, monkeypatch):
    def late(tokens, at_token):
        return list(tokens[:-1]), list(tokens[1:]), at_token[:, :-1]

    monkeypatch.setattr(objective, "shift_targets", late)
    assert (await measure_signal(own_teacher)).drift > 0.1


async def test_zero_signal_check_notices_scores_of_the_token_before(own_teacher, monkeypatch):
    right = scoring.span_scores
    monkeypatch.setattr(
        scoring,
        "span_scores",
        lambda sequence, values, whose: right(
            sequence, [here if before is None else before for before, here in pairwise([None, *values])], whose
        ),
    )
    assert (await measure_signal(own_teacher)).advantage > 0.1


async def test_zero_signal_check_notices_a_template_that_adds_a_system_prompt(own_teacher, tmp_path):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(MODEL_DIR, other, ignore=shutil.ignore_patterns("__pycache__", "*.jsonl", "*.py"))
    template = other / "chat_template.jinja"
    template.write_text("<|system|>You are a tutor.<|end|>" + template.read_text())
    signal = await measure_signal(own_teacher.model_copy(update={"teacher_model_name": str(other)}))
    assert signal.advantage > 0.1


@pytest.mark.parametrize("places", [1, -1])
async def test_zero_signal_check_notices_a_mask_off_by_one(own_teacher, monkeypatch, places):
    right = objective.shift_targets

    def off_by_one(tokens, at_token):
        inputs, targets, values = right(tokens, at_token)
        return inputs, targets, np.stack([np.roll(values[0], places), *values[1:]])

    monkeypatch.setattr(objective, "shift_targets", off_by_one)
    signal = await measure_signal(own_teacher)
    # Late by one, the mask takes in tokens of the template; early by one, it loses the ends of turns.
    assert signal.drift > 1e-4 if places > 0 else signal.ends < signal.examples


def test_one_service_trains_and_evaluates_with_a_single_base_model(tmp_path):
    config = tiny_config(tmp_path / "run", max_steps=1)
    service = open_service(config)
    train(config, service_client=service.client, rest_client=service.rest)
    seeds = load_seeds(HELDOUT_SEEDS, 4)
    after = evaluate(config, seeds=seeds, service_client=service.client)
    again = evaluate(config, seeds=seeds, service_client=service.client)
    assert len(after.dialogues) == 4 and after.measures == again.measures
    assert isinstance(service.client, LocalServiceClient)
    assert list(service.client.models) == ["tiny"]


async def test_local_engine_runs_on_the_given_loop(tmp_path):
    from socratic_distill import train_async

    assert (await train_async(tiny_config(tmp_path / "run", max_steps=1))).status == "completed"
