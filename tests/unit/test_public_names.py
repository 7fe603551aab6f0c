import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import socratic_distill
from socratic_distill import errors


def test_import_loads_neither_torch_nor_transformers_nor_tinker():
    script = (
        "import sys, socratic_distill as s; s.build_socratic_config; s.resolve_start; s.load_seeds; s.load_run; "
        "heavy = ('torch', 'transformers', 'tinker', 'peft', 'pandas', 'matplotlib', 'IPython', 'sympy', "
        "'math_verify'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there_sorted_and_documented():
    names = socratic_distill.__all__
    assert names == sorted(names)
    for name in names:
        assert inspect.getdoc(getattr(socratic_distill, name)), f"{name} has no docstring"


def test_type_checkers_and_first_use_find_each_name_in_the_same_module():
    tree = ast.parse(Path(socratic_distill.__file__).read_text(encoding="utf-8"))
    for_types = {
        alias.name: str(node.module).removeprefix("socratic_distill.")
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert for_types == socratic_distill._HOME


def test_every_error_is_public_and_drawn_in_the_tree():
    own = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert own <= set(socratic_distill.__all__)
    assert all(name in (errors.__doc__ or "") for name in own)
    assert all(issubclass(getattr(errors, name), errors.SocraticError) for name in own)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = socratic_distill.nothing  # pyright: ignore[reportAttributeAccessIssue]
