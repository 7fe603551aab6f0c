"""Which share of the seeds' words a model does not know."""

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest

from socratic_distill import Seed, build_socratic_config, load_seeds, preflight
from socratic_distill.dialogues.speaker import Speaker
from socratic_distill.dialogues.students import SimulatedStudent, Students
from socratic_distill.dialogues.vocabulary import warn_of_unknown_words
from socratic_distill.local.tiny import HELDOUT_SEEDS


def renderer(name: str, known: set[str], unknown: int | None = 0) -> Any:
    """A renderer whose tokenizer knows some words; `unknown` is its token for all others."""
    codec = SimpleNamespace(encode_said=lambda text: [7 if text in known else unknown])
    return SimpleNamespace(model_name=name, tokenizer=SimpleNamespace(unk_token_id=unknown), codec=codec)


def cast_of(tutor: Any, student: Any, *teachers: Any) -> Any:
    members = {str(number): SimpleNamespace(renderer=teacher) for number, teacher in enumerate(teachers)}
    speaker = Speaker("student", None, student, max_tokens=5, temperature=1.0)
    students = Students.single(SimulatedStudent(speaker, cast(Any, None), ""))
    return SimpleNamespace(
        tutor=SimpleNamespace(renderer=tutor), students=students, teachers=SimpleNamespace(members=members)
    )


def warnings(caplog, cast: Any, *questions: str) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        warn_of_unknown_words(cast, [Seed(str(number), text, "1") for number, text in enumerate(questions)])
    return [record.getMessage() for record in caplog.records]


def test_the_model_that_knows_least_is_named_once_with_examples(caplog):
    small, none = renderer("small", {"a", "b", "c"}), renderer("none", set())
    (told,) = warnings(caplog, cast_of(small, small, small), "a b c Berlin")
    assert "the model 'small' does not know 25% of the words" in told and "such as 'Berlin':" in told
    (told,) = warnings(caplog, cast_of(small, none), "a b c Berlin")
    assert "'none' does not know 100%" in told and "'a', 'b', 'c':" in told


def test_few_unknown_words_or_an_open_vocabulary_are_no_warning(caplog):
    most = renderer("most", {"a"})
    assert not warnings(caplog, cast_of(most, most), *["a a a a a a a a a a"] * 10, "Berlin")
    pieces = renderer("pieces", set(), unknown=None)
    assert not warnings(caplog, cast_of(pieces, pieces), "Berlin")
    assert not warnings(caplog, cast_of(most, most)) and not warnings(caplog, cast_of(most, most), " ")


def test_thousands_of_seeds_are_judged_by_two_hundred(caplog):
    asked: list[str] = []
    side = renderer("small", set())
    side.codec.encode_said = lambda text: asked.append(text) or [0]
    warnings(caplog, cast_of(side, side), *map(str, range(5000)))
    assert len(asked) == 200


@pytest.mark.parametrize("is_foreign", [True, False])
def test_check_warns_of_tiny_on_foreign_seeds_only(is_foreign, tmp_path, caplog):
    pytest.importorskip("torch")
    own = tmp_path / "own.jsonl"
    own.write_text(
        '{"question": "A museum in Berlin sells 17 postcards and 25 posters. How many?", "expected_answer": 42}'
    )
    seeds = own if is_foreign else HELDOUT_SEEDS
    config = build_socratic_config(
        "tiny", "tiny", "tiny", 1e-3, 30, tmp_path / "run", base_url="local", seeds_file=seeds, num_envs=2
    )
    assert load_seeds(seeds) and not preflight(config).problems
    told = [record.getMessage() for record in caplog.records if "does not know" in record.getMessage()]
    assert len(told) == is_foreign and all("the model 'tiny' does not know" in message for message in told)
