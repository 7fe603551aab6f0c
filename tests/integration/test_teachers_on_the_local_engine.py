"""Several teachers, lagging and trained ones, and objectives with a pass forward, on real torch and the tiny model."""

import signal
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from tests.support.doomed import Doom, train_doomed
from tests.support.processes import processes
from tests.support.rows import read_rows
from tests.support.tiny_runs import tiny_fields

from socratic_distill import build_socratic_config, evaluate, load_checkpoints, load_seeds, open_service, train
from socratic_distill.local.tiny import HELDOUT_SEEDS, TRAIN_SEEDS
from socratic_distill.run.directory import RunDirectory

NOT_TELLING = {"kind": "not_telling"}


@pytest.fixture
def fields(tmp_path) -> dict[str, Any]:
    """What builds a small run; a process of its own can be given it too."""
    return tiny_fields(groups_per_batch=2, num_envs=4, max_steps=2, save_every=3, log_path=str(tmp_path / "run"))


@pytest.fixture
def prompts(tmp_path) -> dict[str, str]:
    """The packaged prompts of tutor and teacher as files; the tiny model knows their words."""
    found = {}
    for name in ("tutor", "teacher"):
        path = tmp_path / f"{name}.txt"
        path.write_text(files("socratic_distill.dialogues.prompts").joinpath(f"{name}.txt").read_text())
        found[name] = str(path)
    return found


def rows_of(run, name="dialogues"):
    return read_rows(Path(run) / f"{name}.jsonl")


def signals(run, step):
    """How far the teacher is from the tutor at each of a step's sampled tokens, nats."""
    turns = [turn for row in rows_of(run) if row["step"] == step for turn in row["turns"][1::2]]
    assert turns, f"step {step} has no tutor turn"
    return np.concatenate([np.subtract(turn["teacher_logprobs"], turn["tutor_logprobs"]) for turn in turns])


def kill_while_it_writes_the_row_of(step, fields):
    """Trains in a process that dies in the middle of a step's row of metrics; a server run and two rows a step."""
    doom = Doom("in the middle of a row", nth=2 * step + 2)
    child = processes.Process(target=train_doomed, args=(fields, None, doom), daemon=True)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL, f"the trainer was not killed: exit {child.exitcode}"


def train_until_a_crash_before_the_row_of(step, fields, monkeypatch):
    """Trains in this process, which is quicker than a kill, up to the rows of a step."""
    log_step = RunDirectory.log_step

    def crash(run, metrics, dialogues):
        if metrics["step"] == step:
            raise RuntimeError("planned crash")
        log_step(run, metrics, dialogues)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="planned crash"):
        patch.setattr(RunDirectory, "log_step", crash)
        train(build_socratic_config(**fields))


def assert_resumes_as_whole(tmp_path, fields, resumed_at):
    """Trains the run that ended early to its end and another without a break: all rows are the same, bit for bit."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    train(build_socratic_config(**(fields | {"log_path": str(whole)})))
    train(build_socratic_config(**(fields | {"log_path": str(run)})))
    assert [record.batch for record in load_checkpoints(run) if record.resumed_at] == [resumed_at]
    for name in ("metrics", "dialogues"):
        assert rows_of(run, name) == rows_of(whole, name), f"{name}.jsonl differs"


@pytest.mark.slow
def test_seed_files_route_to_teachers_with_prompts_of_their_own(tmp_path, fields, prompts):
    lines = TRAIN_SEEDS.read_text().splitlines(keepends=True)[:8]
    paths = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    for path, part in zip(paths, (lines[:4], lines[4:]), strict=True):
        path.write_text("".join(part))
    teachers = [
        {"name": "asking", "prompt_file": prompts["teacher"], "seeds_files": [str(paths[0])]},
        {"name": "plain", "prompt_file": prompts["tutor"], "seeds_files": [str(paths[1])]},
    ]
    files_of = {"seeds_file": None, "seeds_files": [(str(path), None) for path in paths]}
    train(build_socratic_config(**(fields | files_of | {"teachers": teachers, "groups_per_batch": 4})))
    first = {seed.id for seed in load_seeds(paths[0])}
    metrics, gaps = rows_of(fields["log_path"], "metrics"), {}
    for row in rows_of(fields["log_path"]):
        if len(row["turns"]) > 1:
            assert row["teachers"] == ["asking" if row["seed"] in first else "plain"]
            turns = [np.subtract(turn["tutor_logprobs"], turn["teacher_logprobs"]) for turn in row["turns"][1::2]]
            gaps.setdefault((row["step"], row["teachers"][0]), []).extend(turns)
    assert gaps.keys() >= {(0, "asking"), (0, "plain")}, "the check needs seeds of both files in a batch"
    for (step, name), each in gaps.items():
        assert metrics[step][f"teacher_kl/teacher/{name}"] == pytest.approx(np.concatenate(each).mean(), abs=1e-9)
    assert abs(metrics[0]["teacher_kl/teacher/plain"]) < 1e-4, "this teacher is the untrained tutor"
    assert metrics[0]["teacher_kl/teacher/asking"] > 0.05


@pytest.mark.parametrize("how", ["log_mean", "mixture"])
def test_averaged_teachers_score_as_the_average_of_what_each_gives_alone(fields, prompts, how):
    teachers = [
        {"name": "asking", "prompt_file": prompts["teacher"]},
        {"name": "plain", "prompt_file": prompts["tutor"]},
    ]
    service, seeds = open_service(build_socratic_config(**fields)), load_seeds(HELDOUT_SEEDS, 4)

    def scored(changes):
        config = build_socratic_config(**(fields | changes))
        found = evaluate(config, "base", seeds=seeds, service_client=service.client, rest_client=service.rest).dialogues
        return [one for one in found if one.tutor]

    asking, plain = (scored({"teachers": [one]}) for one in teachers)
    weighted = [one | {"weight": weight} for one, weight in zip(teachers, (3.0, 1.0), strict=True)]
    joined = scored({"teachers": weighted, "teacher_average": how})
    gap = 0.0
    for one, first, second in zip(joined, asking, plain, strict=True):
        assert one.teachers == ("asking", "plain")
        assert [t.tokens for t in one.dialogue.tutor_turns] == [t.tokens for t in first.dialogue.tutor_turns]
        for found, p, q in zip(one.teacher, first.teacher, second.teacher, strict=True):
            expected = 0.75 * p + 0.25 * q if how == "log_mean" else np.log(0.75 * np.exp(p) + 0.25 * np.exp(q))
            np.testing.assert_allclose(found, expected, atol=1e-4)
            gap = max(gap, float(np.abs(p - q).max()))
    assert gap > 0.5, "the check needs teachers that differ"


def test_lagged_self_teacher_has_no_effect_in_its_periods_first_step(fields, prompts):
    # The reward moves the tutor; without it a tutor that is its own teacher would stand still.
    lagged = {"teacher_lag_steps": 2, "teacher_prompt_file": prompts["tutor"], "rewards": [NOT_TELLING]}
    train(build_socratic_config(**(fields | lagged | {"max_steps": 4})))
    largest = [float(np.abs(signals(fields["log_path"], step)).max()) for step in range(4)]
    assert max(largest[0], largest[2]) < 1e-4, f"a signal from the tutor's own weights: {largest}"
    assert min(largest[1], largest[3]) > 1e-2, f"no signal behind the tutor's own steps: {largest}"


@pytest.mark.slow
def test_run_killed_within_a_lag_period_resumes_to_the_same_rows(tmp_path, fields, prompts):
    lagged = {"teacher_lag_steps": 2, "teacher_prompt_file": prompts["tutor"], "rewards": [NOT_TELLING]}
    # The state before batch 3 is the newest: its teacher has the weights before batch 2, which the journal must name.
    fields |= lagged | {"max_steps": 5, "max_tokens": 16}
    kill_while_it_writes_the_row_of(4, fields)
    assert_resumes_as_whole(tmp_path, fields, resumed_at=3)


@pytest.mark.slow
def test_teacher_that_is_the_tutors_own_checkpoint_has_no_effect_at_first(tmp_path, fields, prompts):
    first = train(build_socratic_config(**(fields | {"log_path": str(tmp_path / "first")})))
    trained = {
        "load_checkpoint_path": first.state_path, "teacher_checkpoint_path": first.sampler_path,
        "teacher_prompt_file": prompts["tutor"], "rewards": [NOT_TELLING],
    }  # fmt: skip
    train(build_socratic_config(**(fields | trained)))
    largest = [float(np.abs(signals(fields["log_path"], step)).max()) for step in range(2)]
    assert largest[0] < 1e-4, f"tutor and teacher have the same weights and are {largest[0]} nats apart"
    assert largest[1] > 1e-2, "the teacher follows the tutor, or the tutor stands still"
    base = fields | trained | {"teacher_checkpoint_path": None, "log_path": str(tmp_path / "base")}
    train(build_socratic_config(**base))
    assert float(np.abs(signals(tmp_path / "base", 0)).max()) > 1e-2, "the loaded weights are the base model's"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jensen_shannon", "monte_carlo_kl"])
def test_objective_with_a_pass_forward_learns_and_resumes_to_the_same_rows(tmp_path, fields, monkeypatch, kind):
    fields |= {"objective": {"kind": kind}, "max_steps": 4, "save_every": 2, "max_tokens": 16}
    train_until_a_crash_before_the_row_of(3, fields, monkeypatch)
    assert_resumes_as_whole(tmp_path, fields, resumed_at=2)
    metrics = rows_of(tmp_path / "whole", "metrics")
    assert metrics[-1]["teacher_kl"] < 0.8 * metrics[0]["teacher_kl"]
    assert all(row["drift/max"] < 1e-4 for row in metrics), "sampler and trainer disagree on the same weights"
