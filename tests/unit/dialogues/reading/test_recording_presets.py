"""Recordings of each published format, from rows that were written for these tests."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.rows import write_rows

from socratic_distill.dialogues.recordings import Recording, load_recordings
from socratic_distill.errors import RecordingError

MATHDIAL = {
    "qid": 7, "question": "How many?", "ground_truth": "6 + 6 = 12\n 12", "student_incorrect_solution": "It is 11",
    "conversation": "Teacher: (focus)Count again|EOM|Student: 12",
}  # fmt: skip
SHAREGPT = {
    "id": "own_0",
    "conversations": [
        {"from": "system", "value": "Be kind."}, {"from": "human", "value": "It is 11"},
        {"from": "gpt", "value": "<think>It is 12.</think>Count again"},
    ],
}  # fmt: skip
SAID = [{"role": "user", "content": "It is 11"}, {"role": "assistant", "content": "Count again"}]
COMTA = {"expected_result": "Answer Accepted", "math_level": "Elementary", "data": SAID, "test_id": 1}
SOCRATEACH = {
    "p1": {
        "question": "How many?", "analysis": "6 + 6", "answer": "12", "steps": ["What is in the first?"],
        "dialogues": {
            "p1_0": [
                {"system": "Count again", "user": "12", "user_type": "(1)"},
                {"system": "Right! <END>", "END": True},
            ],
            "p1_1": [{"system": "Why?", "user": "It is 11", "user_type": "(2)"}],
        },
    },
}  # fmt: skip


def said(recording: Recording) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in recording.turns]


def written(tmp_path: Path, content: Any, name: str = "talks.json") -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    return path


TALK = [("student", "It is 11"), ("tutor", "Count again")]


@pytest.mark.parametrize(("row", "kind", "name"), [
    ({"messages": SAID}, "messages", "talks:1"),
    (SHAREGPT, "sharegpt", "own_0"),
    (COMTA, "comta", "talks:1"),
    ({"prompt": "It is 11", "completion": " Count again"}, "prompt_completion", "talks:1"),
    ({"prompt": SAID[:1], "completion": SAID[1:]}, "prompt_completion", "talks:1"),
    ({"prompt": [{"role": "system", "content": "Be kind."}, *SAID[:1]], "completion": SAID[1:]}, "prompt_completion",
     "talks:1"),
])  # fmt: skip
def test_each_format_of_chats_is_read_as_lines_and_as_a_list(tmp_path, row, kind, name):
    for path in (written(tmp_path, [row]), write_rows(tmp_path / "talks.jsonl", row)):
        (recording,) = load_recordings([path])
        assert (recording.kind, recording.id, recording.seed.id) == (kind, name, name)
        assert said(recording) == TALK
        assert (recording.seed.question, recording.seed.answer_kind) == ("It is 11", "none")


@pytest.mark.parametrize("row", [SHAREGPT, COMTA, {"prompt": "It is 11", "completion": "Count again"}])
def test_chats_may_say_on_what_problem_they_are(tmp_path, row):
    facts = {"question": "How many?", "expected_answer": ["a dozen", "twelve"], "initial_error": "11", "id": "x"}
    (recording,) = load_recordings([written(tmp_path, [row | facts])])
    seed = recording.seed
    assert (seed.id, seed.question, seed.expected_answer, seed.answer_kind) == ("x", "How many?", "a dozen", "text")
    assert seed.accepted_answers == ("twelve",)


def as_chat(row: dict[str, Any]) -> dict[str, Any] | None:
    return {"messages": SAID, "question": row["q"]} if row["q"] else None


def test_columns_and_functions_make_rows_of_a_known_format(tmp_path):
    path = written(tmp_path, [{"dialog": SAID, "question": "How many?"}])
    (recording,) = load_recordings([path], columns={"messages": "dialog"})
    assert said(recording) == TALK and recording.seed.question == "How many?"
    with pytest.raises(RecordingError, match=r"entry 1: columns gives 'messages' the column 'dialogs'.*did you"):
        load_recordings([path], columns={"messages": "dialogs"})
    path = written(tmp_path, [{"q": ""}, {"q": "How many?"}])
    assert [said(recording) for recording in load_recordings([path], function=f"{__name__}:as_chat")] == [TALK]
    with pytest.raises(RecordingError, match=r"the function '.*as_chat' left all of its 1 rows out"):
        load_recordings([written(tmp_path, [{"q": ""}])], function=f"{__name__}:as_chat")


def test_a_prompt_that_looks_like_a_list_is_a_text(tmp_path):
    (recording,) = load_recordings([written(tmp_path, [{"prompt": "[1, 2]", "completion": "Why?"}])])
    assert said(recording) == [("student", "[1, 2]"), ("tutor", "Why?")]
    row = {"prompt": json.dumps(SAID[:1]), "completion": json.dumps(SAID[1:])}
    assert said(load_recordings([written(tmp_path, [row])])[0]) == TALK, "as a table holds them"


def test_mathdial_is_read_from_a_table(tmp_path):
    path = tmp_path / "mathdial.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(MATHDIAL))
        writer.writeheader()
        writer.writerow(MATHDIAL)
    (recording,) = load_recordings([path])
    assert recording.id == "7:1" and said(recording) == [*TALK, ("student", "12")]


def test_socrateach_gives_every_dialogue_on_a_problem(tmp_path):
    first, second = load_recordings([written(tmp_path, SOCRATEACH)])
    assert (first.id, second.id, first.kind) == ("p1:p1_0", "p1:p1_1", "socrateach")
    assert (first.seed.question, first.seed.expected_answer) == ("How many?", "12")
    assert said(first) == [
        ("student", "How many?"), ("tutor", "Count again"), ("student", "12"), ("tutor", "Right! <END>"),
    ]  # fmt: skip
    assert said(second)[1:] == [("tutor", "Why?"), ("student", "It is 11")]
    words = SOCRATEACH["p1"] | {"answer": "green and blue"}
    assert load_recordings([written(tmp_path, [words])])[0].seed.answer_kind == "text"
    assert load_recordings([written(tmp_path, [words | {"answer": ""}])])[0].seed.answer_kind == "none"


def test_a_runs_row_keeps_the_kind_of_its_answer(tmp_path):
    turns = [
        {"role": "student", "text": "Coal?"},
        {"role": "tutor", "text": "Why?", "tokens": [], "tutor_logprobs": [], "version": 0, "stop_reason": "stop"},
    ]
    row = {
        "step": 0, "seed": "a", "number": 0, "question": "What?", "expected_answer": "B", "answer_kind": "choice",
        "choices": ["coal", "light"], "ending": "max_turns", "turns": turns,
    }  # fmt: skip
    (recording,) = load_recordings([written(tmp_path, [row])])
    assert (recording.seed.answer_kind, recording.seed.choices) == ("choice", ("coal", "light"))


@pytest.mark.parametrize(("row", "problem"), [
    ({"conversations": "hi"}, 'conversations must be a list, found "hi"'),
    ({"conversations": [{"from": "tool", "value": "x"}]}, 'message 1: role is "tool"; expected one of system'),
    ({"conversations": [{"from": "human"}]}, "message 1: content must be text, found NoneType"),
    ({"conversations": [{"from": "gpt", "value": "Why?"}]}, "the assistant speaks first, but the student must"),
    ({"prompt": "hi", "completion": ""}, "completion is empty"),
    ({"prompt": 3, "completion": "Why?"}, "prompt must be text, found int: 3"),
    ({"data": [], "math_level": "Algebra"}, "there is no turn of the tutor"),
    (SOCRATEACH["p1"] | {"dialogues": []}, "dialogues must be an object of dialogues by name, found []"),
    (SOCRATEACH["p1"] | {"dialogues": {}}, "it holds no dialogues; leave the row out"),
    (SOCRATEACH["p1"] | {"dialogues": {"x": {}}}, "dialogue 'x' must be a list of objects with system and user"),
    (SOCRATEACH["p1"] | {"dialogues": {"x": [{"system": 3}]}}, "dialogue 'x', round 1: system must be text, found 3"),
    (SOCRATEACH["p1"] | {"dialogues": {"x": [{"user": "hi"}]}}, "there is no turn of the tutor"),
    ({"message": SAID}, "which also has 'messages'. Name the columns, columns={\"messages\": \"…\"}, or give"),
    ({"text": "hi"}, "are of no known format (MathDial, run, messages, ShareGPT, prompt and completion, "),
])  # fmt: skip
def test_chats_that_cannot_be_used_name_the_reason(tmp_path, row, problem):
    path = written(tmp_path, [row])
    with pytest.raises(RecordingError) as caught:
        load_recordings([path])
    assert str(caught.value).startswith(f"{path}, line 2, entry 1: ") and problem in str(caught.value)


def test_recordings_are_read_from_parquet_and_from_packed_lines(tmp_path):
    import gzip

    data = "".join(json.dumps(row) + "\n" for row in [{"messages": SAID}, {"messages": SAID}])
    (tmp_path / "talks.jsonl.gz").write_bytes(gzip.compress(data.encode()))
    assert [said(recording) for recording in load_recordings([tmp_path / "talks.jsonl.gz"])] == [TALK, TALK]
    pyarrow = pytest.importorskip("pyarrow", reason="needs the `data` extra")
    pytest.importorskip("pyarrow.parquet")
    for row in ({"messages": SAID}, SHAREGPT, COMTA):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "talks.parquet")
        assert [said(recording) for recording in load_recordings([tmp_path / "talks.parquet"])] == [TALK]
