"""The commands that messages give for installing an extra work wherever the package came from."""

import json
import re
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import get_args

import pytest

import socratic_distill
from socratic_distill.files import extras
from socratic_distill.files.extras import Extra, how_to_install

SOURCE = Path(socratic_distill.__file__).parent
CHECKOUT = SOURCE.parents[1]


class Installed:
    """What `importlib.metadata` says of an installed package."""

    def __init__(self, origin: str | None) -> None:
        self.requires = ["numpy", "torch>=2.13; extra == 'local'", 'peft ; extra == "local"', "s3fs; extra == 'cloud'"]
        self._origin = origin

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return self._origin


@pytest.fixture
def install(monkeypatch):
    """Makes the package one that was copied into an environment, from a given origin."""

    def install(origin: str | None) -> None:
        monkeypatch.setattr(extras, "_checkout", lambda: None)
        monkeypatch.setattr(extras, "distribution", lambda name: Installed(origin))

    return install


def test_every_extra_of_a_message_is_one_of_pyproject():
    declared = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(get_args(Extra)) <= set(declared)


def test_no_message_gives_a_command_for_installing_by_itself():
    others = [
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if re.search(r"pip install|socratic-distill\[", path.read_text()) and path.name != "extras.py"
    ]
    assert others == [], "use files.extras.how_to_install"


def test_from_a_checkout_the_command_names_it(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extras, "distribution", lambda name: Installed(None))
    assert how_to_install("cloud") == f"Install it with: pip install '{CHECKOUT}[cloud]'"
    monkeypatch.chdir(CHECKOUT)
    assert how_to_install("cloud") == "Install it with: pip install '.[cloud]'"


def test_an_editable_install_stays_editable(install, tmp_path):
    install(json.dumps({"url": tmp_path.as_uri(), "dir_info": {"editable": True}}))
    assert how_to_install("cloud") == f"Install it with: pip install -e '{tmp_path}[cloud]'"


def test_a_wheel_or_directory_that_is_still_there_is_named(install, tmp_path):
    wheel = tmp_path / "a b" / "socratic_distill-0.1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    install(json.dumps({"url": wheel.as_uri(), "archive_info": {}}))
    assert how_to_install("cloud") == f"Install it with: pip install '{wheel}[cloud]'"


@pytest.mark.parametrize(
    "origin",
    [
        None, "", "no JSON", "[1]", '{"url": 3}', '{"url": "file:///gone/away.whl"}',
        '{"url": "https://user:secret@host/x.whl"}', '{"dir_info": {"editable": 1}, "url": "file:///gone"}',
    ],
)  # fmt: skip
def test_without_its_source_the_requirements_are_named(install, origin):
    install(origin)
    assert how_to_install("cloud") == "Install it with: pip install s3fs"
    assert how_to_install("local").startswith("Install it with: pip install 'torch>=2.13' peft. ")


def test_for_torch_the_cpu_index_is_said_in_one_line():
    assert "pip install torch --index-url https://download.pytorch.org/whl/cpu" in how_to_install("local")
    assert "\n" not in how_to_install("local")


def test_a_package_that_is_not_installed_at_all_is_named(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "_checkout", lambda: None)
    monkeypatch.setattr(extras, "distribution", missing)
    assert how_to_install("wandb") == "Install it with: pip install 'socratic-distill[wandb]'"
