"""The rooms of the package, and the one direction of imports between them; imports in functions and for types count."""

import ast
import re
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import socratic_distill

PACKAGE = "socratic_distill"
ROOT = Path(socratic_distill.__file__).parent
# From the top: a room imports from those below it. Rooms of one line do not know each other.
LADDER = (
    ("__init__", "__main__"),
    ("cli",),
    ("training",),
    ("cost", "outputs"),
    ("evaluation",),
    ("run", "distillation"),
    ("dialogues", "testing"),
    ("service",),
    ("local",),
    ("config",),
    ("files", "in_process"),
    ("errors",),
    ("text",),
)
HEIGHT = {room: -number for number, rooms in enumerate(LADDER) for room in rooms}


def modules(root: Path) -> dict[str, Path]:
    """The modules below a package's directory, by dotted name without the package's; "" is the package."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The package's modules that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name == PACKAGE or name.startswith(f"{PACKAGE}."):
                inner = name.removeprefix(PACKAGE).removeprefix(".")
                found.add(inner if inner in known else inner.rpartition(".")[0])
    return found


def room(module: str) -> str:
    return module.partition(".")[0] or "__init__"


def upward(root: Path) -> list[str]:
    """Imports of a higher room, or of another one at the same height."""
    known = modules(root)
    return [
        f"{module} imports {other}"
        for module, path in known.items()
        for other in sorted(imports(path, known))
        if room(module) != room(other) and HEIGHT[room(module)] <= HEIGHT[room(other)]
    ]


def named_in_table(text: str) -> list[str]:
    """The names in the first column of a docstring's table."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([\w.]+)`", cell)]


def circle(root: Path) -> list[str]:
    """Modules that import each other in a circle; empty if there is none."""
    known = modules(root)
    graph = {module: imports(path, known) - {module, ""} for module, path in known.items() if module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_there_are_at_most_18_entries_and_each_has_its_height():
    entries = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert entries == set(HEIGHT)
    assert len(entries) <= 18


def test_imports_go_down():
    assert upward(ROOT) == []


def test_no_modules_import_each_other_in_a_circle():
    assert circle(ROOT) == []


def test_no_module_has_more_than_400_lines():
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules(ROOT).items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_a_step_can_be_read_in_one_file():
    assert len((ROOT / "training" / "loop.py").read_text(encoding="utf-8").splitlines()) <= 300


def test_every_room_says_what_its_modules_do():
    known = modules(ROOT)
    for name, path in known.items():
        if path.name != "__init__.py" or name.count(".") or not name:
            continue
        children = {other.removeprefix(f"{name}.").partition(".")[0] for other in known if other.startswith(f"{name}.")}
        named = Counter(named_in_table(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""))
        assert children <= named.keys(), f"{name}/__init__.py does not name {children - named.keys()}"
        assert named.total() == len(named), f"{name}/__init__.py names a module twice: {named}"
        for module in named:
            assert (path.parent / module.replace(".", "/")).exists() or f"{name}.{module}" in known, f"{name}: {module}"


@pytest.mark.parametrize(
    "line",
    [
        "from socratic_distill.training.loop import Loop",
        "from socratic_distill.training import loop",
        "import socratic_distill.training.loop",
        "def f():\n    from socratic_distill.training.loop import Loop",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from socratic_distill.training.loop import Loop",
        "from socratic_distill import train",
    ],
)
def test_an_upward_import_is_noticed(tmp_path, line):
    for folder, text in (("training", ""), ("dialogues", line)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
        (tmp_path / folder / "loop.py").write_text(text)
    (tmp_path / "__init__.py").write_text("")
    assert [message.split(" imports ")[0] for message in upward(tmp_path)] == ["dialogues.loop"]


def test_a_circle_is_noticed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "__init__.py").write_text("")
    (tmp_path / "run" / "plan.py").write_text("def f():\n    from socratic_distill.run.start import decide")
    (tmp_path / "run" / "start.py").write_text("from socratic_distill.run.plan import Plan")
    assert set(circle(tmp_path)) == {"run.plan", "run.start"}
