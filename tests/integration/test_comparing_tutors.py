"""Tutors side by side: on the fake, on the tiny model, and from the command line."""

import io
import json
import re

import pytest
from rich.console import Console
from tests.support.on_the_fake import strict_run

from socratic_distill import (
    CheckpointNotFound,
    ConfigError,
    Evaluation,
    build_socratic_config,
    compare,
    comparison_table,
    evaluate,
    load_checkpoints,
    load_seeds,
    open_service,
    train,
)
from socratic_distill.cli import main
from socratic_distill.local.tiny import HELDOUT_SEEDS, TRAIN_SEEDS
from socratic_distill.service.connect import Service
from socratic_distill.testing import FakeRestClient, FakeServiceClient, ToyTokenizer


def shown(table) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    return console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def kl_of(evaluation: Evaluation) -> float:
    value = evaluation.value("teacher_kl")
    assert value is not None
    return value


@pytest.fixture
def server(monkeypatch):
    """The fake, opened wherever a config is."""
    fake = FakeServiceClient()
    monkeypatch.setattr(
        "socratic_distill.service.connect.open_service", lambda config: Service(fake, FakeRestClient(fake))
    )
    return fake


def test_each_tutor_is_what_evaluate_measures_of_it_alone(make_config, tmp_path, server):
    config = make_config()
    strict_run(config, server)
    final = [one.sampler_path for one in load_checkpoints(tmp_path / "run") if one.sampler_path][-1] or ""
    found = compare(config, ["base", "final", "2", "pupil"])
    assert found["base"].measures == evaluate(config, "base").measures
    assert found["final"].measures == evaluate(config, final).measures
    assert found["pupil"].measures == evaluate(config, "pupil").measures
    assert found["2"].tutor.endswith("/sampler_weights/000002")
    difference = found.differences("base", "final")["teacher_kl"]
    assert difference.value == pytest.approx(kl_of(found["final"]) - kl_of(found["base"])) and difference.seeds == 6
    kl = [kl_of(found[name]) for name in ("base", "2", "final")]
    assert kl[0] > kl[1] > kl[2], "the fake's tutor learns"


def test_teacher_speaks_under_its_own_prompt_and_has_no_kl_to_itself(make_config, tmp_path, server):
    prompt = tmp_path / "teacher.txt"
    prompt.write_text("The answer to {question} is {expected_answer}. Ask!")
    found = compare(make_config(teacher_prompt_file=prompt), ["base", "teacher"])
    assert abs(kl_of(found["teacher"])) < 1e-6 < kl_of(found["base"])
    context = ToyTokenizer().decode(list(found["teacher"].dialogues[0].dialogue.tutor_turns[0].prompt))
    assert "The answer to Tom has 0 apples and gets 30 more. How many? is 30. Ask!" in context


def test_one_of_several_teachers_is_named(make_config, server):
    config = make_config(teachers=[{"name": "first"}, {"name": "second"}], teacher_average="mixture")
    assert list(compare(config, ["teacher:second"])) == ["teacher:second"]
    with pytest.raises(ConfigError, match="none of the config's teachers; expected 'teacher:first', 'teacher:second'"):
        compare(config, ["teacher"])


@pytest.mark.parametrize("tutors", [[], ["base", "base"], "base"])
def test_tutors_that_are_no_list_of_different_names_are_refused(make_config, tutors):
    with pytest.raises(ConfigError, match="expected one or more names, each once"):
        compare(make_config(), tutors)


@pytest.mark.parametrize("tutor", ["final", "7"])
def test_missing_weights_are_refused_and_the_existing_ones_named(make_config, server, tutor):
    with pytest.raises(
        CheckpointNotFound, match=f"no sampler weights for the tutor '{tutor}'; no tutor is saved there yet"
    ):
        compare(make_config(), [tutor])
    strict_run(make_config(max_steps=2), server)
    if tutor != "final":
        with pytest.raises(CheckpointNotFound, match=r"there are those before the batches 0, 1, 2$"):
            compare(make_config(), [tutor])


def test_judge_that_answers_nonsense_is_reported_as_nonsense(make_config, server):
    found = compare(make_config(judge={"model_name": "babbler", "max_tokens": 8}), ["base"])["base"]
    assert found.measures["leaks/judge"].count == 0 and found.value("leaks/judge") is None
    assert found.value("leaks/judge_unparsed") == 1.0 and found.measures["leaks/judge_unparsed"].count == 6
    assert all(one is not None and one.leaks is None and one.reply for one in found.verdicts)
    assert "leaks/judge_unparsed ↓ 100%" in " ".join(shown(comparison_table({"base": found.measures})).split())


def test_solve_rates_are_measured_where_samples_are_asked_for(make_config, server):
    assert "solve_rate/delta" not in evaluate(make_config(), "base").measures
    found = evaluate(make_config(eval_solve_samples=3), "base").measures
    assert all(found[f"solve_rate/{when}"].count == 6 for when in ("before", "after", "delta"))


def test_command_prints_the_table_and_writes_what_was_said(make_config, tmp_path, server, seeds_file, capsys):
    strict_run(make_config(), server)
    out = tmp_path / "found.json"
    arguments = ["--tutor", "base", "--tutor", "final", "--seeds", str(seeds_file), "--limit", "4", "--out", str(out)]
    assert main(["evaluate", str(tmp_path / "run"), *arguments, "--dialogues", "2", "--solve-samples", "2"]) == 0
    printed, progress = capsys.readouterr()
    assert re.search(r"^\d\d:\d\d:\d\d final: 8 of 8 dialogues$", progress, re.MULTILINE)
    assert "reply_tokens" not in printed, "--all is not given"
    assert "base" in printed and "final" in printed and "teacher_kl ↓" in printed and "solve_rate/delta" in printed
    assert "final minus base" in printed and "Rough: an interval over fewer than 20 seeds" in printed
    written = json.loads(out.read_text())
    assert list(written) == ["base", "final"] and written["final"]["seeds"] == 4
    assert len(written["base"]["dialogues"]) == 8 and written["base"]["dialogues"][0]["turns"][1]["pieces"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--limit", "3"], "--limit 3 has no --seeds to apply to"),
        (["--out", "."], "is a directory; expected the file to write"),
        (["--dialogues", "0"], "eval_dialogues_per_seed=0"),
        (["--seeds", "missing.jsonl"], "missing.jsonl"),
        (["--tutor", "99", "--allow-files"], "holds no sampler weights for the tutor '99'"),
    ],
)
def test_command_refuses_what_cannot_be_meant(make_config, tmp_path, server, capsys, arguments, message):
    strict_run(make_config(max_steps=1), server)
    assert main(["evaluate", str(tmp_path / "run"), *arguments]) == 1
    captured = capsys.readouterr()
    assert message in captured.err and "Traceback" not in captured.err


@pytest.mark.slow
def test_base_teacher_and_final_tutor_of_the_tiny_model_in_one_table(tmp_path):
    pytest.importorskip("torch")
    config = build_socratic_config(
        tutor_model_name="tiny", student_model_name="tiny", teacher_model_name="tiny", learning_rate=3e-3,
        max_tokens=30, log_path=tmp_path / "run", base_url="local", seeds_file=TRAIN_SEEDS, groups_per_batch=4,
        num_envs=4, max_turns=1, max_steps=4, display="off", judge={"model_name": "tiny", "max_tokens": 20},
    )  # fmt: skip
    service = open_service(config)
    clients = {"service_client": service.client, "rest_client": service.rest}
    train(config, **clients)
    found = compare(config, ["base", "teacher", "final"], seeds=load_seeds(HELDOUT_SEEDS, 24), **clients)
    tells, kl = (
        [found[name].value(measure) or 0.0 for name in found] for measure in ("first_reply/tells", "teacher_kl")
    )
    assert tells[0] > tells[2] > tells[1] - 0.1 and kl[0] > kl[2] > kl[1]
    assert abs(kl[1]) < 1e-5, "the teacher is at no distance from itself"
    assert found["teacher"].value("leaks/judge_unparsed") == 1.0, "the tiny model is no judge"
    table = shown(comparison_table({name: one.measures for name, one in found.items()}, every=True))
    assert all(name in table for name in ("base", "teacher", "final", "mathdial/success@1-7", "leaks/judge_unparsed"))


def test_evaluate_after_a_run_measures_the_run_s_tutor_and_says_which(make_config, tmp_path, server, capsys):
    config = make_config(display="plain")
    result = train(config, service_client=server)
    capsys.readouterr()
    found = evaluate(config)
    assert (found.name, found.tutor, found.batch) == ("final", result.sampler_path, result.steps)
    assert f"final: the tutor of {tmp_path / 'run'} at its end, {result.sampler_path}" in capsys.readouterr().err
    assert found.row()["batch"] == result.steps and found.measures != evaluate(config, "base").measures
    earlier = evaluate(config, "2")
    assert earlier.batch == 2 and "before batch 2, " in capsys.readouterr().err
    assert evaluate(make_config(display="off")).tutor == found.tutor and not capsys.readouterr().err


def test_evaluate_without_a_saved_tutor_is_an_error_that_names_base(make_config, server, capsys):
    with pytest.raises(CheckpointNotFound, match=r"no tutor is saved there yet\. Train first, or name 'base'"):
        evaluate(make_config())
    base = evaluate(make_config(), "base")
    assert base.batch is None and base.tutor == make_config().tutor_model_name and not capsys.readouterr().err


def test_weights_that_the_service_deleted_are_an_error_with_advice(make_config, server):
    config = make_config()
    path = train(config, service_client=server).sampler_path
    FakeRestClient(server).delete_checkpoint_from_tinker_path(path or "").result()
    with pytest.raises(CheckpointNotFound, match=r"'final' is gone from the service: .* or 'base' for the untrained"):
        evaluate(config)
