"""The parts of `examples/smollm2.py` that need no model: its files, its arguments and its table."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tests.support.rows import read_rows, write_rows
from tests.support.talks import scored_dialogue, talk

pytest.importorskip("torch")
pytest.importorskip("peft")

from examples.smollm2 import (
    bundled,
    differences,
    parse_arguments,
    shown_dialogue,
    split_by_question,
    table,
    teacher_config,
    tutor_config,
)

from socratic_distill import Evaluation, SeedError
from socratic_distill.dialogues.recordings import load_recordings
from socratic_distill.evaluation.intervals import means
from socratic_distill.evaluation.measures import parts_of

ASKS = ("It is 11.", "What do you get for 5 and 5?", "So it is 12.")
TELLS = ("It is 11.", "No, it is 12.", "It is 12.")
GUESSES = ("It is 11.", "Look again.", "It is 13.")


def evaluation_of(*dialogues):
    scored = tuple(scored_dialogue(dialogue) for dialogue in dialogues)
    return Evaluation("tutor", "base", means(parts_of(scored)), scored, (), lambda tokens: [])


def talks(*kinds):
    return evaluation_of(*(talk(*texts, seed=f"s{number}") for number, texts in enumerate(kinds)))


@pytest.fixture
def tutors():
    return {"plain": talks(TELLS, TELLS, GUESSES, GUESSES), "tutor": talks(ASKS, ASKS, ASKS, GUESSES)}


def row_of(number, dialogue=0):
    return {
        "qid": number,
        "question": f"Tom has {number} apples and gets 25 more. How many are there?",
        "ground_truth": f"{number} + 25 = {number + 25}\n {number + 25}",
        "student_incorrect_solution": f"{number} + 25 = 12",
        "student_profile": "Tom is a 7th grade student.",
        "conversation": f"Teacher: (probing)What is {dialogue + 2} + 5?|EOM|Tom: It is 7.",
    }


@pytest.fixture
def published(tmp_path):
    """Ten problems with two dialogues each, in MathDial's format."""
    file = tmp_path / "mathdial.jsonl"
    write_rows(file, *(row_of(number, dialogue) for dialogue in range(2) for number in range(30, 40)))
    return file


def test_problems_of_training_and_measuring_differ(published, tmp_path):
    data = split_by_question(published, tmp_path / "runs")
    trained = [row["question"] for row in read_rows(data.problems, without=())]
    heldout = [seed.question for seed in data.heldout]
    assert len(heldout) == len(set(heldout)) == 2, "a fifth of the problems, each once"
    assert not set(heldout) & set(trained)
    assert len(trained) == 16, "and all dialogues on the others are trained on"
    assert len(load_recordings([str(data.dialogues)])) == 16


def test_split_depends_on_questions_alone(published, tmp_path):
    heldout = [seed.question for seed in split_by_question(published, tmp_path / "a").heldout]
    published.write_text("\n".join(reversed(published.read_text().splitlines())))
    assert [seed.question for seed in split_by_question(published, tmp_path / "b").heldout] == heldout


def test_row_that_is_no_mathdial_is_refused(published, tmp_path):
    lines = published.read_text().splitlines()
    published.write_text("\n".join([*lines[:2], '{"question": "Why?"}', *lines[2:]]))
    with pytest.raises(SeedError, match="line 3"):
        split_by_question(published, tmp_path / "runs")


def test_too_few_problems_are_refused(tmp_path):
    write_rows(tmp_path / "few.jsonl", *(row_of(number) for number in range(4)))
    with pytest.raises(SystemExit, match="has 4 problems; expected at least 5"):
        split_by_question(tmp_path / "few.jsonl", tmp_path / "runs")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(SeedError, match=r"gone\.jsonl"):
        split_by_question(tmp_path / "gone.jsonl", tmp_path / "runs")


def test_bundled_problems_are_enough_to_measure_on():
    data, asked = bundled(), parse_arguments([]).heldout
    trained = {row["question"] for row in read_rows(data.problems, without=())}
    assert len(data.heldout) >= asked >= 60
    assert not trained & {seed.question for seed in data.heldout}
    assert len({tag for seed in data.heldout[:60] for tag in seed.tags[:1]}) > 5, "the first ones are of many kinds"


def test_teacher_learns_under_the_prompt_that_it_teaches_with(tmp_path):
    teacher = teacher_config("tiny", bundled(), tmp_path / "teacher", 2)
    weights = tmp_path / "local" / "sampler_weights" / "final"
    tutor = tutor_config("tiny", bundled(), tmp_path / "tutor", 2, str(weights))
    assert teacher.tutor_prompt_file is not None
    prompt = Path(teacher.tutor_prompt_file).read_text()
    assert "Socratic" in prompt
    assert tutor.teacher_prompt_file is None and tutor.tutor_prompt_file is None, "both are the packaged ones"
    assert tutor.teacher_checkpoint_path is not None


def test_table_has_the_tutors_side_by_side(tutors):
    printed = io.StringIO()
    Console(width=100, file=printed).print(table(tutors))
    assert "4 held-out problems" in printed.getvalue()
    lines = {line.strip().split("  ")[0]: line for line in printed.getvalue().splitlines()}
    for row, cells in {
        "good first replies": ("0% [0%, 0%]", "75% ["),
        "commonest first reply": ("50%", "75%"),
        "first_reply/tells": ("50% [", "0% [0%, 0%]"),
        "solved/untold": ("0% [0%, 0%]", "75% ["),
        "teacher_kl": ("0.50 [0.50, 0.50]", "0.50 [0.50, 0.50]"),
    }.items():
        places = [lines[row].find(cell) for cell in cells]
        assert -1 < places[0] < places[1] or len(set(cells)) == 1, (row, lines[row])


def test_differences_are_paired_by_problem(tutors):
    leaks = differences(tutors["plain"], tutors["tutor"])["leaks"]
    assert (leaks.value, leaks.count) == (-0.5, 4)
    same = differences(tutors["plain"], tutors["plain"])
    assert all((measure.value, measure.low, measure.high) == (0, 0, 0) for measure in same.values())


def test_differences_are_on_problems_that_both_have():
    shorter = evaluation_of(talk(*TELLS, seed="s0"), talk(*TELLS, seed="s1", ending="failed"))
    (good, *_) = differences(shorter, talks(ASKS, ASKS, ASKS)).values()
    assert (good.value, good.count) == (1.0, 1)


def test_dialogue_is_shown_in_full(tutors):
    lines = shown_dialogue(tutors["tutor"].dialogues[0].dialogue)
    assert lines[0] == "problem: What is 5 + 7?"
    assert [line.strip() for line in lines[1:]] == [
        f"{who}: {text}" for who, text in zip(("student", "tutor", "student"), ASKS, strict=True)
    ]


def test_rows_of_the_split_are_the_files_own(published, tmp_path):
    data = split_by_question(published, tmp_path / "runs")
    kept = set(published.read_text().splitlines())
    written = [*data.problems.read_text().splitlines(), *(tmp_path / "runs" / "heldout.jsonl").read_text().splitlines()]
    assert set(written) <= kept and all(json.loads(line) for line in written)
