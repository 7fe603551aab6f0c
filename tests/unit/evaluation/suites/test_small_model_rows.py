"""What the rows of the small models are made of: the questions that are written from GSM8K, and the tables."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the benchmark runs the local engine")
# The benchmark's modules import each other as a script does.
sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

from tests.benchmarks.suites import OF_ABILITIES, Costs, suite_files, tables_of
from tests.support.rows import read_rows, write_rows

from socratic_distill import Measure
from socratic_distill.evaluation.suites.catalogue import SUITES
from socratic_distill.evaluation.suites.choices import Choices
from socratic_distill.evaluation.suites.results import Benchmark, SuiteResult, add_results
from socratic_distill.evaluation.suites.suite import Wish


def test_choices_have_the_answer_once_and_in_every_place(tmp_path):
    rows = [{"question": f"What is {i} + 1?", "answer": f"{i} + 1 = {i + 1}\n#### {i % 7 + 1}"} for i in range(30)]
    (tmp_path / "mathtutorbench" / "datasets").mkdir(parents=True)
    write_rows(tmp_path / "mathtutorbench" / "datasets" / "gsm8k.jsonl", *rows)
    files = suite_files(tmp_path / "own.jsonl", tmp_path, tmp_path / "runs", items=12)
    items, _ = Choices().items(Wish(files["choices"]))
    right = [str(i % 7 + 1) for i in range(18, 30)]
    assert [item.options[item.facts["right"]] for item in items] == right, "of the last rows"
    assert {item.facts["right"] for item in items} == {0, 1, 2, 3}
    assert all(len(set(item.options)) == 4 for item in items)
    assert [row["text"] for row in read_rows(files["text"])] == [row["question"] for row in rows[-12:]]


def test_each_tutor_is_a_row_with_its_time(tmp_path):
    (tmp_path / "suites").mkdir()
    costs = Costs(tmp_path, 5)
    for tutor, share in (("base", 0.25), ("final", 0.5)):
        with costs.counted("gsm8k", tutor):
            result = SuiteResult("w", {"gsm8k/accuracy": Measure(share, 0.0, 1.0, 4)}, items=4, tokens={"sent": 1000})
            add_results(tmp_path, Benchmark(SUITES["gsm8k"].about, {tutor: result}))
        with costs.counted("dialogues", tutor):
            played = tmp_path / "suites" / f"dialogues-{tutor}-5.measures"
            played.write_text(json.dumps({"learning/alg": {"value": share, "low": None, "high": None, "count": 5}}))
    rows = tables_of("tiny", tmp_path, Costs(tmp_path, 5), 5)
    assert [row[0] for row in rows["abilities"]] == ["tiny, untrained", "tiny, trained"]
    place = 1 + list(OF_ABILITIES.values()).index("gsm8k/accuracy")
    assert [row[place] for row in rows["abilities"]] == ["25% [0%, 100%] of 4", "50% [0%, 100%] of 4"]
    assert rows["costs"][0][1:5] == ["4", "0", "1,000", "0"]
    assert "0.500 of 5" in rows["dialogues"][1]
