"""`examples/pedagogical_rl.py`, on the packaged tiny model."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.rows import read_rows

pytest.importorskip("torch")
pytest.importorskip("peft")

from socratic_distill import SocraticConfig, load_evaluations, train

EXAMPLE = Path(__file__).parents[2] / "examples" / "pedagogical_rl.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = spec_from_file_location("pedagogical_rl", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def quiet(config: SocraticConfig, **changes) -> SocraticConfig:
    return config.model_copy(update={"display": "off", "write_report": False} | changes)


def test_the_example_trains_by_its_reward_and_shows_its_measures(example, tmp_path, capsys):
    small = {"groups_per_batch": 1, "num_envs": 2, "eval_seeds": 2, "eval_solve_samples": 2}
    config = quiet(example.make_config(1, str(tmp_path / "run"), veto="soft"), **small)
    assert train(config).status == "completed"
    (row,) = read_rows(tmp_path / "run" / "metrics.jsonl")
    for dialogue in read_rows(tmp_path / "run" / "dialogues.jsonl"):
        r_sol, accepted = dialogue["rewards"]["solve_rate"], dialogue["rewards"]["not_telling"]
        assert dialogue["reward"] == r_sol + (accepted - 1) * 1.0
    assert row["reward_vetoed"] == 1 - row["reward/not_telling"]
    example.show(config.log_path)
    assert "solved/untold" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("veto", ["soft", "hard"])
def test_the_reward_raises_solved_untold_against_the_base(example, tmp_path, veto):
    train(quiet(example.make_config(12, str(tmp_path / "run"), veto=veto), eval_every=12, eval_solve_samples=0))
    before, after = (evaluation.measures["solved/untold"] for evaluation in load_evaluations(tmp_path / "run"))
    assert before.high is not None and after.low is not None
    assert before.high < after.low, f"{before} and {after} overlap"
