import json
import math
import typing

import numpy as np
import pytest

from socratic_distill import SocraticConfig, build_socratic_config
from socratic_distill.config.builder import SocraticOptions
from socratic_distill.config.objectives import ForwardKL
from socratic_distill.config.parts import Price
from socratic_distill.config.rewards import OutcomeReward
from socratic_distill.config.values import Schedule
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
    with pytest.raises(ConfigError, match="needs a seeds_file"):
        build_socratic_config(**GUIDE, seeds_limit=3)


def test_config_names_a_missing_field():
    with pytest.raises(ConfigError, match="max_tokens is missing: Length limit of a tutor reply"):
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


# --- numbers


def _numbers(schema):
    """The number types within a field's JSON schema."""
    if isinstance(schema, list):
        return [found for one in schema for found in _numbers(one)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if schema.get("type") in ("integer", "number") else []
    return own + [found for one in schema.values() for found in _numbers(one)]


def test_every_number_of_a_config_has_an_upper_bound():
    schema = SocraticConfig.model_json_schema()
    models = {"SocraticConfig": schema, **schema["$defs"]}
    unbounded = [
        f"{model}.{name}"
        for model, one in models.items()
        for name, field in one.get("properties", {}).items()
        for number in _numbers(field)
        if "maximum" not in number and "exclusiveMaximum" not in number
    ]
    assert len(models) > 10 and unbounded == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_turns", 10**30),
        ("groups_per_batch", 10**12),
        ("num_envs", 10**9),
        ("max_tokens", 10**30),
        pytest.param("max_steps", 10**5000, id="max_steps-5000 digits"),
        ("max_steps", 10**30),
        ("save_every", 2**63),
        ("lora_rank", 10**30),
        ("max_staleness", 10**9),
        ("learning_rate", 1e308),
        ("learning_rate", 10**400),
        ("temperature", 1e-300),
        ("temperature", 1e308),
        ("kl_penalty_coef", 1e308),
        ("adam_eps", 1e-320),
        ("objective", {"kind": "forward_kl", "k": 10**30}),
        ("objective", {"kind": "mixture", "parts": [{"objective": {"kind": "forward_kl"}, "weight": 1e300}]}),
        ("rewards", [{"kind": "solved", "weight": -1e300}]),
        ("max_turns_schedule", {"start": 1e300, "end": 1e300, "steps": 2}),
        ("prices", {"small": {"prefill": 1e308, "sample": 1.0, "train": 1.0}}),
    ],
)
def test_a_number_beyond_its_bound_is_refused_with_a_short_message(field, value):
    with pytest.raises(ConfigError, match=f"^{field}") as caught:
        build_socratic_config(**with_field(field, value))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "fields", [{"groups_per_batch": 10_000, "num_envs": 101}, {"eval_seeds": 10**6, "eval_dialogues_per_seed": 2}]
)
def test_a_product_of_numbers_beyond_its_bound_is_refused(fields):
    with pytest.raises(ConfigError, match=r"dialogues an? (batch|evaluation); expected at most 1000000; lower one"):
        build_socratic_config(**GUIDE | fields)


WHOLE = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint64, np.array]
REAL = [np.float16, np.float32, np.float64, np.longdouble, np.array]


@pytest.mark.parametrize("whole", WHOLE)
@pytest.mark.parametrize("real", REAL)
def test_numpy_numbers_are_taken_everywhere_and_stored_as_pythons(tmp_path, whole, real):
    def built(whole, real, boolean):
        return build_socratic_config(
            **GUIDE
            | dict(
                learning_rate=real(0.5),
                max_turns=whole(7),
                seeds_files=[(seeds, whole(3))],
                save_every=whole(5),
                trust_remote_code=boolean(True),
                objective={"kind": "mixture", "parts": [{"objective": ForwardKL(k=whole(4)), "weight": real(0.25)}]},
                rewards=({"kind": "solved", "weight": real(2.0)}, OutcomeReward(kind="not_telling", weight=real(1.0))),
                max_turns_schedule=Schedule(start=real(1.0), end=whole(2), steps=whole(9)),
                judge={"model_name": "judge", "max_tokens": whole(12), "temperature": real(0.5)},
                prices={"small": Price(prefill=real(1.0), sample=whole(1), train=real(0.5))},
            )
        )

    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("{}\n")
    config = built(whole, real, np.bool_)
    assert config == built(int, float, bool)
    assert type(config.max_turns) is int and type(config.learning_rate) is float
    turns = config.max_turns_schedule
    assert turns is not None and type(turns.end) is float and type(config.trust_remote_code) is bool
    assert SocraticConfig(**json.loads(config.model_dump_json())) == config


@pytest.mark.parametrize("value", [np.array([1, 2]), np.float64(1.5), np.bool_(True), np.str_("3"), True, 2.0])
def test_a_count_takes_no_other_value_of_numpy(value):
    with pytest.raises(ConfigError, match="max_turns"):
        build_socratic_config(**with_field("max_turns", value))
