"""Docstrings of the public names: Google's rules in full, every parameter and every error that is raised."""

import ast
import builtins
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import tinker

from socratic_distill import SocraticConfig, errors
from socratic_distill.config import objectives, parts, values

MODULES = ("", ".testing", ".local", ".evaluation")
# What has the SDK's own signature is documented there; tests/contract holds the two together.
SDK = {
    "Service": tinker.ServiceClient,
    "Training": tinker.TrainingClient,
    "Sampling": tinker.SamplingClient,
    "Rest": tinker.RestClient,
}


def public() -> Iterator[tuple[str, Any]]:
    """Every class and function among the public names, once."""
    found: dict[str, Any] = {}
    for module in MODULES:
        if module == ".local" and find_spec("torch") is None:
            continue
        loaded = importlib.import_module(f"socratic_distill{module}")
        for name in loaded.__all__:
            value = getattr(loaded, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                found.setdefault(f"{value.__module__}.{value.__qualname__}", value)
    return iter(sorted(found.items()))


def callables() -> Iterator[tuple[str, Any]]:
    """Public functions, and the public methods and `__init__` of public classes, as far as they are ours."""
    for name, value in public():
        if inspect.isfunction(value):
            yield name, value
            continue
        ours = [base for base in value.__mro__ if base.__module__.startswith("socratic_distill")]
        members = {member: method for base in reversed(ours) for member, method in vars(base).items()}
        for member, method in members.items():
            method = getattr(method, "__func__", method)  # of a classmethod
            is_public = member == "__init__" or not member.startswith("_")
            if is_public and inspect.isfunction(method) and is_written(method):
                yield f"{name}.{member}", method


def is_written(function: Any) -> bool:
    """Whether it stands in its module's file, and was not made by `dataclass`, pydantic or the like."""
    return (
        function.__module__.startswith("socratic_distill")
        and function.__code__.co_filename == sys.modules[function.__module__].__file__
    )


def overrides(name: str) -> bool:
    """Whether a public method of that name is a base class's, and described there."""
    owner, method = name.rsplit(".", 1)
    bases = dict(public())[owner].__mro__[1:] if method != "__init__" and owner in dict(public()) else ()
    return any(hasattr(base, method) for base in bases)


def is_of_the_sdk(name: str) -> bool:
    """Whether a method has the name, and so the signature, of a method of the SDK's client."""
    found = re.search(r"(Service|Training|Sampling|Rest)Client\.(\w+)$", name)
    return found is not None and not found[2].startswith("_") and hasattr(SDK[found[1]], found[2])


def entries(doc: str, *sections: str) -> set[str]:
    """The names that the given sections of a docstring describe."""
    found: set[str] = set()
    for section in sections:
        for body in re.findall(rf"^{section}:\n((?:    .*\n|\n)+)", doc + "\n", re.MULTILINE):
            found |= {name for line in re.findall(r"^    \*{0,2}([\w, ]+):", body, re.M) for name in line.split(", ")}
    return found


def parameters(function: Any) -> set[str]:
    return {name for name in inspect.signature(function).parameters if name not in ("self", "cls")}


def twin(function: Any) -> Any | None:
    """The blocking function that an `…_async` says it is the same as."""
    found = re.match(r"The same as `(\w+)`", inspect.getdoc(function) or "")
    return getattr(sys.modules[function.__module__], found[1]) if found else None


def raised(function: Any) -> set[str]:
    """The names of the error classes that a function's own lines raise."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = (node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call))
    return {call.func.id for call in calls if isinstance(call.func, ast.Name) and call.func.id[0].isupper()}


def test_public_docstrings_follow_googles_rules_in_full():
    files = sorted({str(sys.modules[value.__module__].__file__) for _, value in public()})
    assert len(files) > 10
    rules = ["--isolated", "--select", "D", "--config", 'lint.pydocstyle.convention="google"']
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", *rules, *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_public_functions_and_methods_describe_every_parameter():
    missing = {}
    for name, function in callables():
        if is_of_the_sdk(name) or overrides(name):
            continue
        if blocking := twin(function):
            assert parameters(function) == parameters(blocking), f"{name} is not the same as {blocking.__name__}"
        elif lacking := parameters(function) - entries(inspect.getdoc(function) or "", "Args"):
            missing[name] = sorted(lacking)
    assert not missing


def test_public_dataclasses_describe_every_field():
    missing = {}
    for name, value in public():
        if dataclasses.is_dataclass(value):
            fields = {field.name for field in dataclasses.fields(value) if not field.name.startswith("_")}
            if lacking := fields - entries(inspect.getdoc(value) or "", "Attributes"):
                missing[name] = sorted(lacking)
    assert not missing


def test_every_config_field_is_described():
    classes = [one for module in (values, objectives, parts) for one in vars(module).values() if inspect.isclass(one)]
    settings = [one for one in classes if issubclass(one, values.Setting)]
    missing = [
        f"{part.__name__}.{name}"
        for part in (SocraticConfig, *settings)
        for name, field in part.model_fields.items()
        if not field.description and not (name == "kind" and field.default)
    ]
    assert len(settings) > 10 and not missing


def test_public_functions_and_methods_name_the_errors_that_they_raise():
    missing = {}
    for name, function in callables():
        doc = inspect.getdoc(twin(function) or function) or ""
        told = entries(doc, "Raises") | entries(inspect.getdoc(function) or "", "Raises")
        covers = tuple(getattr(errors, one) for one in told if hasattr(errors, one))
        lacking = {
            one for one in raised(function) - told if not issubclass(getattr(errors, one, type(None)), covers or ())
        }
        if lacking and not is_of_the_sdk(name):
            missing[name] = sorted(lacking)
    assert not missing


def test_described_parameters_and_errors_exist():
    wrong = {}
    for name, function in callables():
        doc = inspect.getdoc(function) or ""
        unknown = entries(doc, "Args") - parameters(function)
        unknown |= {one for one in entries(doc, "Raises") if not is_an_error(one)}
        if unknown:
            wrong[name] = sorted(unknown)
    assert not wrong


def is_an_error(name: str) -> bool:
    value = getattr(errors, name, None) or getattr(builtins, name, None)
    return inspect.isclass(value) and issubclass(value, Exception)
