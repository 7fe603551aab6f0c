"""Runs on problems of every kind of answer: they train, resume, are measured, reported, exported and learned from."""

import json
from pathlib import Path

import pytest
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import read_rows, rows_but_recoveries, write_rows

from socratic_distill import evaluate, export_messages, load_seeds, write_report
from socratic_distill.dialogues.answers.kinds import rule_of, solves
from socratic_distill.testing import FakeRestClient, FakeServiceClient

SCIENCE = [
    {"question": f"Which is a mammal, number {i}?", "choices": ["a shark", "a whale", "a frog"], "expected_answer": "B"}
    for i in range(4)
]
ALGEBRA = [{"question": f"Factor number {i}.", "expected_answer": f"$(x - 1)(x + {i + 2})$"} for i in range(4)]
WORDS = [{"question": f"How do plants {i} eat?", "expected_answer": ["by light", "photosynthesis"]} for i in range(4)]
ESSAYS = [{"question": f"Improve sentence {i} with me."} for i in range(4)]
KINDS = {"choice": SCIENCE, "expression": ALGEBRA, "text": WORDS, "none": ESSAYS}


@pytest.fixture
def config_of(make_config, tmp_path):
    def make(kind, **changes):
        seeds = write_rows(tmp_path / f"{kind}.jsonl", *KINDS[kind])
        return make_config(**({"seeds_file": seeds, "log_path": tmp_path / kind, "max_steps": 2} | changes))

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_keeps_for_each_turn_whether_it_gives_the_answer(config_of, kind):
    config = config_of(kind, rewards="not_telling")
    assert train_on_fake(FakeServiceClient(), config).status == "completed"
    seeds = {seed.id: seed for seed in load_seeds(config.seeds_file)}
    assert {seed.answer_kind for seed in seeds.values()} == {kind}
    rows = read_rows(Path(config.log_path) / "dialogues.jsonl")
    for row in rows:
        seed = seeds[row["seed"]]
        assert (row["answer_kind"], row.get("choices", [])) == (kind, list(seed.choices))
        for turn in row["turns"]:
            gives = solves if turn["role"] == "student" else rule_of(seed).reveals
            assert turn["gives_answer"] is gives(turn["text"], seed)
    page = write_report(config.log_path).read_text()
    assert "Traceback" not in page
    exported = export_messages(config.log_path, Path(config.log_path) / "talks.jsonl")
    assert exported.written == len([row for row in rows if len(row["turns"]) > 1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_equals_one_never_interrupted(config_of, tmp_path, kind):
    whole, parts, service = config_of(kind, log_path=tmp_path / "whole"), config_of(kind), FakeServiceClient()
    train_on_fake(FakeServiceClient(), whole)
    train_on_fake(service, parts.model_copy(update={"max_steps": 1}))
    train_on_fake(service, parts)
    assert rows_but_recoveries(parts.log_path) == rows_but_recoveries(whole.log_path)


@pytest.mark.parametrize("kind", KINDS)
def test_measures_count_what_can_be_known(config_of, kind):
    service = FakeServiceClient()
    measures = evaluate(config_of(kind), "base", service_client=service, rest_client=FakeRestClient(service)).measures
    assert bool(measures["solved"].count) is bool(measures["leaks"].count) is (kind != "none")
    assert measures["mathdial/success@1"].count == 0 < measures["asks"].count


@pytest.mark.parametrize("opening", ["mistake", "tutor"])
@pytest.mark.parametrize("kind", KINDS)
def test_its_dialogues_can_be_learned_from(config_of, tmp_path, kind, opening):
    config = config_of(kind, opening=opening)
    train_on_fake(FakeServiceClient(), config)
    recordings = {"files": [Path(config.log_path) / "dialogues.jsonl"]}
    learned = config_of(kind, recordings=recordings, log_path=tmp_path / "learned", opening=opening, max_steps=1)
    assert train_on_fake(FakeServiceClient(), learned).status == "completed"
    (row, *_) = read_rows(Path(learned.log_path) / "dialogues.jsonl")
    assert row["recording"] and row["answer_kind"] == kind
    assert row["turns"][0]["role"] == ("tutor" if opening == "tutor" else "student")
    talks = Path(config.log_path) / "talks.jsonl"
    export_messages(config.log_path, talks)
    roles = {json.loads(line)["messages"][0]["role"] for line in talks.read_text().splitlines()}
    assert roles == {"user"}, "templates begin with a user"


def test_the_options_of_a_choice_are_seen_by_everyone(config_of):
    (seed, *_) = load_seeds(config_of("choice").seeds_file)
    assert seed.problem == "Which is a mammal, number 0?\nA. a shark\nB. a whale\nC. a frog"
