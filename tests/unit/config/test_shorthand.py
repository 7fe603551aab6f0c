"""Short forms of a config's parts mean the same as the long forms, and are stored as these."""

from typing import Any, get_args

import pytest

from socratic_distill import ConfigError, Judge, Recordings, SocraticConfig, Teacher, build_socratic_config
from socratic_distill.config.objectives import DivergenceName, Mixture, Weighted
from socratic_distill.config.rewards import OutcomeName, OutcomeReward

BASE: dict[str, Any] = dict(
    tutor_model_name="a", student_model_name="b", teacher_model_name="c", learning_rate=1e-5, max_tokens=8, log_path="r"
)


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x.jsonl", "y.jsonl"):
        (tmp_path / name).touch()


@pytest.mark.parametrize(
    ("field", "short", "long"),
    [
        ("objective", "jensen_shannon", {"kind": "jensen_shannon"}),
        ("rewards", "solved", [{"kind": "solved", "weight": 1.0}]),
        ("rewards", ["solved", "not_telling"], [{"kind": "solved"}, {"kind": "not_telling"}]),
        ("rewards", {"kind": "solved", "weight": 0.5}, [{"kind": "solved", "weight": 0.5}]),
        ("rewards", OutcomeReward(kind="solved"), [{"kind": "solved"}]),
        ("rewards", [{"kind": "solved"}, "few_turns"], [{"kind": "solved"}, {"kind": "few_turns"}]),
        ("teachers", {"name": "t"}, [{"name": "t"}]),
        ("teachers", Teacher(name="t"), [{"name": "t"}]),
        ("teachers", {"name": "t", "seeds_files": "x.jsonl", "tags": "u"},
         [{"name": "t", "seeds_files": ["x.jsonl"], "tags": ["u"]}]),
        ("trackers", "wandb", ["wandb"]),
        ("allow_config_changes", "lora_rank", ["lora_rank"]),
        ("judge", "Qwen/Qwen3-8B", {"model_name": "Qwen/Qwen3-8B"}),
        ("seeds_files", "x.jsonl", [("x.jsonl", None)]),
        ("seeds_files", ["x.jsonl", "y.jsonl"], [("x.jsonl", None), ("y.jsonl", None)]),
        ("seeds_files", ["x.jsonl", ("y.jsonl", 3)], [("x.jsonl", None), ("y.jsonl", 3)]),
        ("seeds_files", ("x.jsonl", 3), [("x.jsonl", 3)]),
        ("seeds_files", ("x.jsonl", None), [("x.jsonl", None)]),
    ],
)  # fmt: skip
def test_a_short_form_is_stored_as_the_long_one(field, short, long):
    brief, full = (build_socratic_config(**BASE, **{field: value}) for value in (short, long))
    assert brief == full and brief.model_dump_json() == full.model_dump_json()
    assert SocraticConfig(**brief.model_dump(mode="json")) == full


@pytest.mark.parametrize("short", ["x.jsonl", ["x.jsonl", "y.jsonl"], {"files": "x.jsonl"}])
def test_files_alone_are_recordings_with_their_defaults(short):
    files = ("x.jsonl", "y.jsonl") if isinstance(short, list) else ("x.jsonl",)
    assert build_socratic_config(**BASE, recordings=short).recordings == Recordings(files=files)


def test_parts_that_are_built_alone_take_short_forms_too():
    weighted: Any = "forward_kl"
    assert Mixture(parts=(Weighted(objective=weighted),)).parts[0].objective.kind == "forward_kl"
    files: Any = "x.jsonl"
    assert Recordings(files=files) == Recordings(files=("x.jsonl",))
    judge = Judge(model_name="m")
    assert build_socratic_config(**BASE, judge=judge).judge is judge


def test_type_checkers_take_the_short_forms():
    config = build_socratic_config(
        "a", "b", "c", 1e-5, 8, "r",
        seeds_files=["x.jsonl", ("y.jsonl", 3)],
        objective="jensen_shannon",
        rewards=["solved", {"kind": "few_turns", "weight": -1.0}],
        teachers={"name": "t"},
        judge="m",
        trackers="wandb",
        allow_config_changes="lora_rank",
    )  # fmt: skip
    assert config.trackers == ("wandb",) and build_socratic_config(**BASE, rewards="solved").rewards[0].weight == 1.0


def test_every_name_of_a_kind_is_accepted_alone():
    for name in get_args(DivergenceName):
        assert build_socratic_config(**BASE, objective=name).objective.kind == name
    for name in get_args(OutcomeName):
        assert build_socratic_config(**BASE, rewards=name).rewards == (OutcomeReward(kind=name),)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            dict(objective="jensen_shanon"),
            r"objective: there is no kind 'jensen_shanon'; did you mean 'jensen_sh",
        ),
        (dict(objective="zzz"), r"there is no kind 'zzz'; expected 'sampled_reverse_kl', "),
        (dict(objective="mixture"), r"objective.mixture.parts is missing"),
        (dict(rewards="sovled"), r"rewards.0: there is no kind 'sovled'; did you mean 'solved'"),
        (dict(judge={"model": "x"}), r"judge=.*: it has no field 'model'; did you mean 'model_name'"),
        (dict(trackers="wanb"), r"trackers.0='wanb'"),
        (dict(teachers="Qwen"), r"teachers.0='Qwen'"),
        (dict(seeds_files=3), r"seeds_files=3"),
        (dict(seeds_files=["x.jsonl", 0]), r"seeds_files.0.1=0"),
        (dict(recordings=[]), r"recordings.files"),
    ],
)
def test_a_short_form_that_means_nothing_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        SocraticConfig(**BASE, **fields)
