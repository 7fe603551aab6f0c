"""Names of TRL and tinker-cookbook are answered with our fields."""

import types
from typing import Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from socratic_distill import ConfigError, SocraticConfig, build_socratic_config
from socratic_distill.config.foreign_names import FOREIGN, answer

BUILD: Any = build_socratic_config  # as a script calls it that no type checker has seen
CONFIG: Any = SocraticConfig


def parts_of(kind: Any) -> list[type[BaseModel]]:
    """The parts that a field's type may hold."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    nested = get_args(kind) if get_origin(kind) in (Union, types.UnionType, tuple) else get_args(kind)[:1]
    return [part for one in nested for part in parts_of(one)]


def exists(field: str) -> bool:
    models: list[type[BaseModel]] = [SocraticConfig]
    for name in field.split("."):
        holders = [model for model in models if name in model.model_fields]
        if not holders:
            return False
        models = [part for model in holders for part in parts_of(model.model_fields[name].annotation)]
    return True


def test_every_answer_names_fields_that_exist():
    assert exists("objective.beta") and not exists("objective.gamma") and not exists("foo")
    for name, ours in FOREIGN.items():
        assert ours.fields and all(map(exists, ours.fields)), name


def test_no_field_of_ours_is_taken_for_a_foreign_name():
    assert not set(FOREIGN) & set(SocraticConfig.model_fields)


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_a_foreign_name_is_answered_before_missing_arguments(name):
    with pytest.raises(ConfigError) as error:
        BUILD(**{name: 1})
    assert str(error.value) == f"unknown config field {name!r}; {answer(name)}"
    assert all(repr(field) in str(error.value) for field in FOREIGN[name].fields)


def test_batch_size_says_what_it_counts_here():
    assert "groups_per_batch × num_envs dialogues" in (answer("batch_size") or "")


def test_several_unknown_names_are_answered_together():
    with pytest.raises(ConfigError) as error:
        CONFIG(output_dir="x", report_to="wandb", learning_rat=1.0, zzz=1)
    lines = str(error.value).splitlines()
    assert lines[0] == "4 unknown config fields:" and len(lines) == 5
    assert "'log_path'" in lines[1] and "'trackers'" in lines[2] and "did you mean 'learning_rate'?" in lines[3]


def test_a_missing_argument_is_still_python_s_own_error():
    with pytest.raises(TypeError, match="missing"):
        BUILD("a")
