"""`env`: what a bug report needs, and never the key."""

import json
import sys
from importlib.util import find_spec

from socratic_distill.cli import environment, main

KEY = "tml-a-secret-that-nobody-may-see"


def test_versions_and_devices_are_listed(capsys, monkeypatch):
    monkeypatch.delenv("TINKER_API_KEY", raising=False)
    assert main(["env"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if " of " not in line)
    assert rows["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert rows["TINKER_API_KEY"] == "not set" and int(rows["cpus"]) >= 1
    assert {"platform", "socratic-distill", "tinker", "torch", "transformers", "peft", "numpy", "pydantic"} <= set(rows)


def test_the_key_is_set_or_not_and_never_shown(capsys, monkeypatch):
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    assert main(["env", "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["TINKER_API_KEY"] == "set" and KEY not in out


def test_without_torch_nothing_is_imported_and_it_says_so(monkeypatch):
    monkeypatch.setattr(environment, "find_spec", lambda name: None)
    found = environment.environment()
    assert found["gpus"] == "unknown without torch" and found["cpu"]


def test_a_torch_that_does_not_import_is_reported_not_raised(monkeypatch):
    monkeypatch.setattr(environment, "find_spec", lambda name: find_spec("json"))
    monkeypatch.setitem(sys.modules, "torch", None)
    assert environment.environment()["gpus"].startswith("unknown: ModuleNotFoundError")


def test_a_package_that_is_not_installed_has_no_version():
    assert environment.package_version("no-such-package-here") is None
