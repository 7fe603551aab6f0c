"""Seeds files with options: in a config, in its file, in what a run means, and under what the user allows."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.rows import write_rows

from socratic_distill import ConfigError, SeedsFile, SocraticConfig, UntrustedConfig, build_socratic_config, load_seeds
from socratic_distill.config.paths import GivenPath, resolved
from socratic_distill.config.seed_sources import listed_files
from socratic_distill.dialogues.briefing import Briefing
from socratic_distill.dialogues.recordings import recordings_of
from socratic_distill.dialogues.seeds import seeds_of
from socratic_distill.run.directory import load_config
from socratic_distill.run.drift import changes, fingerprint
from socratic_distill.run.given_config import given_config

BASE: dict[str, Any] = dict(
    tutor_model_name="a", student_model_name="a", teacher_model_name="a", learning_rate=1e-5, max_tokens=8,
    log_path="run", groups_per_batch=1, max_steps=1,
)  # fmt: skip
COLUMNS = {"question": "problem", "expected_answer": "solution"}


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "sums.jsonl", {"problem": "1 + 1?", "solution": "2"}, {"problem": "1 + 2?", "solution": "3"})
    write_rows(tmp_path / "own.jsonl", {"question": "1 + 1?", "expected_answer": "2"})
    return tmp_path


def config_of(**changes: Any) -> SocraticConfig:
    return build_socratic_config(**(BASE | changes))


@pytest.mark.parametrize("given", [
    {"seeds_file": {"path": "sums.jsonl", "columns": COLUMNS, "limit": 1}},
    {"seeds_file": {"path": "sums.jsonl", "columns": COLUMNS}, "seeds_limit": 1},
    {"seeds_files": {"path": "sums.jsonl", "columns": COLUMNS, "limit": 1}},
    {"seeds_files": [{"path": "sums.jsonl", "columns": COLUMNS, "limit": 1}]},
])  # fmt: skip
def test_a_file_with_options_is_read_and_stored(given):
    config = config_of(**given)
    assert [(seed.question, seed.expected_answer) for seed in seeds_of(config)] == [("1 + 1?", "2")]
    assert SocraticConfig(**json.loads(config.model_dump_json())) == config
    assert "SeedsFile(path='sums.jsonl'," in repr(config)
    ((_, file),) = listed_files(config)
    assert file == SeedsFile(path="sums.jsonl", columns=file.columns, limit=1) and dict(file.columns) == COLUMNS


def test_paths_and_files_with_options_stand_side_by_side():
    config = config_of(seeds_files=["own.jsonl", {"path": "sums.jsonl", "columns": COLUMNS}, ("own.jsonl", 2)])
    assert config.seeds_files is not None and config.seeds_files[0] == ("own.jsonl", None)
    assert [name for name, _ in listed_files(config)] == ["seeds_files[0]", "seeds_files[1]", "seeds_files[2]"]
    assert [file.limit for _, file in listed_files(config)] == [None, None, 2]
    assert config_of(seeds_files=["own.jsonl", {"path": "sums.jsonl"}]).seeds_files == (
        ("own.jsonl", None), SeedsFile(path="sums.jsonl"),
    )  # fmt: skip


def test_the_path_of_a_file_with_options_is_kept_as_it_was_meant(files, monkeypatch):
    config = config_of(seeds_file={"path": "sums.jsonl", "columns": COLUMNS})
    monkeypatch.chdir("/")
    ((_, file),) = listed_files(config)
    assert isinstance(file.path, GivenPath) and resolved(file.path) == str(files / "sums.jsonl")
    assert len(seeds_of(config)) == 2 and {seed.source for seed in seeds_of(config)} == {"sums.jsonl"}


def test_a_config_file_names_files_relative_to_itself(files, monkeypatch):
    (files / "deep").mkdir()
    write_rows(files / "deep" / "sums.jsonl", {"problem": "2 + 2?", "solution": "4"})
    document = {**BASE, "seeds_file": {"path": "sums.jsonl", "columns": COLUMNS, "map": None}}
    (files / "deep" / "config.json").write_text(json.dumps(document))
    config = given_config(files / "deep" / "config.json", [], allow_files=True)
    assert [seed.expected_answer for seed in seeds_of(config)] == ["4"]
    config = given_config(files / "deep" / "config.json", ["seeds_file.limit=1"], allow_files=True)
    assert isinstance(config.seeds_file, SeedsFile) and config.seeds_file.limit == 1


def test_a_teacher_is_routed_to_a_file_with_options_by_its_path():
    teachers = [{"name": "one", "seeds_files": "sums.jsonl"}, {"name": "two"}]
    config = config_of(seeds_files=["own.jsonl", {"path": "sums.jsonl", "columns": COLUMNS}], teachers=teachers)
    briefing = Briefing.read(config, seeds_of(config))
    assert briefing.routes == {"own:1": ("two",), "sums:1": ("one",), "sums:2": ("one",)}


@pytest.mark.parametrize(("given", "problem"), [
    ({"seeds_file": 5}, "seeds_file=5: expected a path"),
    ({"seeds_file": {"path": "own.jsonl", "colums": {}}}, "it has no field 'colums'; did you mean 'columns'?"),
    ({"seeds_file": {"path": "own.jsonl", "format": "gsm"}}, "seeds_file.format='gsm': input should be 'own', "),
    ({"seeds_file": {"path": "own.jsonl", "columns": {"answer": "a"}}}, "input should be 'question', "),
    ({"seeds_file": {"path": "own.jsonl", "map": "f"}}, "seeds_file.map='f': string should match"),
    ({"seeds_file": {"path": "own.jsonl", "map": "m:f", "columns": COLUMNS}}, "columns and map are both given"),
    ({"seeds_file": {"path": "own.jsonl", "format": "math", "columns": COLUMNS}}, "keep one"),
    ({"seeds_file": {"path": "own.jsonl", "limit": 1}, "seeds_limit": 1}, "and the limit 1 of seeds_file are both set"),
    ({"seeds_file": {"path": "gone.jsonl"}}, "seeds file 'gone.jsonl' does not exist"),
    ({"seeds_files": [{"path": "own.jsonl", "limit": 0}]}, "seeds_files.0.limit=0: input should be greater"),
    ({"recordings": {"files": "own.jsonl", "columns": {"a": "b"}, "map": "m:f"}}, "columns and map are both given"),
    ({"answer_kind": "text"}, "answer_kind='text' has no effect on the built-in problems"),
    ({"seeds_file": "own.jsonl", "answer_kind": "words"}, "answer_kind='words': input should be 'number'"),
])  # fmt: skip
def test_options_that_cannot_be_used_are_refused(given, problem):
    with pytest.raises(ConfigError) as caught:
        config_of(**given)
    assert problem in str(caught.value)


def test_a_data_set_on_the_hub_is_no_path(files):
    config = config_of(seeds_file="hub:openai/gsm8k:main@train")
    ((_, file),) = listed_files(config)
    assert resolved(file.path) == "hub:openai/gsm8k:main@train"
    (files / "hub:own.jsonl").write_text('{"question": "1 + 1?", "expected_answer": "2"}\n')
    assert len(load_seeds("./hub:own.jsonl")) == 1


# What a run means


def meaning_of(config: SocraticConfig) -> dict[str, str]:
    seeds = seeds_of(config)
    return fingerprint(config, seeds, Briefing.read(config, seeds))


def test_seeds_of_numbers_mean_what_they_meant_before():
    expected = "1 seeds, sha256 28165272b7310797"
    assert meaning_of(config_of(seeds_file="own.jsonl"))["seeds"] == expected
    assert meaning_of(config_of(seeds_file={"path": "own.jsonl"}))["seeds"] == expected


@pytest.mark.parametrize("options", [
    {"answer_kind": "text"}, {"columns": {"question": "question"}}, {"map": f"{__name__}:same"},
])  # fmt: skip
def test_how_seeds_are_read_is_part_of_what_a_run_means(options):
    before = meaning_of(config_of(seeds_file="own.jsonl"))
    (change,) = changes(before, meaning_of(config_of(seeds_file={"path": "own.jsonl"} | options)), ())
    assert change.field == "seeds" and json.dumps([options]) in change.now
    assert changes(before, meaning_of(config_of(seeds_file={"path": "own.jsonl"} | options)), ["answer_kind"]) == []


def test_the_kind_of_answers_for_all_files_is_part_of_it_too():
    before, now = (meaning_of(config_of(seeds_file="own.jsonl", answer_kind=kind)) for kind in (None, "judged"))
    assert [change.field for change in changes(before, now, ())] == ["seeds"]


def test_recordings_in_a_directory_count_by_content(files):
    for name in ("a", "b"):
        (files / name).mkdir()
        (files / name / "state.json").write_text("{}")
    before, now = (
        fingerprint(config, (), Briefing.read(config, ()))
        for config in (config_of(recordings=name) for name in ("a", "b"))
    )
    assert changes(before, now, ()) == []
    (files / "b" / "data.arrow").write_text("x")
    config = config_of(recordings="b")
    now = fingerprint(config, (), Briefing.read(config, ()))
    assert [change.field for change in changes(before, now, ())] == ["recordings"]


def test_how_recordings_are_read_is_part_of_what_a_run_means(files):
    write_rows(files / "talks.jsonl", {"messages": []})
    before, now = (
        fingerprint(config, (), Briefing.read(config, ()))
        for config in (config_of(recordings={"files": "talks.jsonl"} | more) for more in ({}, {"columns": {"a": "b"}}))
    )
    assert "columns" not in before["recordings"]
    assert [change.field for change in changes(before, now, ())] == ["recordings"]


def same(row: dict[str, Any]) -> dict[str, Any]:
    return row


# What the user allows


@pytest.fixture
def stored(files):
    """A writer of run directories, with its seeds file in it."""

    def write(**changes: Any) -> Path:
        run = files / "run"
        run.mkdir(exist_ok=True)
        write_rows(run / "own.jsonl", {"question": "1 + 1?", "expected_answer": "2"})
        fields = json.loads(config_of().model_dump_json()) | {"log_path": str(run)} | changes
        (run / "config.json").write_text(json.dumps(fields))
        return run

    return write


@pytest.mark.parametrize("field", ["seeds_file", "seeds_files"])
def test_a_file_with_options_outside_the_run_needs_the_users_word(stored, files, field):
    file = {"path": str(files / "sums.jsonl"), "columns": COLUMNS}
    run = stored(**{field: file if field == "seeds_file" else [file]})
    with pytest.raises(UntrustedConfig, match=r"names the file seeds_file.*--allow-files"):
        seeds_of(load_config(run))
    assert len(seeds_of(load_config(run, allow_files=True))) == 2


@pytest.mark.parametrize("name", ["hub:openai/gsm8k@train", "hf://datasets/openai/gsm8k"])
@pytest.mark.parametrize("field", ["seeds_file", "recordings"])
def test_a_data_set_on_the_hub_needs_the_users_word(stored, name, field):
    from socratic_distill.config.trust import check_files

    config = load_config(stored(**{field: name}))
    with pytest.raises(UntrustedConfig, match=r"which is on a hub or at a URL.*--allow-files"):
        check_files(config, "seeds", "recordings")


def test_a_function_of_seeds_needs_the_users_word(stored, monkeypatch, tmp_path):
    run = stored()
    (tmp_path / "planted_seeds.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    stored(seeds_file={"path": str(run / "own.jsonl"), "map": "planted_seeds:f"})
    with pytest.raises(
        UntrustedConfig, match=r"asks for the functions of seeds and recordings 'planted_seeds:f'.*--allow-code"
    ):
        seeds_of(load_config(run, allow_files=True))
    stored(recordings={"files": str(run / "own.jsonl"), "map": "planted_seeds:f"})
    with pytest.raises(UntrustedConfig, match=r"'planted_seeds:f'.*--allow-code"):
        recordings_of(load_config(run, allow_files=True))
    stored(seeds_file={"path": str(run / "own.jsonl"), "map": f"{__name__}:same"})
    assert len(seeds_of(load_config(run, allow_code=True))) == 1
