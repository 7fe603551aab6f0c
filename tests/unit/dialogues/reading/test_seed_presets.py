"""Each published format, from rows of its published keys that were written for these tests."""

import csv
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, strategies as st
from tests.support.rows import write_rows

from socratic_distill import ConfigError, Seed, SeedError, SeedsFile, load_seeds
from socratic_distill.config.parts import SeedFormat
from socratic_distill.config.seed_sources import as_seeds_file
from socratic_distill.dialogues.reading.answers import last_box
from socratic_distill.dialogues.reading.benchmark_formats import SEED_FORMATS
from socratic_distill.dialogues.seeds import scan

APPLES = "Tom has 7 apples and buys 5. How many?"
MATHDIAL = {
    "qid": 5000012, "scenario": 1, "question": APPLES,
    "ground_truth": "7 + 5 = 12\n 12", "student_incorrect_solution": "7 - 5 = 2\n 2",
    "student_profile": "Tom is a 7th grader.", "teacher_described_confusion": "subtracts", "self-correctness": "Yes",
    "self-typical-confusion": 4.0, "self-typical-interactions": 4.0,
    "conversation": "Teacher: (focus)Why?|EOM|Tom: Oh, 12.",
}  # fmt: skip
TUTORBENCH = {
    "problem": APPLES, "topic": "Math Word Problem",
    "reference_solution": "7 + 5 = 12 apples\n 12",
    "dialog_history": [
        {"text": "Tell me how you did it", "user": "Teacher"}, {"text": "I got 2.", "user": "Student"},
        {"text": "Does he buy or sell?", "user": "Teacher"},
    ],
}  # fmt: skip
STEPVERIFY = TUTORBENCH | {
    "student_incorrect_solution": ["He has 7 apples.", "7 - 5 = 2", "2"], "incorrect_index": 1, "dialog_history": [],
    "student_correct_response": "It is 12.",
}  # fmt: skip
OF_BRIDGE = {
    "problem": "", "topic": "3.8B.Pictographs", "reference_solution": "N/A",
    "dialog_history": [
        {"text": "hi", "user": "Student"}, {"text": "Add them all.", "user": "Teacher"},
        {"text": "30", "user": "Student"}, {"text": "Check it again.", "user": "Teacher"},
    ],
}  # fmt: skip
BRIDGE = {
    "c_id": "1_39", "lesson_topic": "3.8B.Pictographs",
    "c_h": [
        {"id": 41, "text": "What is your answer?", "time": "25:09", "user": "tutor"},
        {"id": 42, "text": "30", "time": "26:35", "user": "student"},
    ],
    "c_r": [{"id": 43, "text": "A good try.", "time": "26:43", "user": "tutor"}],
    "c_r_": [{"user": "tutor", "text": "So close! Can you check?", "is_revised": True}],
    "e": "careless", "z_what": "ask_question", "z_why": "hint_mistake",
}  # fmt: skip
COMTA = {
    "expected_result": "Answer Accepted", "math_level": "Elementary", "test_id": 1,
    "data": [
        {"role": "user", "content": "How do I multiply decimals?"}, {"role": "assistant", "content": "Try 0.2 × 0.3."},
        {"role": "user", "content": "0.06"},
    ],
}  # fmt: skip
GSM8K = {"question": "How many?", "answer": "6 + 6 = <<6+6=12>>12 eggs.\n#### 12"}
SOCRATIC = {
    "question": "How many?",
    "answer": "How many are in both? ** 6 + 6 = <<6+6=12>>12\nAnd twice? ** 12 * 2 = <<12*2=24>>24\n#### 24",
}
MATH = {"problem": "Solve $x - 5 = 7$.", "level": "Level 1", "type": "Algebra", "solution": r"So $x = \boxed{12}$."}
MATH_500 = MATH | {"answer": r"\frac{3}{4}", "subject": "Algebra", "level": 2, "unique_id": "test/algebra/1.json"}
SVAMP = {
    "ID": "chal-1", "Body": "Each pack costs 76 dollars. There is a discount of 25 dollars", "Type": "Subtraction",
    "Question": "How much is a pack?", "Equation": "( 76.0 - 25.0 )", "Answer": 51.0,
}  # fmt: skip
ASDIV = {
    "body": "Seven red apples and two green apples are in the basket.", "question": "How many apples are there?",
    "solution_type": "Addition", "answer": "9 (apples)", "formula": "7+2=9",
}  # fmt: skip
MMLU_PRO = {
    "question_id": 70, "question": "Which one is prime?",
    "options": ["4", "6", "7", "8", "9", "10", "12", "14", "15", "21"],
    "answer": "C", "answer_index": 2, "cot_content": "", "category": "math", "src": "ours",
}  # fmt: skip
OPTIONS = tuple(MMLU_PRO["options"])
ARC = {
    "id": "Own_1", "question": "What does a plant need?",
    "choices": {"text": ["coal", "light", "oil", "sand"], "label": ["A", "B", "C", "D"]}, "answerKey": "B",
}  # fmt: skip


def rows_in(tmp_path: Path, *rows: Any, name: str = "problems.jsonl") -> Path:
    return write_rows(tmp_path / name, *rows)


def seed_of(tmp_path: Path, row: dict[str, Any], **options: Any) -> Seed:
    (seed,) = load_seeds(SeedsFile(path=str(rows_in(tmp_path, row)), **options))
    return seed


@pytest.mark.parametrize(("row", "expected"), [
    (MATHDIAL, Seed("5000012:1", APPLES, "12", "7 - 5 = 2\n 2", "Tom is a 7th grader.")),
    (TUTORBENCH, Seed("problems:1", APPLES, "12", "I got 2.")),
    (STEPVERIFY, Seed("problems:1", APPLES, "12", "He has 7 apples.\n7 - 5 = 2\n2")),
    (OF_BRIDGE, Seed("problems:1", "3.8B.Pictographs\nAdd them all.", "", "30", answer_kind="none")),
    (BRIDGE, Seed("problems:1", "3.8B.Pictographs\nWhat is your answer?", "", "30", answer_kind="none")),
    (COMTA, Seed("problems:1", "How do I multiply decimals?", "", answer_kind="none")),
    (GSM8K, Seed("problems:1", "How many?", "12")),
    (SOCRATIC, Seed("problems:1", "How many?", "24")),
    (MATH, Seed("problems:1", "Solve $x - 5 = 7$.", "12")),
    (MATH_500, Seed("problems:1", "Solve $x - 5 = 7$.", r"\frac{3}{4}")),
    (SVAMP, Seed("problems:1", f"{SVAMP['Body']}. How much is a pack?", "51")),
    (ASDIV, Seed("problems:1", f"{ASDIV['body']} How many apples are there?", "9 apples")),
    (MMLU_PRO, Seed("problems:1", "Which one is prime?", "C", answer_kind="choice", choices=OPTIONS)),
    (ARC, Seed("Own_1", "What does a plant need?", "B", answer_kind="choice", choices=tuple(ARC["choices"]["text"]))),
])  # fmt: skip
def test_each_published_format_is_read(tmp_path, row, expected):
    assert seed_of(tmp_path, row) == expected


OF_PRESET: dict[str, dict[str, Any]] = {
    "own": {"question": "How many?", "expected_answer": "12"}, "mathdial": MATHDIAL, "mathtutorbench": TUTORBENCH,
    "bridge": BRIDGE, "comta": COMTA, "mmlu-pro": MMLU_PRO, "arc": ARC, "asdiv": ASDIV, "svamp": SVAMP,
    "math-500": MATH_500, "math": MATH, "gsm8k": GSM8K,
}  # fmt: skip


def test_every_preset_is_named_in_a_config_and_recognised_by_its_keys(tmp_path):
    assert [kind.preset for kind in SEED_FORMATS] == list(OF_PRESET)
    assert set(OF_PRESET) == set(get_args(SeedFormat))
    for kind in SEED_FORMATS:
        row = OF_PRESET[kind.preset]
        assert next(kind for kind in SEED_FORMATS if kind.fits(row)) is kind
        scanned = list(scan([as_seeds_file(rows_in(tmp_path, row))]))
        assert [entry.title for entry in scanned] == [kind.title]
        assert seed_of(tmp_path, row, format=kind.preset) == seed_of(tmp_path, row)


@pytest.mark.parametrize("preset", sorted(OF_PRESET))
def test_every_preset_is_read_from_a_table_and_a_list_too(tmp_path, preset):
    row = OF_PRESET[preset]
    (expected,) = load_seeds(rows_in(tmp_path, row))
    with (tmp_path / "problems.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(
            {key: json.dumps(value) if isinstance(value, list | dict) else value for key, value in row.items()}
        )
    (tmp_path / "problems.json").write_text(json.dumps([row]))
    assert load_seeds(tmp_path / "problems.json") == load_seeds(tmp_path / "problems.csv") == (expected,)


@pytest.mark.parametrize("preset", sorted(OF_PRESET))
def test_every_preset_is_read_from_parquet_too(tmp_path, preset):
    pyarrow = pytest.importorskip("pyarrow", reason="needs the `data` extra")
    pytest.importorskip("pyarrow.parquet")
    row = OF_PRESET[preset]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "problems.parquet")
    assert load_seeds(tmp_path / "problems.parquet") == load_seeds(rows_in(tmp_path, row))


@pytest.mark.parametrize(("row", "expected", "kind"), [
    (MATH | {"solution": r"So $x = \boxed{\frac{1}{2}}$."}, r"\frac{1}{2}", "number"),
    (MATH | {"solution": r"First \boxed{3}, so \boxed{x^2 + \sqrt{2}}."}, r"x^2 + \sqrt{2}", "expression"),
    (MATH | {"solution": r"So \boxed{(3, \frac{\pi}{2})}"}, r"(3, \frac{\pi}{2})", "expression"),
    (MATH | {"solution": r"She is \boxed{\text{Evelyn}}."}, "Evelyn", "text"),
    (MATH_500 | {"answer": "p - q"}, "p - q", "expression"),
    (MATH_500 | {"answer": r"\text{even}"}, "even", "text"),
    (MATH_500 | {"answer": "odd"}, "odd", "text"),
    (MATH_500 | {"answer": 12}, "12", "number"),
    (MATH_500 | {"answer": r"0.\overline{3}"}, r"0.\overline{3}", "expression"),
    (MATH_500 | {"answer": r"\frac{-1 \pm \sqrt{5}}{2}"}, r"\frac{-1 \pm \sqrt{5}}{2}", "expression"),
    (MATH_500 | {"answer": r"\angle ABC"}, r"\angle ABC", "text"),
    (MATH_500 | {"answer": r"2n+1, n\in\mathbb{Z}"}, r"2n+1, n\in\mathbb{Z}", "text"),
    (ASDIV | {"answer": "3:4"}, "3:4", "text"),
    (ASDIV | {"answer": "2.5 (feet)"}, "2.5 feet", "number"),
    ({"Body": "Two.", "Question": "Sum?", "Answer": "4 (eggs)", "Solution-Type": "Sum"}, "4 eggs", "number"),
    (TUTORBENCH | {"reference_solution": "Not available"}, "", "none"),
])  # fmt: skip
def test_answers_of_published_formats_have_their_kind(tmp_path, row, expected, kind):
    seed = seed_of(tmp_path, row)
    assert (seed.expected_answer, seed.answer_kind) == (expected, kind)


@pytest.mark.parametrize("row", [
    ARC | {"choices": {"text": ["coal", "light"], "label": ["1", "2"]}, "answerKey": "2"},
    ARC | {"choices": [{"text": "coal", "label": "A"}, {"text": "light", "label": "B"}]},
    {"id": "Own_1", "answerKey": "B", "question": {
        "stem": "What does a plant need?",
        "choices": [{"text": "coal", "label": "A"}, {"text": "light", "label": "B"}],
    }},
])  # fmt: skip
def test_arc_is_read_in_each_published_shape(tmp_path, row):
    expected = Seed("Own_1", "What does a plant need?", "B", answer_kind="choice", choices=("coal", "light"))
    assert seed_of(tmp_path, row) == expected


@pytest.mark.parametrize(("row", "problem"), [
    (MMLU_PRO | {"answer_index": 10}, "answer_index is 10, which is none of the 10 options"),
    (MMLU_PRO | {"answer_index": "C"}, "answer_index must be a whole number, found str: 'C'"),
    (MMLU_PRO | {"options": [str(number) for number in range(27)]}, "there are 27 options; expected at most 26"),
    (MMLU_PRO | {"options": {"A": "4"}}, "options must be a list of texts"),
    (ARC | {"answerKey": "E"}, "answerKey is 'E', which is none of the 4 options"),
    (ARC | {"choices": ["coal"]}, 'choices must be an object such as {"text": […], "label": […]}, found'),
    (ARC | {"choices": {"text": ["coal", "oil"], "label": ["A"]}}, "choices has 2 texts, but 1 labels"),
    (MATH | {"solution": "12"}, r"the solution has no \boxed{…} around its answer"),
    (MATH | {"solution": r"\boxed{12"}, r"the solution has no \boxed{…} around its answer"),
    (TUTORBENCH | {"dialog_history": [{"text": "hi"}]}, "dialog_history[0].user is missing"),
    (TUTORBENCH | {"dialog_history": "hi"}, "dialog_history must be a list, found str: 'hi'"),
    (TUTORBENCH | {"problem": " ", "topic": None}, "problem and topic are empty; give one of them"),
    (COMTA | {"data": []}, "data holds no message of the user; leave the row out"),
    (COMTA | {"data": [{"role": "user", "content": 3}]}, "data[0].content must be text, found int: 3"),
    (SVAMP | {"Answer": "many"}, "an answer must hold exactly one number, 'many' holds 0"),
    (SVAMP | {"Body": ""}, "Body is empty"),
    (TUTORBENCH | {"reference_solution": "It is a lot."}, "the last line of the solution is no answer"),
])  # fmt: skip
def test_published_rows_that_cannot_be_used_name_the_reason(tmp_path, row, problem):
    path = rows_in(tmp_path, row)
    with pytest.raises(SeedError) as caught:
        load_seeds(path)
    assert str(caught.value).startswith(f"{path}, line 1: ") and problem in str(caught.value)


@given(st.lists(st.sampled_from(["\\boxed{", "{", "}", "\\", "x", "\\}", "\\fbox {"])).map("".join))
def test_the_last_box_is_balanced_or_none(text):
    content = last_box(text)
    if content is not None:
        assert f"{{{content}}}" in text
        plain = content.replace("\\\\", "").replace("\\{", "").replace("\\}", "")
        assert plain.count("{") == plain.count("}")


OWN = {"question": "How many?", "expected_answer": "12"}


@pytest.mark.parametrize(("row", "options", "expected"), [
    ({"question": "Why?"}, {}, ("", "none", (), ())),
    ({"question": "Why?", "expected_answer": None}, {}, ("", "none", (), ())),
    ({"question": "Why?", "expected_answer": " "}, {}, ("", "none", (), ())),
    ({"question": "Why?", "expected_answer": []}, {"answer_kind": "number"}, ("", "none", (), ())),
    ({"question": "Why?", "rubric": "names light"}, {"answer_kind": "judged"}, ("", "judged", (), ())),
    (OWN | {"expected_answer": ["twelve", "a dozen"]}, {}, ("twelve", "text", (), ("a dozen",))),
    (OWN | {"expected_answer": ["12"]}, {}, ("12", "number", (), ())),
    (OWN | {"expected_answer": "twelve", "accepted_answers": ["12"]}, {}, ("twelve", "text", (), ("12",))),
    (OWN | {"expected_answer": "B", "choices": ["11", "12"]}, {}, ("B", "choice", ("11", "12"), ())),
    (OWN | {"expected_answer": "twelve", "answer_kind": "text"}, {}, ("twelve", "text", (), ())),
    (OWN | {"expected_answer": "twelve"}, {"answer_kind": "text"}, ("twelve", "text", (), ())),
    (OWN | {"answer_kind": "number"}, {"answer_kind": "text"}, ("12", "number", (), ())),
    (OWN | {"expected_answer": "x^2 + 1"}, {}, ("x^2 + 1", "expression", (), ())),
    (OWN | {"expected_answer": "[1, 2]", "answer_kind": "text"}, {}, ("[1, 2]", "text", (), ())),
    (OWN | {"expected_answer": "6 + 6\n#### 12"}, {}, ("12", "number", (), ())),
    (OWN | {"expected_answer": r"6 and 6 is \boxed{12}"}, {}, ("12", "number", (), ())),
    (OWN | {"expected_answer": "twelve"}, {"answer_kind": "none"}, ("twelve", "none", (), ())),
])  # fmt: skip
def test_own_rows_say_or_show_the_kind_of_their_answer(tmp_path, row, options, expected):
    seed = seed_of(tmp_path, row, **options)
    assert (seed.expected_answer, seed.answer_kind, seed.choices, seed.accepted_answers) == expected


@pytest.mark.parametrize(("row", "problem"), [
    (OWN | {"expected_answer": "light"}, "'light' holds 0; give one number, such as 42, -3.5, 3/4, 2 1/2 or 50%; or "
     'state the kind: answer_kind "text", "judged" or "expression", in the row or for the file'),
    (OWN | {"answer_kind": "words"}, "answer_kind must be one of number, expression, choice, text, judged, function"),
    (OWN | {"answer_kind": "number", "expected_answer": "3 or 4"}, "an answer must hold exactly one number"),
    ({"question": "Why?", "answer_kind": "text"}, "answer_kind is 'text', but there is no expected_answer"),
    (OWN | {"compares_units": "yes"}, "compares_units must be true or false, found str: 'yes'"),
    (OWN | {"choices": {"A": "1"}}, "choices must be a list of texts, or one text, found dict"),
    (OWN | {"rubric": ""}, "rubric is empty"),
])  # fmt: skip
def test_an_answer_whose_kind_cannot_be_seen_must_state_it(tmp_path, row, problem):
    with pytest.raises(SeedError) as caught:
        seed_of(tmp_path, row)
    assert problem in str(caught.value)


def test_a_published_answer_takes_the_kind_of_its_file(tmp_path):
    assert (
        seed_of(tmp_path, GSM8K | {"answer": "So it is\n#### a dozen"}, answer_kind="text").expected_answer == "a dozen"
    )
    assert seed_of(tmp_path, MATH, answer_kind="expression").answer_kind == "expression"
    assert load_seeds(rows_in(tmp_path, GSM8K), answer_kind="judged")[0].answer_kind == "judged"


def test_columns_name_the_keys_of_a_file(tmp_path):
    path = rows_in(tmp_path, {"problem": "How many?", "solution": "6 + 6\n#### 12", "id": 7, "level": 3})
    columns = {"question": "problem", "expected_answer": "solution"}
    expected = Seed("7", "How many?", "12")
    assert load_seeds({"path": path, "columns": columns}) == (expected,)
    other = rows_in(tmp_path, OWN, name="b.jsonl")
    assert load_seeds(seeds_files=[SeedsFile(path=str(path), columns=columns), {"path": other}])[0] == expected
    with pytest.raises(SeedError, match="the column 'problems', which is none of its keys; did you"):
        load_seeds({"path": path, "columns": {"question": "problems"}})


def test_columns_are_answered_in_a_table_with_choices(tmp_path):
    path = tmp_path / "quiz.tsv"
    path.write_text('Frage\tAntwort\tOptionen\nWas braucht Licht?\tB\t["Stein", "Pflanze"]\n', encoding="utf-8")
    columns = {"question": "Frage", "expected_answer": "Antwort", "choices": "Optionen"}
    (seed,) = load_seeds({"path": path, "columns": columns})
    assert seed == Seed("quiz:1", "Was braucht Licht?", "B", answer_kind="choice", choices=("Stein", "Pflanze"))


def _double(row: dict[str, Any]) -> dict[str, Any] | None:
    return None if row["n"] == 2 else {"question": f"Twice {row['n']}?", "expected_answer": 2 * row["n"]}


def _broken(row: dict[str, Any]) -> Any:
    return {1: 3, 2: [], 3: {"question": "Why?"}}[row["n"]]


HERE = __name__


def test_a_map_function_makes_seeds_and_leaves_rows_out(tmp_path):
    path = rows_in(tmp_path, {"n": 1}, {"n": 2}, {"n": 3})
    seeds = load_seeds({"path": path, "map": f"{HERE}:_double"})
    assert [(seed.id, seed.expected_answer) for seed in seeds] == [("problems:1", "2"), ("problems:3", "6")]
    assert len(load_seeds({"path": path, "map": f"{HERE}:_double", "limit": 1})) == 1
    with pytest.raises(SeedError, match="left all of its 1 rows out"):
        load_seeds({"path": rows_in(tmp_path, {"n": 2}), "map": f"{HERE}:_double"})


@pytest.mark.parametrize(
    ("function", "row", "problem"),
    [
        ("_broken", {"n": 1}, "returned int; expected a dict, or None to leave the row out"),
        ("_broken", {"n": 9}, "raised KeyError: 9"),
        ("_double", {}, "raised KeyError: 'n'"),
    ],
)
def test_a_map_function_that_fails_is_a_problem_of_the_row(tmp_path, function, row, problem):
    path = rows_in(tmp_path, row)
    with pytest.raises(SeedError) as caught:
        load_seeds({"path": path, "map": f"{HERE}:{function}"})
    assert str(caught.value).startswith(f"{path}, line 1: the function '{HERE}:{function}' ") and problem in str(
        caught.value
    )


def test_a_map_function_must_be_there(tmp_path):
    with pytest.raises(ConfigError, match="did you mean"):
        load_seeds({"path": rows_in(tmp_path, OWN), "map": f"{HERE}:_doubles"})


def test_scan_gives_every_problem_and_goes_on(tmp_path):
    path = rows_in(tmp_path, OWN, "{", OWN | {"expected_answer": "many"}, GSM8K, OWN | {"id": "problems:1"}, OWN)
    scanned = list(scan([as_seeds_file(path)]))
    assert [type(entry.seed).__name__ for entry in scanned] == ["Seed", *["ValueError"] * 4, "Seed"]
    assert [entry.place for entry in scanned] == [f"{path}, line {number}" for number in range(1, 7)]
    assert {entry.title for entry in scanned} == {"our own"}
