"""All that keeps a run from starting is found at once, and nothing is paid for."""

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest
from tests.support.partial import Partial
from tests.support.strict import StrictRestClient, StrictServiceClient
from tinker.types import GetServerCapabilitiesResponse, SupportedModel

from socratic_distill import (
    CheckpointNotFound,
    ConfigError,
    FreshStart,
    LoadCheckpoint,
    ModelMismatch,
    ModelNotOffered,
    PreflightError,
    Resume,
    SeedError,
    ServiceError,
    StorageError,
    UnsupportedFeature,
    cli,
    evaluate,
    preflight,
    train,
)
from socratic_distill.in_process import ServiceFuture
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault

URL = "http://server.invalid:8104"
FREE = {
    "get_server_capabilities",
    "get_weights_info_by_tinker_path",
    "list_checkpoints",
    "create_sampling_client",
}
STATE = "tinker://fake-0001:train:0/weights/gone"


def clients(server: FakeServiceClient) -> dict[str, Any]:
    return {
        "service_client": StrictServiceClient(server),
        "rest_client": StrictRestClient(FakeRestClient(server)),
    }


class Lists(Partial):
    """A REST client whose service lists these models; all else is the fake's."""

    def __init__(self, server: FakeServiceClient, *models: SupportedModel) -> None:
        self._rest, self._models = FakeRestClient(server), models

    def get_server_capabilities(self):
        return ServiceFuture.of(GetServerCapabilitiesResponse(supported_models=list(self._models)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rest, name)


def listed(name: str, **facts: Any) -> SupportedModel:
    fields: dict[str, Any] = {"max_context_length": 32768} | facts
    return SupportedModel(model_name=name, **fields)


def test_a_run_in_order_has_no_problems_and_nothing_is_paid_or_left_behind(make_config, tmp_path):
    server, before = FakeServiceClient(), set(tmp_path.rglob("*"))
    seen = preflight(make_config(), **clients(server))
    assert seen.problems == () and seen.start == FreshStart()
    assert seen.models == {"tutor_model_name": "small", "student_model_name": "pupil", "teacher_model_name": "small"}
    seen.raise_problems()
    assert {one.call for one in server.calls} <= FREE and set(tmp_path.rglob("*")) == before


def test_five_planted_problems_are_listed_at_once_without_a_paid_call(make_config, tmp_path):
    (tmp_path / "file").write_text("")
    bad_seeds = tmp_path / "bad.jsonl"
    bad_seeds.write_text('{"question": "What is 1 + 1?", "expected_answer": true}\n')
    server = FakeServiceClient(models=["lab/small", "lab/pupil-2"], lacks=["topk_prompt_logprobs"])
    config = make_config(
        tutor_model_name="small", student_model_name="pupil", teacher_model_name="small", seeds_file=bad_seeds,
        log_path=tmp_path / "file" / "run", load_checkpoint_path=STATE, base_url=URL,
        objective={"kind": "forward_kl"},
    )  # fmt: skip
    seen = preflight(config, **clients(server))
    kinds = [type(one) for one in seen.problems]
    assert kinds == [StorageError, SeedError, ModelNotOffered, CheckpointNotFound, UnsupportedFeature]
    probes = [one for one in server.calls if one.call == "sample"]
    assert {one.call for one in server.calls} - {"sample"} <= FREE
    assert len(probes) == 1 and probes[0].outcome == "failed"
    assert seen.models["tutor_model_name"] == "lab/small"
    with pytest.raises(PreflightError) as told:
        seen.raise_problems()
    assert str(told.value).startswith("5 problems keep the run from starting:\n  1. StorageError: log_path=")
    for fix in (
        "Take a log_path that can be written", "expected_answer", "the nearest are 'lab/pupil-2'",
        "Check load_checkpoint_path", "Change the objective or the server",
    ):  # fmt: skip
        assert fix in str(told.value)


def test_train_lists_what_the_service_lacks_and_begins_no_run(make_config, tmp_path):
    server = FakeServiceClient(models=["small"], lacks=["topk_prompt_logprobs"])
    config = make_config(base_url=URL, objective={"kind": "forward_kl"}, load_checkpoint_path=STATE)
    with pytest.raises(PreflightError) as told:
        train(config, **clients(server))
    assert [type(one) for one in told.value.problems] == [ModelNotOffered, CheckpointNotFound, UnsupportedFeature]
    assert "config.json" not in {path.name for path in (tmp_path / "run").iterdir()}
    assert not {one.call for one in server.calls} - FREE - {"sample"}


def test_train_lists_local_problems_before_it_asks_the_service(make_config, tmp_path):
    server, missing = FakeServiceClient(), tmp_path / "other" / "checkpoints.jsonl"
    bad_seeds = tmp_path / "bad.jsonl"
    bad_seeds.write_text("{}\n")
    with pytest.raises(PreflightError) as told:
        train(make_config(seeds_file=bad_seeds, load_checkpoint_path=missing), **clients(server))
    assert [type(one) for one in told.value.problems] == [SeedError, CheckpointNotFound]
    assert server.calls == []


def test_one_problem_alone_keeps_its_type(make_config):
    with pytest.raises(ModelNotOffered, match=r"student_model_name='pupil'.*the nearest are 'small'"):
        train(make_config(), **clients(FakeServiceClient(models=["small"])))


def test_a_key_that_is_refused_is_one_problem(make_config):
    server = FakeServiceClient(faults=[Fault(call, 1, 401, 10**6) for call in FREE])
    seen = preflight(make_config(), **clients(server))
    assert [type(one) for one in seen.problems] == [ServiceError] and "TINKER_API_KEY" in str(seen.problems[0])
    with pytest.raises(ServiceError, match="TINKER_API_KEY"):
        train(make_config(), **clients(server))


def test_models_that_cannot_do_their_part_are_refused(make_config):
    server = FakeServiceClient()
    rest = Lists(server, listed("small", trainable=False, sampleable=True), listed("pupil", sampleable=False))
    seen = preflight(make_config(), service_client=server, rest_client=rest)
    assert [str(one).partition(";")[0] for one in seen.problems] == [
        "tutor_model_name='small' is on the service, but cannot be trained there",
        "student_model_name='pupil' is on the service, but cannot be sampled from there",
    ]
    seen = preflight(make_config(), service_client=server, rest_client=Lists(server, listed("small"), listed("pupil")))
    assert seen.problems == ()


def test_limits_beyond_a_context_are_refused_before_models_are_opened(make_config):
    server = FakeServiceClient()
    rest = Lists(server, listed("small"), listed("pupil", max_context_length=64))
    told = preflight(make_config(max_tokens=64, max_context_tokens=4096), service_client=server, rest_client=rest)
    messages = [str(one) for one in told.problems if isinstance(one, ConfigError)]
    assert messages[0].startswith("max_context_tokens=4096, but the context of student_model_name='pupil' holds 64")
    assert messages[1].startswith("max_tokens=64 leaves no room for a prompt in the context of student_model_name")


def test_prompts_that_do_not_fit_are_found(make_config):
    (problem,) = preflight(make_config(max_context_tokens=40), **clients(FakeServiceClient())).problems
    assert isinstance(problem, ConfigError) and "has no room" in str(problem)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"lora_rank": 8}, "rank 32"),
        ({"tutor_model_name": "pupil"}, "'small'"),
        ({"lora_targets": "mlp"}, r"on ['attention', 'mlp'], but the config says lora_targets=['mlp']"),
    ],
)
def test_a_state_of_another_model_or_rank_is_found_without_opening_it(make_config, changes, told):
    server = FakeServiceClient()
    state = server.create_lora_training_client("small", train_unembed=False).result().save_state("a").result().path
    seen = preflight(make_config(load_checkpoint_path=state), **clients(server))
    assert seen.problems == () and seen.start == LoadCheckpoint(state)
    before = len(server.calls)
    seen = preflight(make_config(load_checkpoint_path=state, teacher_model_name="pupil", **changes), **clients(server))
    assert [type(one) for one in seen.problems] == [ModelMismatch] and told in str(seen.problems[0])
    assert {one.call for one in server.calls[before:]} <= FREE


def test_weights_of_this_machine_are_found_to_be_no_start_on_a_service(make_config, tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    (problem,) = preflight(make_config(load_checkpoint_path=tmp_path), **clients(FakeServiceClient())).problems
    assert isinstance(problem, CheckpointNotFound) and "no call that uploads weights" in str(problem)


def test_sampler_weights_to_start_from_are_found_without_a_service(make_config):
    path = "tinker://run/sampler_weights/a"
    (problem,) = preflight(make_config(load_checkpoint_path=path), **clients(FakeServiceClient())).problems
    assert isinstance(problem, CheckpointNotFound) and "cannot be trained from" in str(problem)


def test_a_teachers_checkpoint_is_looked_at(make_config):
    server = FakeServiceClient()
    training = server.create_lora_training_client("other").result()
    state, sampler = training.save_state("a").result().path, training.save_weights_for_sampler("a").result().path
    for path, told in ((sampler, "'other'"), (state, f"expected {sampler}"), (sampler + "-2", "is gone")):
        (problem,) = preflight(make_config(teacher_checkpoint_path=path), **clients(server)).problems
        assert told in str(problem)
        with pytest.raises(type(problem), match="the teacher 'teacher' is to score with"):
            train(make_config(teacher_checkpoint_path=path), **clients(server))


def test_states_that_are_gone_are_passed_over_as_at_a_start(make_config):
    server, config = FakeServiceClient(), make_config(max_steps=4)
    train(config, **clients(server))
    longer = make_config(max_steps=8)
    start = preflight(longer, **clients(server)).start
    assert isinstance(start, Resume) and start.batch == 4
    FakeRestClient(server).delete_checkpoint_from_tinker_path(start.state_path).result()
    start = preflight(longer, **clients(server)).start
    assert isinstance(start, Resume) and start.batch == 2


def test_names_are_resolved_recorded_and_kept_when_the_run_resumes(make_config, tmp_path):
    names = {"tutor_model_name": "Small", "student_model_name": "pupil", "teacher_model_name": "LAB/small"}
    server = FakeServiceClient(models=["lab/small", "lab/pupil"])
    train(make_config(max_steps=2, **names), **clients(server))
    for name in ("config.json", "fingerprint.json"):
        stored = json.loads((tmp_path / "run" / name).read_text())
        assert [stored[field] for field in names] == ["lab/small", "lab/pupil", "lab/small"]
    (created,) = [one for one in server.calls if one.call == "create_lora_training_client"]
    assert created.arguments["base_model"] == "lab/small"

    server.models = ("lab/small", "lab/pupil", "new/small", "new/pupil")
    result = train(make_config(max_steps=4, **names), **clients(server))
    assert result.status == "completed" and result.steps == 4
    assert json.loads((tmp_path / "run" / "config.json").read_text())["student_model_name"] == "lab/pupil"


def test_names_of_a_run_need_no_service_to_be_understood_again(make_config):
    server = FakeServiceClient(models=["lab/small", "lab/pupil"])
    config = make_config(max_steps=2)
    train(config, **clients(server))
    assert train(config).status == "already_complete"


def test_model_that_the_service_gave_up_is_told_when_the_run_resumes(make_config):
    server = FakeServiceClient(models=["lab/small", "lab/pupil"])
    train(make_config(max_steps=2), **clients(server))
    server.models = ("lab/small", "new/pupil")
    with pytest.raises(ModelNotOffered, match="student_model_name='lab/pupil'"):
        train(make_config(max_steps=4), **clients(server))


def test_evaluation_takes_the_services_names_too(make_config):
    server = FakeServiceClient(models=["lab/small", "lab/pupil"])
    assert evaluate(make_config(), "base", **clients(server)).tutor == "lab/small"
    with pytest.raises(ModelNotOffered):
        evaluate(make_config(student_model_name="nobody"), "base", **clients(server))


@pytest.fixture
def script(tmp_path: Path):
    """Writes a script that trains on a fake, which tells its calls; gives the script's path."""

    def write(
        models: str,
        source: str = "socratic_distill",
        ending: str = "train(config, service_client=server, rest_client=FakeRestClient(server))",
    ):
        path = tmp_path / "script.py"
        path.write_text(
            textwrap.dedent(f"""\
            import atexit, sys
            from socratic_distill import build_socratic_config
            from {source} import train
            from socratic_distill.testing import FakeRestClient, FakeServiceClient

            server = FakeServiceClient(models={models})
            config = build_socratic_config(
                sys.argv[1], "pupil", "small", learning_rate=0.1, max_tokens=12, log_path={str(tmp_path / "run")!r},
            )
            if __name__ == "__main__":
                {ending}
                raise SystemExit("trained")
            """)
        )
        return str(path)

    return write


@pytest.mark.parametrize("source", ["socratic_distill", "socratic_distill.training.trainer"])
def test_check_runs_a_script_up_to_its_training(script, tmp_path, capsys, source):
    assert cli.main(["check", script('["small", "lab/pupil"]', source), "small"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "tutor_model_name: small",
        "student_model_name: lab/pupil",
        "teacher_model_name: small",
        "start: FreshStart",
        f"{tmp_path / 'run'}: OK, ready to start",
    ]
    assert not (tmp_path / "run").exists()


def test_check_tells_all_problems_and_exits_with_1(script, capsys):
    assert cli.main(["check", script('["small"]'), "tall"]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("PreflightError: 2 problems keep the run from starting:\n  1. ModelNotOffered: tutor")
    assert "Traceback" not in told.err and "nothing keeps" not in told.out


def test_check_of_a_script_that_does_not_train_says_what_it_expected(script, capsys):
    assert cli.main(["check", script("None", ending="pass"), "small"]) == 1
    assert "ended with exit code trained and called none of train" in capsys.readouterr().err


def test_check_leaves_the_package_as_it_was(script):
    import socratic_distill

    cli.main(["check", script('["small"]'), "small"])
    assert socratic_distill.train is train


def test_check_reads_a_config_file_or_a_run(make_config, tmp_path, monkeypatch, capsys):
    server = FakeServiceClient()
    train(make_config(max_steps=2), **clients(server))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TINKER_API_KEY", raising=False)
    for source in (tmp_path / "run", tmp_path / "run" / "config.json"):
        assert cli.main(["check", str(source), "--allow-files"]) == 1
        told = capsys.readouterr()
        assert told.out.endswith("start: Resume\n") and told.err.startswith("ConfigError: there is no key")


def test_check_of_a_run_that_was_moved_looks_where_it_is_now(make_config, tmp_path, monkeypatch, capsys):
    train(make_config(max_steps=2), **clients(FakeServiceClient()))
    (tmp_path / "run").rename(tmp_path / "moved")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("TINKER_API_KEY", raising=False)
    assert cli.main(["check", str(tmp_path / "moved")]) == 1
    assert capsys.readouterr().out.endswith("start: Resume\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("text", "told"), [("{", "it is not JSON"), ("[]", "is no mapping of fields")])
def test_check_refuses_what_is_no_config(tmp_path, capsys, text, told):
    path = tmp_path / "config.json"
    path.write_text(text)
    assert cli.main(["check", str(path)]) == 1
    assert told in capsys.readouterr().err
