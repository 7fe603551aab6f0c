"""A run that would not fit this machine's memory is refused before its model is loaded."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

from tests.support.tiny_runs import tiny_config

from socratic_distill import NotEnoughMemory, preflight, train
from socratic_distill.cli import main
from socratic_distill.local import LocalRestClient, LocalServiceClient, engine, service
from socratic_distill.local.limits import Limit
from socratic_distill.testing import FakeServiceClient
from socratic_distill.training.memory import memory_metrics


@pytest.fixture
def little_memory(monkeypatch):
    """A machine with 100 MiB left, on which no model may be loaded."""

    def must_not(*_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(service, "free_memory", lambda: Limit(100 * 2**20, "in this test"))
    monkeypatch.setattr(engine, "BaseModel", must_not)


def test_start_refuses_before_anything_is_loaded(tmp_path, little_memory):
    with pytest.raises(NotEnoughMemory, match="there are 100 MiB in this test"):
        train(tiny_config(tmp_path / "run"))


def test_preflight_has_it_among_the_problems(tmp_path, little_memory):
    found = preflight(tiny_config(tmp_path / "run"))
    assert [type(problem) for problem in found.problems] == [NotEnoughMemory]
    assert found.memory is None


def test_engine_that_may_not_refuse_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "free_memory", lambda: Limit(100 * 2**20, "in this test"))
    client = LocalServiceClient(tmp_path / "store", check_memory=False)
    config = tiny_config(tmp_path / "run", max_steps=1, groups_per_batch=1, max_tokens=8, write_report=False)
    result = train(config, service_client=client, rest_client=LocalRestClient(client))
    assert result.status == "completed"


def test_check_prints_the_estimate(tmp_path, capsys):
    config = tiny_config(tmp_path / "run")
    (tmp_path / "config.json").write_text(config.model_dump_json(exclude_defaults=True))
    assert main(["check", str(tmp_path / "config.json")]) == 0
    output = capsys.readouterr().out
    assert "memory: about " in output and "base weights, float32: tiny" in output and "together" in output


def test_services_that_compute_elsewhere_say_nothing_of_memory():
    assert memory_metrics(FakeServiceClient()) == {}
