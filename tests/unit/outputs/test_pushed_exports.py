"""Exports pushed to a model hub on loopback: what is sent, what is said before, and what is refused."""

import os
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

from huggingface_hub import constants
from tests.support.model_hub import TOKEN, ModelHub, Repository

from socratic_distill import HubError
from socratic_distill.cli import main
from socratic_distill.outputs.exports.hub import check_destination, choose_destination, described, push

# Of huggingface_hub's own requests.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch):
    with ModelHub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def export(tmp_path):
    directory = tmp_path / "model"
    (directory / "additional_chat_templates").mkdir(parents=True)
    (directory / "config.json").write_text('{"a": 1}')
    (directory / "model.safetensors").write_bytes(os.urandom(5000))
    (directory / "additional_chat_templates" / "tool[1].jinja").write_text("{{ messages }}")
    return directory


def files_of(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_a_directory_is_pushed_whole_and_private(hub, export):
    said = []
    destination = check_destination(choose_destination("ada/tutor"))
    assert not [request for request in hub.asked if not request.startswith("GET ")], "checking changes nothing"
    url = push(export, destination, said.append)
    repository = hub.repositories["ada/tutor"]
    assert repository.private and repository.branches["main"] == files_of(export)
    assert url.startswith(f"{hub.url}/ada/tutor/commit/")
    (text,) = said
    assert f"to {hub.url}/ada/tutor (a new private repository, branch main)" in text
    assert "model.safetensors  5.0 kB" in text and "config.json  8 bytes" in text and TOKEN not in text
    (export / "config.json").write_text('{"a": 2}')
    again = check_destination(choose_destination("ada/tutor"))
    assert "a repository that exists" in str(again)
    push(export, again)
    assert repository.branches["main"] == files_of(export) and len(repository.messages) == 2


def test_a_public_one_a_branch_and_an_organisation_are_the_users_choice(hub, export):
    push(export, check_destination(choose_destination("school/tutor", private=False, revision="v2")))
    repository = hub.repositories["school/tutor"]
    assert not repository.private
    assert repository.branches == {"main": {}, "v2": files_of(export)}
    assert check_destination(choose_destination("mine")).repository == "ada/mine"


def test_a_dry_run_asks_nothing(hub, export):
    text = described(export, choose_destination("ada/tutor"))
    assert "3 files of 5.0 kB" in text and "ada/tutor (private, branch main)" in text
    assert not hub.asked


@pytest.mark.parametrize(
    "name", ["", "a/b/c", "/a", "a/", "a b", "../a", "a/..", "a/b--c", "a/b.git", "ä/b", "a\n", "-a/b"]
)
def test_a_name_that_no_hub_takes_is_refused(hub, name):
    with pytest.raises(HubError, match="is no name of a repository"):
        choose_destination(name)
    with pytest.raises(HubError, match="is no name of a branch"):
        choose_destination("a/b", revision="../main")


def test_who_may_not_push_is_told_before(hub, monkeypatch):
    with pytest.raises(HubError, match=r"may not write to 'google'; expected ada or school"):
        check_destination(choose_destination("google/tutor"))
    hub.repositories["ada/shown"] = Repository(private=False)
    with pytest.raises(HubError, match=r"exists and is public.*--public"):
        check_destination(choose_destination("ada/shown"))
    assert check_destination(choose_destination("ada/shown", private=False)).is_new is False
    hub.role = "read"
    with pytest.raises(HubError, match="may only read"):
        check_destination(choose_destination("ada/tutor"))
    monkeypatch.setenv("HF_TOKEN", "hf_other_secret")
    with pytest.raises(HubError, match="does not know the token") as refused:
        check_destination(choose_destination("ada/tutor"))
    assert "hf_other_secret" not in str(refused.value)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
    with pytest.raises(HubError, match=r"nobody is logged in.*hf auth login"):
        check_destination(choose_destination("ada/tutor"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        check_destination(choose_destination("ada/tutor"))


@pytest.mark.parametrize(
    ("part", "status", "text"),
    [("commit", 403, "does not let this token write"), ("create", 403, "token write"), ("commit", 413, "no room")],
)
def test_a_refused_push_is_told_and_can_be_made_again(hub, export, part, status, text):
    destination = check_destination(choose_destination("ada/tutor"))
    hub.refusals[part] = status
    with pytest.raises(HubError, match=rf"{text}.*refused in this test"):
        push(export, destination)
    hub.refusals.clear()
    push(export, destination)
    assert hub.repositories["ada/tutor"].branches["main"] == files_of(export)


def test_a_hub_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(HubError, match="cannot be reached"):
        check_destination(choose_destination("ada/tutor"))


def test_links_are_not_sent(hub, export, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (export / "notes.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(HubError, match="is a link"):
        push(export, check_destination(choose_destination("ada/tutor")))
    assert not hub.repositories
    with pytest.raises(HubError, match="no files"):
        described(tmp_path / "empty", choose_destination("ada/tutor"))


def test_the_command_says_pushes_and_in_a_dry_run_only_says(hub, tmp_path, capsys):
    pytest.importorskip("peft")
    from tests.support.peft_adapters import peft_adapter

    peft_adapter(tmp_path / "adapter", steps=1)
    command = ["export", str(tmp_path / "adapter"), "--allow-files", "--push", "ada/tutor"]
    assert main([*command, "--merge", str(tmp_path / "dry"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "a dry run, nothing is sent" in said and "ada/tutor (private, branch main)" in said
    assert not hub.asked and (tmp_path / "dry" / "config.json").is_file()
    assert main([*command, "--merge", str(tmp_path / "out")]) == 0
    assert f"pushed: {hub.url}/ada/tutor/commit/" in capsys.readouterr().out
    assert hub.repositories["ada/tutor"].branches["main"] == files_of(tmp_path / "out")
    hub.role = "read"
    assert main([*command, "--merge", str(tmp_path / "late")]) == 1
    assert "may only read" in capsys.readouterr().err
    assert not (tmp_path / "late").exists(), "it is refused before the merge"
