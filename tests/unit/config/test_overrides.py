from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from socratic_distill import ConfigError, JensenShannon, OutcomeReward, UntrustedConfig
from socratic_distill.config.overrides import apply, parse_override
from socratic_distill.config.paths import resolved
from socratic_distill.config.trust import check_code, check_files, check_server
from socratic_distill.run.given_config import given_config

FIELDS = """\
tutor_model_name: a
student_model_name: b
teacher_model_name: c
learning_rate: 1e-5
max_tokens: 40
log_path: runs/a
display: off
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A directory next to the working directory, with a config file; gives its config with changes."""
    (tmp_path / "project").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))

    def config(*overrides, more="", **allowed):
        (tmp_path / "project" / "c.yaml").write_text(FIELDS + more)
        return given_config(Path("../project/c.yaml"), overrides, **allowed)

    return config


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("a=1e-5", ("a",), 1e-5),
        ("a=off", ("a",), "off"),
        ("a=", ("a",), None),
        ("a=b=c", ("a",), "b=c"),
        ("objective.beta=0.3", ("objective", "beta"), 0.3),
        ("rewards=[{kind: solved}]", ("rewards",), [{"kind": "solved"}]),
        ('prices."Qwen/Qwen3-1.7B".train=1', ("prices", "Qwen/Qwen3-1.7B", "train"), 1),
        ('a="#1"', ("a",), "#1"),
        ("log_path=runs/a#b", ("log_path",), "runs/a#b"),
    ],
)
def test_override_is_a_dotted_key_and_a_yaml_value(text, keys, value):
    override = parse_override(text)
    assert (override.keys, override.value) == (keys, value)


@pytest.mark.parametrize("text", ["a", "=1", "a..b=1", ".a=1", "a b=1", "a=[", "a=x: y: z", "a=&x 1", "a=b #c", "a=@b"])
def test_bad_override_is_quoted_in_the_message(text):
    with pytest.raises(ConfigError) as caught:
        parse_override(text)
    assert repr(text) in str(caught.value)


@given(st.text())
def test_any_override_is_read_or_an_error_of_ours(text):
    try:
        parse_override(text)
    except ConfigError:
        return


def test_overrides_change_parts_and_entries():
    values = {"judge": {"model_name": "a"}, "teachers": [{"name": "x"}], "objective": "jensen_shannon", "seed": 1}
    texts = ["judge.max_tokens=3", "teachers.0.weight=2", "teachers.1.name=y", "objective.beta=0.3", "rewards.0.kind=k"]
    places = apply(values, [parse_override(text) for text in [*texts, "seed=2", "seed=3"]])
    assert values == {
        "judge": {"model_name": "a", "max_tokens": 3},
        "teachers": [{"name": "x", "weight": 2}, {"name": "y"}],
        "objective": {"kind": "jensen_shannon", "beta": 0.3},
        "rewards": [{"kind": "k"}],
        "seed": 3,
    }
    assert places[("teachers", 0, "weight")] == "teachers.0.weight=2"
    assert places[("seed",)] == "seed=3"


@pytest.mark.parametrize("text", ["seed.x=1", "teachers.2.name=y", "teachers.x.name=y", "teachers.-1.name=y"])
def test_key_that_leads_nowhere_is_refused(text):
    with pytest.raises(ConfigError, match=f"override '{text}'"):
        apply({"seed": 1, "teachers": [{"name": "x"}]}, [parse_override(text)])


def test_values_are_typed_by_the_config(project):
    config = project("objective.kind=jensen_shannon", "objective.beta=0.3", "rewards=[{kind: solved}]", "max_steps=")
    assert config.objective == JensenShannon(beta=0.3)
    assert config.rewards == (OutcomeReward(kind="solved"),)
    assert (config.display, config.learning_rate, config.max_steps) == ("off", 1e-5, None)


def test_all_problems_are_told_each_with_its_place(project):
    with pytest.raises(ConfigError) as caught:
        project(
            "max_steps=x", "objective.beta=9", more="objective:\n  kind: jensen_shannon\nsede: 1\ntemperature: warm\n"
        )
    text = str(caught.value)
    assert "c.yaml has 4 problems" in text
    assert "c.yaml:10: unknown config field 'sede'; did you mean 'seed'?" in text
    assert "c.yaml:11: temperature='warm': input should be a valid number" in text
    assert "override 'max_steps=x': max_steps='x'" in text
    assert "override 'objective.beta=9': objective.jensen_shannon.beta=9" in text


def test_missing_fields_are_listed_with_what_they_are(tmp_path):
    (tmp_path / "c.toml").write_text("max_tokens = 3")
    with pytest.raises(ConfigError, match=r"5 problems(.|\n)*learning_rate is missing: Adam learning rate"):
        given_config(tmp_path / "c.toml")


def test_toml_names_the_key_and_a_rule_names_a_field_that_it_is_about(project, tmp_path):
    with pytest.raises(ConfigError, match=r"c\.yaml:8: seeds_limit=4 needs a seeds_file"):
        project(more="seeds_limit: 4")
    with pytest.raises(ConfigError, match=r"override 'seeds_limit=4': seeds_limit=4 needs a seeds_file"):
        project("seeds_limit=4")
    with pytest.raises(ConfigError, match=r"c\.yaml:8: seeds file 'none.jsonl' does not exist"):
        project(more="seeds_file: none.jsonl")
    (tmp_path / "c.toml").write_text("judge = {model_name = 3}\n")
    with pytest.raises(ConfigError, match=r"c\.toml, judge\.model_name: judge\.model_name=3"):
        given_config(tmp_path / "c.toml")


def test_paths_are_relative_to_the_file_and_those_of_overrides_to_here(project, tmp_path):
    (tmp_path / "here" / "seeds.jsonl").touch()
    (tmp_path / "project" / "seeds.jsonl").touch()
    ours = project("teacher_prompt_file=t.txt", more="seeds_file: seeds.jsonl")
    assert resolved(ours.log_path) == str(tmp_path / "project" / "runs" / "a")
    assert ours.log_path == "runs/a", "kept as it was written"
    assert resolved(ours.seeds_file or "") == str(tmp_path / "project" / "seeds.jsonl")
    assert resolved(ours.teacher_prompt_file or "") == str(tmp_path / "here" / "t.txt")
    theirs = project("seeds_file=seeds.jsonl")
    assert resolved(theirs.seeds_file or "") == str(tmp_path / "here" / "seeds.jsonl")


def test_same_text_may_mean_two_paths(project, tmp_path):
    config = project("tutor_prompt_file=p.txt", more="student_prompt_file: p.txt")
    assert resolved(config.student_prompt_file or "") == str(tmp_path / "project" / "p.txt")
    assert config.tutor_prompt_file == str(tmp_path / "here" / "p.txt"), "in full, since config.json goes by the text"


def test_config_file_is_data(project, tmp_path):
    for more in ("tutor_prompt_file: ../elsewhere.txt", f"tutor_prompt_file: {tmp_path}/elsewhere.txt"):
        with pytest.raises(UntrustedConfig, match="tutor_prompt_file="):
            check_files(project(more=more), "prompts")
        check_files(project(more=more, allow_files=True), "prompts")
    outside = tmp_path / "project" / "d.yaml"
    outside.write_text(FIELDS.replace("runs/a", "../x"))
    with pytest.raises(UntrustedConfig, match="log_path="):
        given_config(outside)
    with pytest.raises(UntrustedConfig, match="http://box:80"):
        check_server(project(more="base_url: http://box"))


def test_override_is_the_users_word_for_its_value_only(project, tmp_path):
    config = project(
        "tutor_prompt_file=e.txt", "log_path=../x", "base_url=http://box", more="student_prompt_file: ../e.txt"
    )
    check_server(config)
    check_files(config, "log_path")
    with pytest.raises(UntrustedConfig, match="student_prompt_file="):
        check_files(config, "prompts")
    check_files(project("tutor_prompt_file=e.txt"), "prompts")
    check_files(project("load_checkpoint_path=../other#state"), "load_checkpoint_path")
    with pytest.raises(UntrustedConfig, match="the functions of rewards"):
        check_code(project("rewards=[{kind: function, function: 'a:b'}]"), "rewards")


def test_base_url_may_be_given_once(project):
    assert project(base_url="http://box", more="base_url: http://other").base_url == "http://box"
    with pytest.raises(ConfigError, match="both given"):
        project("base_url=http://box", base_url="http://box")


def test_config_of_a_run_can_be_changed(project, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    stored = project().model_dump_json()
    (run / "config.json").write_text(stored)
    (run / "run.json").write_text('{"run_id": "r"}')
    for source in (run, run / "config.json"):
        config = given_config(source, ["max_steps=7"])
        assert (config.max_steps, resolved(config.log_path)) == (7, str(run))
    with pytest.raises(ConfigError, match="override 'max_steps=x'"):
        given_config(run, ["max_steps=x"])


def test_field_named_like_an_argument_of_python_is_only_unknown(project):
    with pytest.raises(ConfigError, match=r"c\.yaml:8: unknown config field 'self'"):
        project(more="self: 1")
