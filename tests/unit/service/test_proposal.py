import json
from typing import Any

import pytest
from tests.support.guide import guides_call

from socratic_distill import ModelNotOffered, PreflightError, SocraticConfig, build_socratic_config, preflight
from socratic_distill.config.call import as_call
from socratic_distill.config.catalogue import catalogue
from socratic_distill.config.named_models import with_known_names
from socratic_distill.service import proposal
from socratic_distill.service.proposal import propose
from socratic_distill.testing import FakeRestClient, FakeServiceClient

TODAY = [model.name for model in catalogue().models.values() if model.retired is None]


def guide(log_path: Any = "runs/guide", **more: Any) -> SocraticConfig:
    return guides_call(log_path, **more)


def built(call: str) -> SocraticConfig:
    return eval(call[call.index("build_socratic_config(") :], {"build_socratic_config": build_socratic_config})


def test_proposed_models_are_offered_and_share_a_vocabulary():
    text = propose(with_known_names(guide()), TODAY, TODAY)
    assert text is not None
    config = built(text)
    assert config.tutor_model_name == "Qwen/Qwen3.5-9B" and config.teacher_model_name == "Qwen/Qwen3.5-397B-A17B"
    assert config.student_model_name == "moonshotai/Kimi-K2.6"
    assert config.max_tokens == 2048 and config.learning_rate == 1e-5


def test_models_that_are_offered_stay_where_they_fit():
    config = guide().model_copy(update={"teacher_model_name": "Qwen/Qwen3-8B"})
    text = propose(with_known_names(config), TODAY, TODAY)
    assert (
        text is not None and "tutor_model_name='Qwen/Qwen3-8B'" in text and "teacher_model_name='Qwen/Qwen3-8B'" in text
    )


def test_only_models_that_can_be_trained_are_proposed_as_the_tutor():
    text = propose(with_known_names(guide()), ["openai/gpt-oss-20b"], TODAY)
    assert text is not None and built(text).tutor_model_name == "openai/gpt-oss-20b"
    assert built(text).teacher_model_name == "openai/gpt-oss-120b"


@pytest.mark.parametrize("offered", [[], ["own/model"], ["Qwen/Qwen3-8B-Base"], ["thinkingmachines/Inkling"]])
def test_nothing_is_proposed_where_no_known_pair_is_offered(offered):
    assert propose(with_known_names(guide()), offered, offered) is None


class Tokenizer:
    def __init__(self, size: int) -> None:
        self._size = size

    def get_vocab(self) -> dict[str, int]:
        return {str(number): number for number in range(self._size)}

    def encode(self, text: str) -> list[int]:
        return [len(text)]


def test_tokenizers_on_this_machine_decide_against_the_table(monkeypatch):
    assert "not on this machine" in str(propose(with_known_names(guide()), TODAY, TODAY))
    monkeypatch.setattr(proposal, "_tokenizer", lambda name: Tokenizer(5 + name.startswith("Qwen/Qwen3.5-9B")))
    text = propose(with_known_names(guide()), TODAY, TODAY)
    assert text is not None and "their tokenizers on this machine" in text
    assert built(text).tutor_model_name != "Qwen/Qwen3.5-9B"


CHANGED = {
    "objective": {"kind": "jensen_shannon", "beta": 0.3},
    "rewards": [{"kind": "solved", "weight": 0.5}],
    "teachers": [{"name": "a", "tags": ["x"]}, {"name": "b", "model_name": "m/b"}],
    "judge": {"model_name": "m/judge"},
    "prices": {"m/judge": {"prefill": 1.0, "sample": 2.0, "train": 3.0}},
    "max_turns": 3,
    "trackers": ["tensorboard"],
}


def test_a_call_builds_the_config_that_it_was_written_from():
    config = guide(**CHANGED)
    assert built(as_call(config)) == config
    assert json.loads(built(as_call(config)).model_dump_json()) == json.loads(config.model_dump_json())


def test_guides_call_is_refused_where_today_s_models_are_offered(tmp_path):
    service = FakeServiceClient(models=TODAY)
    checks = preflight(guide(tmp_path / "run"), service_client=service, rest_client=FakeRestClient(service))
    with pytest.raises(PreflightError) as raised:
        checks.raise_problems()
    assert all(isinstance(problem, ModelNotOffered) for problem in raised.value.problems)
    assert str(raised.value).count("build_socratic_config(") == 1
    proposed = built(str(raised.value).split("\n\n")[0])
    again = preflight(proposed, service_client=service, rest_client=FakeRestClient(service))
    assert not again.problems
