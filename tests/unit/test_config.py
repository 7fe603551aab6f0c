import json
import math
import typing

import pytest

from socratic_distill import SocraticConfig, build_socratic_config
from socratic_distill.builder import SocraticOptions
from socratic_distill.errors import ConfigError

GUIDE: dict[str, typing.Any] = dict(
    tutor_model_name="Qwen3-8B",
    student_model_name="Kimi-K2-Thinking",
    teacher_model_name="Qwen3-35B-A22B-Instruct",
    learning_rate=1e-5,
    max_tokens=2048,
    log_path="experiments/distillation/run-001",
)


def with_field(name: str, value: typing.Any) -> dict[str, typing.Any]:
    return GUIDE | {name: value}


def test_config_has_the_documented_defaults():
    config = build_socratic_config(**GUIDE)
    expected = dict(
        kl_penalty_coef=1.0, kl_discount_factor=0.0, lora_rank=32, save_every=20, temperature=1.0,
        loss_fn="importance_sampling", max_turns=20, max_steps=None, epochs=1, seed=0, base_url=None,
        load_checkpoint_path=None, seeds_file=None, seeds_limit=None, seeds_files=None,
    )  # fmt: skip
    assert {name: getattr(config, name) for name in expected} == expected


def test_config_keeps_every_argument_readable_under_its_name(tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("")
    given: dict[str, typing.Any] = GUIDE | dict(
        student_profile="You are shy.", groups_per_batch=2, num_envs=3, max_turns=4, seeds_file=str(seeds),
        seeds_limit=5, base_url="local", load_checkpoint_path="tinker://run/weights/000100", seed=7,
    )  # fmt: skip
    config = build_socratic_config(**given)
    assert {name: getattr(config, name) for name in given} == given


def test_config_written_as_json_loads_back_equal(tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("")
    config = build_socratic_config(**GUIDE, seeds_files=[(seeds, 3), (str(seeds), None)], kl_penalty_coef=0.1)
    assert SocraticConfig(**json.loads(config.model_dump_json())) == config
    assert SocraticConfig.model_validate_json(config.model_dump_json()) == config


def test_config_is_frozen():
    config = build_socratic_config(**GUIDE)
    with pytest.raises(ValueError, match="frozen"):
        config.learning_rate = 1.0  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", -1.0), ("learning_rate", 0.0), ("learning_rate", math.nan), ("learning_rate", math.inf),
        ("learning_rate", "1e-5"), ("max_tokens", 0), ("max_tokens", True), ("max_tokens", 1.5), ("save_every", 0),
        ("kl_penalty_coef", math.nan), ("kl_penalty_coef", -0.5), ("kl_discount_factor", 1.5), ("lora_rank", 0),
        ("temperature", 0.0), ("max_turns", 0), ("num_envs", 0), ("groups_per_batch", 0), ("max_steps", 0),
        ("epochs", 0), ("seed", -1), ("max_failed_fraction", 1.1), ("loss_fn", "reinforce"), ("base_url", "ftp://x"),
        ("tutor_model_name", ""), ("log_path", ""), ("seeds_files", []), ("display", "loud"),
        ("max_concurrent_dialogues", 0), ("seeds_file", "no/such/file.jsonl"),
    ],
)  # fmt: skip
def test_config_refuses_a_value_that_cannot_be_meant(field, value):
    with pytest.raises(ConfigError, match=field if field != "seeds_file" else "does not exist"):
        build_socratic_config(**with_field(field, value))


def test_config_refuses_an_unknown_field_with_the_closest_name():
    with pytest.raises(ConfigError, match=r"'learning_rat'.*did you mean 'learning_rate'"):
        build_socratic_config(**with_field("learning_rat", 1.0))
    with pytest.raises(ConfigError, match=r"the fields are: adam_beta1, .*, base_url"):
        SocraticConfig(**with_field("zzz", 1))


def test_config_refuses_two_sources_of_seeds(tmp_path):
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("")
    with pytest.raises(ConfigError, match="both set"):
        build_socratic_config(**GUIDE, seeds_file=seeds, seeds_files=[(seeds, None)])
    with pytest.raises(ConfigError, match="no seeds_file"):
        build_socratic_config(**GUIDE, seeds_limit=3)


def test_config_names_a_missing_field():
    with pytest.raises(ConfigError, match="max_tokens is missing: Longest tutor reply"):
        SocraticConfig(**{name: value for name, value in GUIDE.items() if name != "max_tokens"})


def test_config_describes_every_field_and_the_meaning_of_none():
    for name, field in SocraticConfig.model_fields.items():
        assert field.description, f"{name} has no description"
        if field.default is None:
            assert "None" in field.description, f"{name}: the description does not say what None means"


def test_builder_keywords_are_typed_as_the_config_fields_are():
    import inspect

    positional = [name for name in inspect.signature(build_socratic_config).parameters if name != "kwargs"]
    assert set(SocraticOptions.__annotations__) == set(SocraticConfig.model_fields) - set(positional)
