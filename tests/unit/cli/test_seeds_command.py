"""`seeds` shows what a run would read of a file, and fails where a run would."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.support.rows import write_rows

from socratic_distill import SeedError, load_seeds
from socratic_distill.cli import main, seeds
from socratic_distill.config.parts import SeedFormat
from socratic_distill.config.values import AnswerKind

OWN = {"question": "How many?", "expected_answer": "12", "initial_error": "11"}


@pytest.fixture
def out(capsys):
    """Runs the command; gives its exit code and what it printed."""

    def run(*arguments: Any) -> tuple[int, str]:
        code = main(["seeds", *map(str, arguments)])
        return code, capsys.readouterr().out

    return run


def test_options_name_the_formats_and_kinds_of_a_config():
    assert get_args(SeedFormat) == seeds.FORMATS and get_args(AnswerKind) == seeds.KINDS


def test_a_good_file_is_counted_and_its_first_rows_are_shown(out, tmp_path):
    words = {"question": "What?\nWhy?", "expected_answer": "light", "answer_kind": "text"}
    path = write_rows(tmp_path / "own.jsonl", *[OWN | {"id": str(number)} for number in range(7)], words)
    code, text = out(path)
    assert code == 0
    first, kinds, *table = text.splitlines()
    assert first == f"{path}: 8 seeds, format our own" and kinds == "answers: 7 number, 1 text"
    assert len([line for line in table if "How many?" in line and "11" in line]) == 5
    assert out(path, "--limit", 2)[1].startswith(f"{path}: 2 seeds")


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_options_say_how_a_file_is_read(out, tmp_path, kind):
    rows = [{"problem": "What is it?", "solution": "light"}]
    path: Path = tmp_path / f"quiz.{kind}"
    path.write_text("problem,solution\nWhat is it?,light\n" if kind == "csv" else json.dumps(rows))
    columns = ["--columns", "question=problem", "expected_answer=solution"]
    code, text = out(path, *columns, "--answer-kind", "judged")
    assert (code, text.splitlines()[1]) == (0, "answers: 1 judged")
    assert out(path, "--format", "math-500")[0] == 1


def test_each_problem_is_a_line_with_its_place(out, tmp_path):
    bad = [OWN | {"expected_answer": "many"}, "{", OWN | {"colour": "red"}, {"problem": "q"}, {"problem": "q\x1b[2J"}]
    path = write_rows(tmp_path / "own.jsonl", OWN, *bad)
    code, text = out(path)
    lines = text.splitlines()
    start = lines.index("5 rows cannot be used:")
    assert code == 1 and len(lines) == start + 5
    assert lines[start + 1].startswith(f"  {path}, line 2: an answer must hold exactly one number")
    assert lines[start + 4].startswith(f"  {path}, line 5: keys ['problem'] are of no known format")
    assert lines[start + 4].endswith("(and 1 more rows)")
    with pytest.raises(SeedError):
        load_seeds(path)


def test_only_ten_problems_are_shown_and_all_are_counted(out, tmp_path):
    path = write_rows(tmp_path / "own.jsonl", *[OWN | {"expected_answer": f"{n} or {n + 1}"} for n in range(1000)])
    code, text = out(path)
    assert code == 1 and "1,000 rows cannot be used:" in text and text.count(", line ") == 10


@pytest.mark.parametrize("name", ["nowhere.csv", "empty.jsonl", "own.json"])
def test_a_file_that_a_run_cannot_read_fails(out, tmp_path, name):
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "own.json").write_text('[{"question": "a", "expected_answer": 1}, {"question"')
    code, text = out(tmp_path / name)
    assert code == 1 and "1 row cannot be used:\n" in text and str(tmp_path / name) in text


def test_a_map_function_needs_allow_code(out, tmp_path, monkeypatch, capsys):
    (tmp_path / "own_map.py").write_text("def to_seed(row):\n    return {'question': row['q'], 'expected_answer': 3}\n")
    monkeypatch.chdir(tmp_path)
    path = write_rows(tmp_path / "rows.jsonl", {"q": "1 + 2?"})
    assert main(["seeds", str(path), "--map", "own_map:to_seed"]) == 1
    assert "If you trust it, give --allow-code" in capsys.readouterr().err
    code, text = out(path, "--map", "own_map:to_seed", "--allow-code")
    assert code == 0 and "1 + 2?" in text


@pytest.mark.parametrize("columns", ["question", "=problem", "question="])
def test_columns_are_pairs(tmp_path, capsys, columns):
    assert main(["seeds", str(tmp_path / "a.csv"), "--columns", columns]) == 1
    assert "is no OURS=THEIRS; expected one such as question=problem" in capsys.readouterr().err
