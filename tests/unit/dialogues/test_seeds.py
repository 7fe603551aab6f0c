import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tests.support.rows import write_rows

from socratic_distill import Seed, SeedError, load_seeds
from socratic_distill.dialogues import batches
from socratic_distill.dialogues.answers.numbers import contains_answer, last_number, same_answer
from socratic_distill.dialogues.batches import batch, steps_per_run
from socratic_distill.dialogues.reading.values import SHARED_FIELDS

SAMPLES = Path(__file__).parents[2] / "data_samples"
OWN = {"question": "How many?", "expected_answer": "12"}
GSM8K = {"question": "How many?", "answer": "6 + 6 = <<6+6=12>>12\n#### 12"}
MATHDIAL = {"question": "How many?", "ground_truth": "6+6=12\n 12", "student_incorrect_solution": "11"}
MATHDIAL_ANSWERS = ["43", "43", "43", "22500", "75", "20", "0.5", "-19", "2800", "2.50", "21", "91"]
MATHDIAL_MISTAKES = ["18", "53", "8", "27500", "-75", "19", "2.5", "-5", "4800", "0.4", "30", "912"]
GSM8K_ANSWERS = ["18", "10140", "30", "135", "32", "21", "22", "8", "-13", "4.5", "1250000", "18"]
OWN_ANSWERS = [
    "12", "9.5", "36", "$2.50", "25%", "12,345", "-4", "\u22128", "18 eggs", "0.125", "2.40 €", "25000000",
]  # fmt: skip

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes rows (dicts, or raw lines) to a file."""

    def write(*rows: dict[str, Any] | str, name: str = "problems.jsonl") -> Path:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        return write_rows(tmp_path / name, *rows)

    return write


def refusal(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(SeedError) as caught:
        load_seeds(*args, **kwargs)
    return str(caught.value)


def test_load_seeds_reads_every_mathdial_record():
    seeds = load_seeds(SAMPLES / "mathdial_like.jsonl")
    rows = [json.loads(line) for line in (SAMPLES / "mathdial_like.jsonl").read_text("utf-8").splitlines()]
    assert [seed.expected_answer for seed in seeds] == MATHDIAL_ANSWERS
    for seed, mistake in zip(seeds, MATHDIAL_MISTAKES, strict=True):
        assert same_answer(seed.initial_error or "", mistake), seed.id
    assert [seed.id for seed in seeds] == [f"{row['qid']}:{line}" for line, row in enumerate(rows, 1)]
    assert [seed.question for seed in seeds] == [row["question"] for row in rows]
    assert [seed.initial_error for seed in seeds] == [row["student_incorrect_solution"].strip() for row in rows]
    assert [seed.student_profile for seed in seeds] == [row["student_profile"] for row in rows]


def test_load_seeds_reads_every_gsm8k_record():
    seeds = load_seeds(SAMPLES / "gsm8k_like.jsonl")
    assert [seed.expected_answer for seed in seeds] == GSM8K_ANSWERS
    assert [seed.id for seed in seeds] == [f"gsm8k_like:{line}" for line in range(1, 13)]
    assert {(seed.initial_error, seed.student_profile) for seed in seeds} == {(None, None)}


def test_load_seeds_reads_every_own_record():
    seeds = load_seeds(SAMPLES / "own.jsonl")
    assert [seed.expected_answer for seed in seeds] == OWN_ANSWERS
    assert [seed.id for seed in seeds][:4] == ["apples", "own:2", "3", "price"]
    assert seeds[0] == Seed(
        "apples", "Tom has 7 apples and buys 5. How many does he have?", "12",
        "7 - 5 = 2, so 2 apples.", "You are in third grade.",
    )  # fmt: skip
    assert [seed.id for seed in seeds if seed.initial_error is None] == ["3", "share", "frost-typeset"]


def test_load_seeds_takes_files_in_order_up_to_their_limits():
    paths = [(SAMPLES / "gsm8k_like.jsonl", 2), (str(SAMPLES / "own.jsonl"), None)]
    seeds = load_seeds(seeds_files=[*paths, (SAMPLES / "mathdial_like.jsonl", 1)])
    assert len(seeds) == 2 + 12 + 1
    assert [seed.id for seed in seeds[:3]] == ["gsm8k_like:1", "gsm8k_like:2", "apples"]
    assert seeds[-1].id == "7100001:1"


def test_load_seeds_limit_takes_the_top_and_may_exceed_the_file():
    every = load_seeds(SAMPLES / "own.jsonl")
    assert load_seeds(SAMPLES / "own.jsonl", 5) == every[:5]
    assert load_seeds(SAMPLES / "own.jsonl", 500) == every


def test_load_seeds_stops_reading_at_the_limit(write):
    assert len(load_seeds(write(OWN, "no JSON"), 1)) == 1


def test_load_seeds_refuses_arguments_that_do_not_go_together(write):
    path = write(OWN)
    assert "keep one" in refusal(path, seeds_files=[(path, None)])
    assert "seeds_limit=3 needs a seeds_file" in refusal(seeds_limit=3)
    assert "seeds_limit=3 needs a seeds_file" in refusal(seeds_limit=3, seeds_files=[(path, None)])
    assert "the limit is 0; expected at least 1" in refusal(path, 0)
    assert "expected one or more (path, limit)" in refusal(seeds_files=[])
    assert "expected one or more (path, limit)" in refusal(seeds_files=[str(path)])


def test_load_seeds_tolerates_bom_crlf_and_blank_lines(tmp_path):
    path = tmp_path / "windows.jsonl"
    line = json.dumps(OWN).encode()
    path.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n" + line + b"\r\n  \r\n\n")
    assert [seed.id for seed in load_seeds(path)] == ["windows:1", "windows:3"]
    path.write_bytes(line)
    assert len(load_seeds(path)) == 1


@pytest.mark.parametrize("row", [OWN, GSM8K], ids=["own", "gsm8k"])
def test_load_seeds_takes_optional_keys_with_a_problem(write, row):
    given_keys = {"id": "a", "initial_error": "6 + 6 = 11", "student_profile": "You are in second grade."}
    (seed,) = load_seeds(write(row | given_keys))
    assert seed == Seed("a", "How many?", "12", "6 + 6 = 11", "You are in second grade.")


@pytest.mark.parametrize("row", [OWN, GSM8K, MATHDIAL], ids=["own", "gsm8k", "mathdial"])
def test_load_seeds_takes_fields_and_tags_in_every_format(write, row):
    (seed,) = load_seeds(write(row | {"fields": {"steps": 3, "hint": " Draw it. "}, "tags": ["short", "algebra"]}))
    assert seed.fields == (("hint", "Draw it."), ("steps", "3"))
    assert seed.tags == ("short", "algebra")
    assert (seed.question, seed.expected_answer) == ("How many?", "12")


def test_load_seeds_takes_a_single_tag_as_text_and_nothing_as_none(write):
    single, none, empty = load_seeds(write(OWN | {"tags": "algebra"}, OWN, OWN | {"tags": [], "fields": {}}))
    assert single.tags == ("algebra",)
    assert (none.fields, none.tags) == (empty.fields, empty.tags) == ((), ())


def test_load_seeds_keeps_the_file_as_it_was_given(write, monkeypatch):
    path = write(OWN)
    other = write(OWN, name="other.jsonl")
    monkeypatch.chdir(path.parent)
    seeds = load_seeds(seeds_files=[("./problems.jsonl", None), (other, None)])
    assert [seed.source for seed in seeds] == ["./problems.jsonl", str(other)]
    assert {seed.source for seed in load_seeds()} == {None}
    assert load_seeds(path) == load_seeds("problems.jsonl"), "where a seed comes from is no part of what it is"


def test_load_seeds_takes_whole_numbers_of_any_size(write):
    large = 10**400
    (seed,) = load_seeds(write(OWN | {"fields": {"size": large}}))
    assert seed.fields == (("size", str(large)),)


NAMES = st.text("abz_", min_size=1, max_size=6).filter(lambda name: name not in SHARED_FIELDS)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ONE_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example writes it anew


@ONE_FILE
@given(
    row=st.sampled_from([OWN, GSM8K, MATHDIAL]),
    texts=st.dictionaries(NAMES, WORDS, max_size=4),
    numbers=st.dictionaries(NAMES, NUMBERS, max_size=4),
    tags=st.lists(WORDS.map(str.strip), unique=True, max_size=4),
)
def test_load_seeds_gives_fields_and_tags_back(write, row, texts, numbers, tags):
    (seed,) = load_seeds(write(row | {"fields": numbers | texts, "tags": tags}))
    found = dict(seed.fields)
    assert list(found) == sorted(numbers | texts) and seed.tags == tuple(tags)
    assert {name: found[name] for name in texts} == {name: text.strip() for name, text in texts.items()}
    assert all(type(value)(found[name]) == value for name, value in numbers.items() if name not in texts)


@ONE_FILE
@given(fields=JSON, tags=JSON)
def test_load_seeds_takes_or_refuses_whatever_stands_in_fields_and_tags(write, fields, tags):
    path = write(OWN | {"fields": fields, "tags": tags})
    try:
        (seed,) = load_seeds(path)
    except SeedError as error:
        assert str(error).startswith(f"{path}, line 1: ")
    else:
        assert all(value.strip() for _, value in seed.fields) and all(map(str.strip, seed.tags))
        assert len(seed.fields) == (len(fields) if isinstance(fields, dict) else 0)


def test_load_seeds_reads_gsm8k_answers_without_marks_of_the_answer(write):
    (seed,) = load_seeds(write({"question": "How many?", "answer": "That is $<<6+6=12>>12<<1>> <<2=2>>"}))
    assert seed.expected_answer == "12"


def test_load_seeds_takes_mathdial_without_optional_keys(write):
    assert load_seeds(write(MATHDIAL)) == (Seed("problems:1", "How many?", "12", "11"),)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            "{",
            "not JSON (Expecting property name enclosed in double quotes at column 2); seeds files are JSONL",
        ),
        ("[", "seeds files are JSONL, one whole object a line, not one JSON document"),
        (json.dumps([OWN]), "expected a JSON object, found a list; seeds files are JSONL"),
        ('"text"', "found a str"),
        ("[" * 100_000, "nested too deeply"),
        ('{"question": "q", "expected_answer": NaN}', "NaN is not JSON"),
        ('{"question": "q", "expected_answer": -Infinity}', "-Infinity is not JSON"),
        ('{"question": "q", "expected_answer": 1e999}', "expected_answer is not a finite number: inf"),
        ('{"question": "q", "question": "r", "expected_answer": "1"}', "a key occurs twice"),
        ('{"question": "\\ud800", "expected_answer": "1"}', "question holds half a character"),
        (
            {"problem": "q", "solutions": "1"},
            "keys ['problem', 'solutions'] are of no known format; the nearest is MATH, which also has 'solution'. "
            'Name the columns, columns={"question": "problem", "expected_answer": "…"}, or give a map function',
        ),
        ({"prompt": "q", "target": "1"}, 'columns={"question": "prompt", "expected_answer": "target"}'),
        ({}, "keys [] are of no known format"),
        ({"problem": "q", "solution": "1"}, "the solution has no \\boxed{…} around its answer"),
        (OWN | {"inital_error": "11"}, "unknown keys ['inital_error']; known are question, expected_answer"),
        (OWN | {"question": " \n"}, "question is empty"),
        (OWN | {"question": 5}, "question must be text, found int: 5"),
        (OWN | {"question": None}, "question must be text, found NoneType"),
        (OWN | {"expected_answer": True}, "expected_answer must be text or a number, found bool: True"),
        (OWN | {"expected_answer": [["12"]]}, "expected_answer must be text or a number, found list"),
        (OWN | {"expected_answer": "twelve"}, "exactly one number, 'twelve' holds 0"),
        (OWN | {"expected_answer": "16/2"}, "'16/2' holds 2; give one number, such as 42, -3.5, 3/4"),
        (OWN | {"initial_error": ""}, "initial_error is empty"),
        (OWN | {"initial_error": 11}, "initial_error must be text, found int"),
        (OWN | {"id": " "}, "id is empty"),
        (OWN | {"id": {}}, "id must be text or a number, found dict"),
        (OWN | {"student_profile": 7}, "student_profile must be text, found int"),
        (OWN | {"fields": ["hint"]}, 'fields must be an object such as {"hint": "..."}, found list: [\'hint\']'),
        (OWN | {"fields": {"Hint": "x"}}, "fields has the name 'Hint'; expected lower-case letters and underscores"),
        (OWN | {"fields": {"": "x"}}, "fields has the name ''; expected lower-case"),
        (OWN | {"fields": {"hint\n": "x"}}, "expected lower-case letters and underscores"),
        (
            OWN | {"fields": {"question": "x"}},
            "fields has the name 'question', which is reserved for the seed's question",
        ),
        (OWN | {"fields": {"hint": " "}}, "fields.hint is empty"),
        (OWN | {"fields": {"hint": None}}, "fields.hint must be text or a number, found NoneType"),
        (GSM8K | {"fields": {"hint": True}}, "fields.hint must be text or a number, found bool: True"),
        (MATHDIAL | {"fields": {"hint": {"a": 1}}}, "fields.hint must be text or a number, found dict"),
        ('{"question": "q", "expected_answer": "1", "fields": {"a": "1", "a": "2"}}', "a key occurs twice"),
        (OWN | {"tags": {"a": 1}}, "tags must be a list of texts, or one text, found dict"),
        (OWN | {"tags": ["a", 2]}, "tags[1] must be text, found int: 2"),
        (GSM8K | {"tags": ["a", "\t"]}, "tags[1] is empty"),
        (MATHDIAL | {"tags": ["a", "b", "a "]}, "tags holds 'a' more than once"),
        (GSM8K | {"answer": "It is a lot.\n#### a lot"}, "exactly one number, 'a lot' holds 0"),
        (GSM8K | {"answer": 12}, "answer must be text, found int: 12"),
        (
            MATHDIAL | {"ground_truth": "12\nas I said"},
            "the last line of the solution is no answer: an answer must hold exactly one number, 'as I said' holds 0",
        ),
        (MATHDIAL | {"student_incorrect_solution": ""}, "student_incorrect_solution is empty"),
        (MATHDIAL | {"student_incorrect_solution": None}, "student_incorrect_solution must be text"),
    ],
)
def test_load_seeds_names_file_line_and_reason(write, line, reason):
    path = write("", line)
    message = refusal(path)
    assert message.startswith(f"{path}, line 2: ")
    assert reason in message


def test_load_seeds_holds_a_file_to_the_format_of_its_first_line(write):
    path = write(MATHDIAL, MATHDIAL, GSM8K)
    message = refusal(path)
    assert message.startswith(f"{path}, line 3: ")
    assert "are of the format GSM8K, the file's first line is of MathDial; split the file" in message
    message = refusal(write(GSM8K, {"question": "How many?"}))
    assert "line 2: keys ['question'] are of the format our own, the file's first line is of GSM8K" in message


@pytest.mark.parametrize("content", [b"", b"\n \r\n", b"\xef\xbb\xbf"])
def test_load_seeds_refuses_a_file_without_seeds(tmp_path, content):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    assert refusal(path) == f"{path}: the file holds no seeds; expected one JSON object a line"


def test_a_table_without_rows_is_refused_as_a_table(tmp_path):
    path = tmp_path / "empty.csv"
    path.write_text("question,expected_answer\n")
    assert refusal(path) == f"{path}: the file holds no seeds; expected a header, then a line for each"


def test_load_seeds_refuses_what_is_no_readable_file(tmp_path):
    missing = tmp_path / "nowhere.jsonl"
    assert refusal(missing).startswith(f"{missing}: cannot be read (No such file or directory)")
    assert refusal(tmp_path).startswith(f"{tmp_path}: cannot be read (Is a directory)")
    path = tmp_path / "latin.jsonl"
    path.write_bytes(json.dumps(OWN).encode() + b'\n{"question": "caf\xe9"}\n')
    assert refusal(path).startswith(f"{path}, line 2: not UTF-8")


def test_load_seeds_names_both_places_of_a_repeated_id(write):
    path = write(OWN | {"id": "a"}, OWN, OWN | {"id": "a"})
    assert refusal(path).startswith(f"{path}, line 3: id 'a' is taken by {path}, line 1;")
    path, other = write(OWN), write(OWN, name="other/problems.jsonl")
    message = refusal(seeds_files=[(path, None), (other, None)])
    assert message.startswith(f"{other}, line 1: id 'problems:1' is taken by {path}, line 1;")


def test_builtin_seeds_are_sound():
    seeds = load_seeds()
    assert len(seeds) == 40
    assert [seed.id for seed in seeds] == [f"builtin-{number:02d}" for number in range(1, 41)]
    for seed in seeds:
        assert seed.initial_error, seed.id
        assert not contains_answer(seed.question, seed.expected_answer), seed.id
        assert not contains_answer(seed.initial_error, seed.expected_answer), seed.id
        assert last_number(seed.initial_error) is not None, seed.id
    assert 5 <= sum(seed.student_profile is not None for seed in seeds) <= 20


def test_builtin_seeds_have_the_right_answers():
    right = [
        6 * 24 - 97, 50 - 3 * 4.5 - 8.75, 4 * 60 + 35 + 128 + 15 - 6 * 60, 240 * 5 / 8, 120 * 85 / 100 - 5,
        210 / 3 * 5, 2 * (14 + 9) - 2, 84 / (1 + 3), 35 / (2 + 5) * 2, 4 * 84 - (82 + 76 + 90),
        15 * 5 * 4 / 12 * 4, 18 + 6 * 2.5, (46 - 17 + 9) / 2, 300 / 4 * 10, math.ceil((165 - 45) / 12),
        16 * 7 / 2, 320 * 60 / 100, 450 / 100 * 7 * 2, (30 - 6) / 3, 25 + 50 + (50 - 15),
        300 / (180 / 12 - 5), 18 * 22 - 57, 6 - 3 * 5, 720 // 45, 40 * 14 + (46 - 40) * 14 * 1.5,
        (68 - 8) / 5, 3 * 5**3, 60 * 3 / 5 * 3 / 4, 100 - (2 * 11 + 3 * 6), 540 / (3 * 12),
        4 * 45 / 60, 600 + 3 * 600 * 4 / 100, (600 // 50) * (400 // 50), 90 / (14 + 16),
        (3 * 240 + 2 * 310) / 100, (34 - 8) / 2, 32 * 9 + (40 - 32) * 3 - 40 * 5, 250 - 5 * 3 * 12,
        (2350 - 1800) / 5, 12_500 + 6 * 1_250,
    ]  # fmt: skip
    for seed, value in zip(load_seeds(), right, strict=True):
        assert same_answer(seed.expected_answer, f"{value:g}" if value < 1e6 else str(value)), (seed, value)


def numbered(count: int) -> list[Seed]:
    return [Seed(str(index), "question", "1") for index in range(count)]


@given(count=st.integers(1, 40), size=st.integers(1, 50), seed=st.integers(0, 5), epochs=st.integers(1, 3))
def test_batch_neither_drops_nor_repeats_within_an_epoch(count, size, seed, epochs):
    seeds = numbered(count)
    steps = steps_per_run(count, epochs, size)
    row = [one for step in range(steps) for one in batch(seeds, seed=seed, step=step, size=size)]
    assert len(row) == steps * size
    assert (steps - 1) * size < epochs * count <= steps * size
    for epoch in range(epochs):
        assert sorted(row[epoch * count : (epoch + 1) * count], key=lambda one: int(one.id)) == seeds


def test_batch_spans_two_epochs():
    seeds = numbered(5)
    row = [one.id for step in range(5) for one in batch(seeds, seed=0, step=step, size=4)]
    middle = [one.id for one in batch(seeds, seed=0, step=1, size=4)]
    assert middle == row[4:8]
    assert middle[0] not in row[:4] and len(set(middle[1:])) == 3


def test_batch_is_a_pure_function_of_its_arguments():
    seeds = numbered(30)
    late = batch(seeds, seed=3, step=7, size=4)
    for step in (0, 20, 3):
        batch(seeds, seed=9, step=step, size=4)
    assert batch(tuple(seeds), seed=3, step=7, size=4) == late


def test_batch_order_differs_by_seed_and_epoch():
    seeds = numbered(30)
    orders = {
        tuple(one.id for one in batch(seeds, seed=seed, step=epoch, size=30)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


def test_batch_order_is_the_same_everywhere():
    """Runs that were begun elsewhere, or by an earlier version, must resume in the same order."""
    assert [one.id for one in batch(numbered(8), seed=0, step=0, size=8)] == list("74123065")


def test_the_order_of_an_epoch_is_worked_out_once():
    seeds = numbered(100_000)
    before = batches._shuffle.cache_info().misses
    for step in range(200):
        batch(seeds, seed=0, step=step, size=8)
    assert batches._shuffle.cache_info().misses - before <= 1, "it is worked out for every batch"


@pytest.mark.parametrize(
    ("count", "epochs", "size", "steps"), [(10, 1, 5, 2), (10, 1, 4, 3), (10, 3, 4, 8), (3, 1, 8, 1)]
)
def test_steps_per_run_covers_all_epochs(count, epochs, size, steps):
    assert steps_per_run(count, epochs, size) == steps
