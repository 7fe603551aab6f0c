"""Multiple choice and plain text: the published shapes of rows, and how options are counted."""

import pytest
from tests.support.rows import write_rows

from socratic_distill import SuiteError
from socratic_distill.evaluation.intervals import means
from socratic_distill.evaluation.suites.choices import Choices
from socratic_distill.evaluation.suites.suite import Answer, Wish
from socratic_distill.evaluation.suites.texts import Texts

OPTIONS = ["a cat", "a dog", "none"]
SHAPES = [
    {"question": "Q?", "choices": OPTIONS, "answer": 1},
    {"question": "Q?", "options": OPTIONS, "answer": "B", "answer_index": 1},
    {"question": "Q?", "choices": {"text": OPTIONS, "label": ["1", "2", "3"]}, "answerKey": "2"},
    {"question": "Q?", "choices": [{"text": text, "label": label} for text, label in zip(OPTIONS, "ABC", strict=True)],
     "answerKey": "B"},
    {"ctx": "Q?", "endings": OPTIONS, "label": "1"},
    {"question": "Q?", "options": OPTIONS, "answer": "a dog"},
    {"query": "Q?", "choices": OPTIONS, "gold": 1},
]  # fmt: skip


@pytest.mark.parametrize("row", SHAPES)
def test_published_shapes_give_the_same_item(tmp_path, row):
    (item,), _ = Choices().items(Wish(write_rows(tmp_path / "x.jsonl", row)))
    assert (item.prompt, item.options, item.facts) == ("Q?", tuple(OPTIONS), {"right": 1})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "Q?"}, "x.jsonl, row 1: expected a question and two or more options, found the keys question"),
        ({"question": "Q?", "choices": ["a"], "answer": 0}, "two or more options"),
        ({"question": "Q?", "choices": OPTIONS}, "no field says which option is right"),
        ({"question": "Q?", "choices": OPTIONS, "answer": 3}, "no field says which"),
        ({"question": "Q?", "choices": OPTIONS, "answer": True}, "no field says which"),
        ({"question": "Q?", "choices": OPTIONS, "answer": "D"}, "no field says which"),
    ],
)
def test_rows_that_say_no_answer_are_refused(tmp_path, row, message):
    with pytest.raises(SuiteError, match=message):
        Choices().items(Wish(write_rows(tmp_path / "x.jsonl", row)))


def test_likeliest_option_counts_by_sum_and_by_length(tmp_path):
    row = {"question": "Q?", "choices": ["ab", "abcdefgh"], "answer": 1}
    (item,), _ = Choices().items(Wish(write_rows(tmp_path / "x.jsonl", row)))
    found = Choices().figures([item], {item.id: Answer(logprobs=(-2.0, -4.0), counts=(1, 2))}, Wish(tmp_path))
    values = {name: measure.value for name, measure in means(found.parts).items()}
    assert values == {"choices/accuracy": 0.0, "choices/accuracy_by_length": 1.0}


def test_files_of_a_directory_are_all_read(tmp_path):
    for name in ("a", "b"):
        write_rows(tmp_path / f"{name}.jsonl", SHAPES[0], SHAPES[0])
    items, _ = Choices().items(Wish(tmp_path, limit=1))
    assert [item.id for item in items] == ["choices/a/1", "choices/b/1"]


def test_texts_without_a_word_are_refused(tmp_path):
    (tmp_path / "blank.txt").write_text(" \n")
    with pytest.raises(SuiteError, match="has no text"):
        Texts().items(Wish(tmp_path / "blank.txt"))
    (tmp_path / "raw.txt").write_bytes(b"\xff")
    with pytest.raises(SuiteError, match=r"raw\.txt cannot be read"):
        Texts().items(Wish(tmp_path / "raw.txt"))


def test_logprob_of_texts_is_a_mean_over_tokens(tmp_path):
    items, _ = Texts().items(Wish(write_rows(tmp_path / "x.jsonl", {"text": "one"}, {"text": "two"})))
    answers = {items[0].id: Answer(logprobs=(-6.0,), counts=(2,)), items[1].id: Answer(logprobs=(-4.0,), counts=(8,))}
    assert means(Texts().figures(items, answers, Wish(tmp_path)).parts)["text/logprob"].value == -1.0
