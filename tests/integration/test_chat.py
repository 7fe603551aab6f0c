import pytest
from tests.support.rows import read_rows

from socratic_distill import train
from socratic_distill.cli import main
from socratic_distill.cli.conversation import chat
from socratic_distill.testing import FakeServiceClient


def chat_with(log_path, lines, service, **options):
    said, pending = [], [*lines]
    options = {"allow_files": True, **options}  # the seeds file is beside the run
    chat(log_path, service_client=service, read=lambda _: pending.pop(0), write=said.append, **options)
    return said


def test_chat_talks_to_the_newest_weights_until_an_empty_line(make_config, tmp_path):
    service = FakeServiceClient()
    train(make_config(), service_client=service)
    before = len(service.calls)
    said = chat_with(tmp_path / "run", ["It is 3.", "Why?", ""], service)
    assert said[0].startswith("Problem: Tom has")
    assert [line.startswith("tutor> ") for line in said[1:]] == [True, True]
    calls = service.calls[before:]
    opened = {call.arguments["model_path"] for call in calls if call.call == "create_sampling_client"}
    assert len(opened) == 1 and opened.pop().endswith("/sampler_weights/final")
    assert chat_with(tmp_path / "run", ["It is 3.", "Why?", ""], service) == said, "the same talk repeats"


def test_chat_takes_a_question_and_leaves_the_run_as_it_was(make_config, tmp_path):
    service = FakeServiceClient()
    train(make_config(), service_client=service)
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    with (tmp_path / "run" / "checkpoints.jsonl").open("a") as journal:
        journal.write('{"half": ')
    assert chat_with(tmp_path / "run", [""], service, question="What is 1 + 1?")[0].startswith(
        "Problem: What is 1 + 1?"
    )
    assert (tmp_path / "run" / "checkpoints.jsonl").read_text().endswith('{"half": ')
    assert read_rows(tmp_path / "run" / "metrics.jsonl") == rows


def test_command_prints_one_message_and_exits_1_where_there_is_no_run(tmp_path, capsys):
    assert main(["chat", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ConfigError: ") and "is empty; expected the directory of a run" in error
    assert error.count("\n") == 2


def test_command_without_arguments_shows_its_usage(capsys):
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert "usage: socratic-distill" in capsys.readouterr().err
