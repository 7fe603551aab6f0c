"""A config that was read from a run directory is data: it names servers, files and code, and the user allows them."""

import asyncio
import json
import os
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tests.support.examples import examples

from socratic_distill import ConfigError, UntrustedConfig, estimate_cost, open_service, preflight
from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.grant import Grant
from socratic_distill.config.known_servers import known_servers, origin, remember_server, servers_file
from socratic_distill.config.paths import GivenPath
from socratic_distill.config.trust import check_code, check_endpoint
from socratic_distill.dialogues.endings import load_endings
from socratic_distill.dialogues.prompts import load_prompts
from socratic_distill.dialogues.rewards import load_rewards
from socratic_distill.dialogues.verdicts import load_answer_function
from socratic_distill.evaluation.comparison import evaluation_seeds
from socratic_distill.run.directory import RunDirectory, load_config
from socratic_distill.run.given_config import given_config
from socratic_distill.run.plan import read_plan
from socratic_distill.service.connect import connect
from socratic_distill.service.endpoints import check_endpoints
from socratic_distill.training.opening import check_start

KEY = "tml-planted-key-0123456789"
URL = "http://127.0.0.1:8123"


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path_factory, no_network):
    """A user with a key and an own home, on a machine on which no request can be sent."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    for name in ("XDG_CONFIG_HOME", "TINKER_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return no_network


@pytest.fixture
def stored(make_config, tmp_path):
    """A writer of run directories; keyword arguments go into config.json. Its seeds are in the directory."""

    def write(**changes: Any) -> Path:
        run = tmp_path / "run"
        run.mkdir(exist_ok=True)
        (run / "seeds.jsonl").write_bytes((tmp_path / "seeds.jsonl").read_bytes())
        fields = json.loads(make_config().model_dump_json()) | {"seeds_file": str(run / "seeds.jsonl")}
        (run / "config.json").write_text(json.dumps(fields | changes))
        return run

    return write


# Servers


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://box", "http://box:80"),
        ("HTTPS://Box.Example:443/a/b?c#d", "https://box.example:443"),
        ("http://box:08000", "http://box:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://user@box", None),
        ("http://box\\@evil", None),
        ("http://box:80:80", None),
        ("http://box ", None),
        ("http://bo\tx", "http://box:80"),
        ("http://böx", None),
        ("http://", None),
        ("http://[::1", None),
        ("ftp://box", None),
        ("box:8000", None),
    ],
)
def test_origin_is_scheme_host_and_port_or_nothing(url, expected):
    assert origin(url) == expected


@pytest.mark.parametrize(
    "url", [URL, "http://localhost:8000", "https://evil.example", "http://[::1]:1", "http://a/\\@b"]
)
def test_stored_server_gets_no_request_until_the_user_names_it(stored, no_network, url):
    config = load_config(stored(base_url=url))
    assert config.base_url == url, "reading is free"
    with pytest.raises(UntrustedConfig, match="--base-url"):
        open_service(config)
    with pytest.raises(UntrustedConfig, match="--base-url"):
        asyncio.run(connect(config, None, None))
    assert not no_network


def test_server_that_the_user_names_is_asked(stored, no_network):
    with pytest.raises(ConfigError, match="no Tinker server answers"):
        open_service(load_config(stored(base_url=URL), base_url=URL))
    assert no_network == [("127.0.0.1", 8123)]


@pytest.mark.parametrize("named", ["https://127.0.0.1:8123", "http://127.0.0.1:8124", "http://localhost:8123"])
def test_named_server_is_used_in_place_of_another_one(stored, named):
    config = load_config(stored(base_url=URL), base_url=named)
    assert config.base_url == named, "scheme, host and port all count"


def test_path_on_a_named_server_is_the_users_or_the_stored_one(stored):
    run = stored(base_url=f"{URL}/api")
    assert load_config(run, base_url=URL).base_url == f"{URL}/api"
    assert load_config(run, base_url=f"{URL}/other").base_url == f"{URL}/other"


def test_remembered_server_counts_for_every_directory(stored, no_network):
    remember_server(f"{URL}/api")
    assert known_servers() == {URL}
    assert servers_file().is_relative_to(os.environ["HOME"])
    with pytest.raises(ConfigError, match="no Tinker server answers"):
        open_service(load_config(stored(base_url=URL)))
    with pytest.raises(UntrustedConfig):
        open_service(load_config(stored(base_url="http://127.0.0.1:9")))
    assert no_network == [("127.0.0.1", 8123)]


@pytest.mark.parametrize("text", ["", "{", "[1, null]", '{"a": 1}', "[" * 100_000, '"http://127.0.0.1:8123"'])
def test_damaged_memory_of_servers_names_none(stored, text):
    servers_file().parent.mkdir(parents=True)
    servers_file().write_text(text)
    assert known_servers() == frozenset()
    with pytest.raises(UntrustedConfig):
        open_service(load_config(stored(base_url=URL)))


def test_xdg_config_home_is_used_where_it_is_absolute(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    remember_server(URL)
    assert servers_file() == tmp_path / "xdg" / "socratic-distill" / "servers.json" and known_servers() == {URL}
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert servers_file().is_relative_to(os.environ["HOME"]) and known_servers() == frozenset()


def test_tinkers_own_server_and_the_environments_need_no_naming(stored, no_network, monkeypatch):
    for url in (None, "https://tinker.thinkingmachines.dev/services/tinker-prod"):
        with pytest.raises(ConfigError, match="no Tinker server answers"):
            open_service(load_config(stored(base_url=url)))
    monkeypatch.setenv("TINKER_BASE_URL", "http://10.0.0.1:7000")
    with pytest.raises(ConfigError, match="no Tinker server answers"):
        open_service(load_config(stored(base_url="http://10.0.0.1:7000")))
    assert {host for host, _ in no_network} == {"tinker.thinkingmachines.dev", "10.0.0.1"}


@pytest.mark.parametrize("named", ["evil", "local", "ftp://a", "http://", ""])
def test_named_server_that_is_no_url_is_refused(stored, named):
    with pytest.raises(ConfigError, match="expected one such as"):
        load_config(stored(base_url=URL), base_url=named)


# Files

ONE_FILE = {
    "tutor_prompt_file": lambda path: {"tutor_prompt_file": path},
    "student_prompt_file": lambda path: {"student_prompt_file": path},
    "teacher_prompt_file": lambda path: {"teacher_prompt_file": path},
    "teachers[0].prompt_file": lambda path: {"teachers": [{"name": "a", "prompt_file": path}]},
    "seeds_file": lambda path: {"seeds_file": path},
    "seeds_files[0]": lambda path: {"seeds_file": None, "seeds_files": [[path, None]]},
    "recordings.files[0]": lambda path: {"recordings": {"files": [path]}},
    "judge.prompt_file": lambda path: {
        "judge": {"model_name": "small", "prompt_file": path}, "eval_every": 1, "eval_seeds": 1,
    },
    "load_checkpoint_path": lambda path: {"load_checkpoint_path": path},
    "students[0].prompt_file": lambda path: {"students": [{"name": "a", "prompt_file": path}]},
    "students[0].profile_file": lambda path: {"students": [{"name": "a", "profile_file": path}]},
    "answer_judge.prompt_file": lambda path: {"answer_judge": {"model_name": "small", "prompt_file": path}},
    "rewards[0].prompt_file": lambda path: {"rewards": [{"kind": "judge", "model_name": "a", "prompt_file": path}]},
    "rewards[0].rubric_file": lambda path: {"rewards": [{"kind": "judge", "model_name": "a", "rubric_file": path}]},
}  # fmt: skip


def act_on(config: SocraticConfig) -> None:
    """Everything that reads a file which the config names."""
    load_prompts(config)
    evaluation_seeds(config)
    estimate_cost(config)
    asyncio.run(check_start(config, RunDirectory(config.log_path), None))


@pytest.mark.parametrize("field", ONE_FILE)
@pytest.mark.parametrize("form", ["absolute", "up", "link", "linked folder", "home"])
def test_file_outside_the_run_is_not_read(stored, tmp_path, monkeypatch, opened_files, field, form):
    secret = Path(os.environ["HOME"]) / "secret.jsonl"
    secret.write_text("-----BEGIN PRIVATE KEY-----\n")
    run = stored()
    forms = {
        "absolute": str(secret),
        "up": os.path.relpath(secret, run),
        "link": "link.jsonl",
        "linked folder": "folder/secret.jsonl",
        "home": "~/secret.jsonl",
    }
    (run / "link.jsonl").symlink_to(secret)
    (run / "folder").symlink_to(secret.parent)
    monkeypatch.chdir(run)
    if form == "home":  # seeds and recordings must be there when the config is built
        (run / "~").mkdir()
        (run / "~" / "secret.jsonl").write_text("")
    config = load_config(stored(**ONE_FILE[field](forms[form])))
    opened_files.clear()
    with pytest.raises(UntrustedConfig, match="--allow-files") as refused:
        act_on(config)
    assert f"{field}=" in str(refused.value)
    assert secret.resolve() not in opened_files


@pytest.mark.parametrize("field", ["tutor_prompt_file", "seeds_file", "recordings.files[0]"])
def test_file_outside_the_run_is_read_where_it_is_allowed(stored, tmp_path, opened_files, field):
    secret = tmp_path / "mine.jsonl"
    secret.write_text("mine, and no JSON")
    config = load_config(stored(**ONE_FILE[field](str(secret))), allow_files=True)
    opened_files.clear()
    with pytest.raises(ConfigError) if field != "tutor_prompt_file" else nullcontext():
        read_plan(config, RunDirectory(config.log_path))
    assert secret.resolve() in opened_files


def test_files_below_the_run_and_in_the_package_need_no_word(stored):
    from socratic_distill.local import tiny

    run = stored()
    (run / "prompts").mkdir()
    (run / "prompts" / "tutor.txt").write_text("Ask about {question}")
    (run / "link.txt").symlink_to(run / "prompts" / "tutor.txt")
    changes = {"tutor_prompt_file": str(run / "link.txt"), "seeds_file": str(tiny.TRAIN_SEEDS)}
    config = load_config(stored(**changes))
    assert load_prompts(config).tutor == "Ask about {question}" and evaluation_seeds(config)


def test_pipe_that_a_config_names_is_not_waited_for(stored):
    run = stored()
    os.mkfifo(run / "pipe")
    with pytest.raises(UntrustedConfig, match="device or a pipe"):
        load_prompts(load_config(stored(tutor_prompt_file=str(run / "pipe"))))


@pytest.mark.parametrize("path", ["s3://bucket/run", "memory://x", "simplecache::s3://bucket/run", "gs://b/r#a"])
def test_store_that_a_config_names_is_not_asked(stored, monkeypatch, path):
    run = stored(load_checkpoint_path=path)
    monkeypatch.chdir(run)  # a URL is a relative path too
    config = load_config(run)
    with pytest.raises(UntrustedConfig, match="load_checkpoint_path="):
        asyncio.run(check_start(config, RunDirectory(config.log_path), None))


@pytest.mark.parametrize("log_path", ["/elsewhere/run", "s3://bucket/run", ".."])
def test_log_path_in_a_file_must_be_the_files_own_directory(stored, monkeypatch, log_path):
    run = stored(log_path=log_path)
    monkeypatch.chdir(run)
    with pytest.raises(UntrustedConfig, match="log_path="):
        given_config(run / "config.json")
    assert given_config(run / "config.json", allow_files=True).log_path == log_path
    assert given_config(run).log_path == str(run), "a run is where it was found"


def test_config_file_of_a_run_that_was_moved_means_that_run(stored, tmp_path):
    run = stored(log_path=str(tmp_path / "run"), seeds_file=None)
    (run / "run.json").write_text('{"run_id": "r"}')
    moved = run.rename(tmp_path / "moved")
    assert given_config(moved / "config.json").log_path == str(moved)


def test_paths_that_a_config_says_it_meant_are_under_the_same_rule(stored, tmp_path, opened_files):
    secret = tmp_path / "secret.txt"
    secret.write_text("-----BEGIN PRIVATE KEY-----\n")
    run = stored()
    (run / "tutor.txt").write_text("Ask.")
    mine = str(run / "tutor.txt")
    config = load_config(stored(tutor_prompt_file=mine, resolved_paths={mine: str(secret)}))
    opened_files.clear()
    with pytest.raises(UntrustedConfig, match="tutor_prompt_file="):
        load_prompts(config)
    assert secret.resolve() not in opened_files


@pytest.mark.parametrize("name", ["tiny", "judge-model"])
def test_names_of_the_user_and_the_package_mean_no_path_of_the_config(tmp_path, name):
    grant = Grant("config.json", tmp_path / "run", named=frozenset({"judge-model"}))
    grant.check_model(name)
    with pytest.raises(UntrustedConfig):
        grant.check_model(GivenPath(name, str(tmp_path)))


def test_packaged_model_is_no_directory_of_its_name(stored, tmp_path, monkeypatch):
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    models = {"tutor_model_name": "tiny", "resolved_paths": {"tiny": str(tmp_path / "tiny")}}
    assert not isinstance(load_config(stored(**models)).tutor_model_name, GivenPath)


SEGMENTS = st.lists(st.sampled_from(["in", "out", "deep", "..", ".", "file", "~", "loop", "\0", "é", ""]), max_size=6)


@given(SEGMENTS, st.booleans())
@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_allowed_path_opens_a_file_outside(tmp_path, segments, absolute):
    home = tmp_path / "home"
    if not home.exists():
        (home / "deep").mkdir(parents=True)
        for folder in (home, home / "deep", tmp_path):
            (folder / "file").write_text(folder.name)
        (home / "in").symlink_to("deep")
        (home / "out").symlink_to("..")
        (home / "deep" / "out").symlink_to(tmp_path / "file")
        (home / "loop").symlink_to("loop")
    inside = {os.stat(home / one).st_ino for one in ("file", "deep/file")}
    path = os.path.join(home if absolute else os.path.relpath(home), *segments)
    try:
        Grant("config.json", home).check_file("field", path)
    except UntrustedConfig:
        return
    try:
        with open(path) as file:
            assert os.fstat(file.fileno()).st_ino in inside, path
    except (OSError, ValueError):
        pass  # nothing was opened


# Endpoints

PARTS = {
    "students": lambda url: {"students": [{"name": "a", "model_name": "m", "endpoint": {"base_url": url}}]},
    "judge": lambda url: {"judge": {"model_name": "m", "endpoint": {"base_url": url}}},
    "answer_judge": lambda url: {"answer_judge": {"model_name": "m", "endpoint": {"base_url": url}}},
    "rewards": lambda url: {"rewards": [{"kind": "judge", "model_name": "m", "endpoint": {"base_url": url}}]},
}


@pytest.mark.parametrize("part", PARTS)
def test_an_endpoint_gets_no_request_until_the_user_names_it(stored, no_network, monkeypatch, part):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    run = stored(**PARTS[part](f"{URL}/v1"))
    with pytest.raises(UntrustedConfig, match=f"--allow-server {URL}"):
        check_endpoints(load_config(run))
    check_endpoints(load_config(run, allow_servers=[URL]))
    check_endpoints(load_config(run, base_url=URL))
    remember_server(URL)
    check_endpoints(load_config(run))
    assert not no_network, "checking sends nothing"


URLS = st.lists(
    st.sampled_from(
        ["http", "https", "://", ":", "/", "\\", "@", "127.0.0.1", "8123", "evil", "#", "?", " ", "%40", "v1"]
    ),
    max_size=8,
).map("".join)


@given(URLS | URLS.map(lambda text: f"{URL}{text}"))
@settings(max_examples=examples(300), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_endpoint_that_passes_is_the_named_server(stored, url):
    config = load_config(stored(), allow_servers=[URL])
    try:
        check_endpoint(config, url)
    except UntrustedConfig:
        return
    reached = httpx2.URL(url)
    assert (reached.scheme, reached.host, reached.port) == ("http", "127.0.0.1", 8123)


# Code


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A module of the stranger's that can be imported, and the mark that it leaves."""
    mark = tmp_path / "ran"
    (tmp_path / "planted_module.py").write_text(f"open({str(mark)!r}, 'a').close()\ndef f(dialogue): return 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "planted_module", raising=False)
    return mark


FUNCTIONS = {
    "rewards": {"rewards": [{"kind": "function", "function": "planted_module:f"}]},
    "endings": {"endings": [{"kind": "function", "function": "planted_module:f"}]},
    "answers": {"answer_function": "planted_module:f"},
    "seeds and recordings": {"seeds_file": {"path": "seeds.jsonl", "map": "planted_module:f"}},
}


@pytest.mark.parametrize("part", FUNCTIONS)
def test_no_function_that_a_run_names_is_imported(stored, planted, monkeypatch, part):
    run = stored()
    monkeypatch.chdir(run)
    config = load_config(stored(**FUNCTIONS[part]))
    for act in (load_rewards, load_endings, load_answer_function, evaluation_seeds):
        with suppress(UntrustedConfig):
            act(config)
    with pytest.raises(UntrustedConfig, match=f"asks for the functions of {part} 'planted_module:f'.*--allow-code"):
        check_code(config, part)
    assert not planted.exists() and "planted_module" not in sys.modules


REWARD = [{"kind": "function", "function": "planted_module:f"}]


def test_reading_and_estimating_import_no_reward_function(stored, planted):
    run = stored(rewards=REWARD)
    config = load_config(run)
    estimate_cost(config)
    assert not planted.exists() and "planted_module" not in sys.modules


def test_reward_function_of_a_run_needs_the_users_word(stored, planted):
    run = stored(rewards=REWARD)
    with pytest.raises(UntrustedConfig, match=r"'planted_module:f'.*--allow-code"):
        load_rewards(load_config(run))
    told = [str(one) for one in preflight(load_config(run)).problems]
    assert sum("--allow-code" in one for one in told) == 1
    assert not planted.exists()
    assert load_rewards(load_config(run, allow_code=True)) is not None and planted.exists()


def test_code_of_models_needs_the_users_word(stored):
    run = stored(base_url="local", trust_remote_code=True)
    with pytest.raises(UntrustedConfig, match=r"trust_remote_code=True.*--allow-code"):
        asyncio.run(connect(load_config(run), None, None))


# Configs


def test_config_that_a_script_builds_is_its_users_own(make_config, tmp_path, planted):
    (tmp_path / "tutor.txt").write_text("Ask.")
    config = make_config(tutor_prompt_file=tmp_path / "tutor.txt", rewards=REWARD, base_url=URL)
    assert config.grant is None
    assert load_prompts(config).tutor == "Ask." and load_rewards(config) is not None
    with pytest.raises(ConfigError, match="no Tinker server answers"):
        open_service(config)


def test_grant_goes_with_copies_and_changes_no_equality(stored, make_config):
    run = stored()
    config = load_config(run)
    assert config == SocraticConfig(**json.loads((run / "config.json").read_text()))
    assert config.grant is not None and config.model_copy(update={"max_steps": 2}).grant == config.grant
    assert config != config.model_copy(update={"max_steps": 2})
    assert not {"grant", "_grant"} & {*json.loads(config.model_dump_json()), *dict(config)}
