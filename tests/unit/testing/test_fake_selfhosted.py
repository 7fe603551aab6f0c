"""The fake of a self-hosted server: it differs as the real one does, and runs on it know how to take that."""

import asyncio
import logging

import pytest
from tests.support.differences import DIFFERENCES
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import read_rows

from socratic_distill import CheckpointManager, CheckpointNotFound, ModelMismatch, UnsupportedFeature, load_checkpoints
from socratic_distill.evaluation.stored import load_evaluations
from socratic_distill.run.journal import Journal
from socratic_distill.run.pruning import delete, find_surplus
from socratic_distill.service.paths import full_path
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault
from socratic_distill.training.evaluations import Evaluations

URL = "http://server.invalid:8104"
NAMES = ("tutor_model_name", "student_model_name", "teacher_model_name")
LACKING = ("forward_kl", "reverse_kl", "jensen_shannon", "monte_carlo_kl")


@pytest.fixture
def config_of(make_config):
    """A config on the server's one model."""
    return lambda **changes: make_config(**dict.fromkeys(NAMES, "only"), base_url=URL, **changes)


def skyrl(**options):
    return FakeServiceClient(server="skyrl", models=["only"], **options)


class OneSet(FakeServiceClient):
    """Samples from the newest weights, whichever are asked for."""

    def create_sampling_client(self, model_path=None, base_model=None, *options, **more):
        newest = self.checkpoints.all()[-1].path if model_path else None
        return super().create_sampling_client(newest, base_model, *options, **more)


def assert_near(log_path, other):
    """The same figures but for rounding: the server divides what was multiplied before."""
    for ours, theirs in zip(figures(log_path), figures(other), strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert value == (
                pytest.approx(theirs[key], rel=1e-4, abs=1e-6) if isinstance(value, float) else theirs[key]
            )


def figures(log_path):
    """Rows of the metrics, but for the service's own figures and the path of time."""
    return [
        {key: value for key, value in row.items() if not key.startswith(("service/", "recovery/"))}
        for row in read_rows(log_path / "metrics.jsonl")
    ]


@pytest.mark.parametrize("check", DIFFERENCES, ids=lambda check: check.__name__)
async def test_difference(check):
    service = skyrl()
    await check(service, FakeRestClient(service), "only")


def test_a_run_does_the_same_as_on_the_hosted_service(config_of, tmp_path):
    train_on_fake(skyrl(), config_of(log_path=tmp_path / "self"))
    train_on_fake(FakeServiceClient(models=["only"]), config_of(log_path=tmp_path / "hosted"))
    assert_near(tmp_path / "self", tmp_path / "hosted")


def test_what_the_server_ignores_is_asked_for_once(config_of):
    service = skyrl()
    train_on_fake(service, config_of())
    missed = [one for one in service.calls if one.error and "prompt_logprobs_last_n" in one.error]
    asked = [one for one in service.calls if one.arguments.get("prompt_logprobs") and one not in missed]
    scored = [one for one in asked if one.arguments["prompt_tokens"] > 3]  # those of the handshake are shorter
    assert (len(missed), len(scored)) == (1, 6 * 6)


def test_a_run_resumes_though_its_states_do_not_say_what_they_are(config_of, tmp_path):
    service = skyrl()
    train_on_fake(service, config_of(log_path=tmp_path / "run", max_steps=3))
    train_on_fake(service, config_of(log_path=tmp_path / "run"))
    train_on_fake(skyrl(), config_of(log_path=tmp_path / "whole"))
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")


def test_a_state_of_another_rank_is_refused_though_the_client_hides_it(config_of, tmp_path):
    service = skyrl()
    state = train_on_fake(service, config_of(log_path=tmp_path / "first", max_steps=1, lora_rank=8)).state_path
    trained = service.count("forward_backward")
    with pytest.raises(ModelMismatch, match="rank 8"):
        train_on_fake(service, config_of(load_checkpoint_path=state, lora_rank=4))
    assert service.count("forward_backward") == trained


def test_two_parts_of_sampler_weights_are_told_from_a_state(config_of, tmp_path):
    service = skyrl()
    path = train_on_fake(service, config_of(log_path=tmp_path / "first", max_steps=3)).state_path.replace(
        "/weights/final", "/000001"
    )
    with pytest.raises(CheckpointNotFound, match=r"There are sampler weights .*/sampler_weights/000001"):
        train_on_fake(service, config_of(load_checkpoint_path=path))


def test_no_end_of_a_save_is_recorded_that_the_server_does_not_know(config_of, tmp_path):
    service = skyrl()
    train_on_fake(service, config_of(periodic_ttl_seconds=3600))
    assert {record.expires_at for record in load_checkpoints(tmp_path / "run")} == {None}
    assert {header.expires for header in service.checkpoints.all()} == {None}


def test_what_the_journal_holds_is_not_recorded_again(config_of, tmp_path):
    service = skyrl()
    train_on_fake(service, config_of())
    assert CheckpointManager(tmp_path / "run").rebuild(FakeRestClient(service)) == 0
    (tmp_path / "run" / "checkpoints.jsonl").unlink()
    assert CheckpointManager(tmp_path / "run").rebuild(FakeRestClient(service)) == len(service.checkpoints.all()) - 2


def test_checkpoints_of_such_a_run_are_pruned(config_of, tmp_path):
    service = skyrl()
    train_on_fake(service, config_of())
    journal = CheckpointManager(tmp_path / "run")
    before = service.count("delete_checkpoint_from_tinker_path")
    surplus = asyncio.run(find_surplus(Journal.read(journal.path), FakeRestClient(service)))
    asyncio.run(delete(journal, FakeRestClient(service), surplus))
    left = [header.path for header in service.checkpoints.all()]
    assert surplus and not {full_path(one.path) for one in surplus}.intersection(left)
    assert service.count("delete_checkpoint_from_tinker_path") - before == len(surplus)


@pytest.mark.parametrize("kind", LACKING)
def test_an_objective_the_server_cannot_serve_is_refused_before_training(config_of, tmp_path, kind):
    service = skyrl()
    with pytest.raises(UnsupportedFeature, match="work there: 'sampled_reverse_kl'"):
        train_on_fake(service, config_of(objective={"kind": kind}))
    asked = [one.arguments["prompt_tokens"] for one in service.calls if one.call == "sample"]
    assert max(asked) <= 3, "no dialogue was begun"
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"max_staleness": 1}, "max_staleness=1"), ({"teacher_lag_steps": 2}, "a teacher that lags 2 steps")],
)
@pytest.mark.parametrize("make_service", [skyrl, OneSet])
def test_what_samples_from_older_weights_is_refused(config_of, make_service, changes, named):
    service = make_service()
    steps = []
    for _ in range(2):
        with pytest.raises(UnsupportedFeature, match=f"^{named}: .*features.json"):
            train_on_fake(service, config_of(**changes))
        steps.append(service.count("optim_step"))
    assert steps[0] == steps[1], "the server is tried once"


def test_a_server_that_keeps_older_weights_apart_serves_them(config_of):
    service = FakeServiceClient(models=["only"])
    assert train_on_fake(service, config_of(max_staleness=1)).status == "completed"


def test_evaluations_hold_training_up_rather_than_put_it_back(config_of, tmp_path, caplog, monkeypatch):
    measure = Evaluations._measure

    async def measure_late(self, service, batch, sampler_path):
        await asyncio.sleep(0.05)  # several steps
        return await measure(self, service, batch, sampler_path)

    monkeypatch.setattr(Evaluations, "_measure", measure_late)
    held_out = {"eval_seeds": 2, "groups_per_batch": 2}
    with caplog.at_level(logging.WARNING, "socratic_distill"):
        train_on_fake(skyrl(), config_of(log_path=tmp_path / "self", eval_every=2, **held_out))
    assert "each evaluation holds the training up" in caplog.text
    train_on_fake(FakeServiceClient(models=["only"]), config_of(log_path=tmp_path / "hosted", eval_every=2, **held_out))
    assert_near(tmp_path / "self", tmp_path / "hosted")
    for batch in (0, 2, 4, 6):
        ours, theirs = (load_evaluations(tmp_path / one)[batch // 2] for one in ("self", "hosted"))
        assert (ours.batch, set(ours.measures)) == (theirs.batch, set(theirs.measures))
        for name, seen in ours.measures.items():
            expected = theirs.measures[name].value
            assert seen.value == (None if expected is None else pytest.approx(expected, rel=1e-4, abs=1e-6)), name


def test_a_run_recovers_from_a_server_restart_while_dialogues_play(config_of, tmp_path):
    lost = Fault("sample", nth=60, times=3, error=ValueError("Error code: 400 - 'Model model_1 not loaded'"))
    train_on_fake(skyrl(faults=[lost]), config_of(log_path=tmp_path / "run"))
    train_on_fake(skyrl(), config_of(log_path=tmp_path / "whole"))
    assert figures(tmp_path / "run") == figures(tmp_path / "whole")
    assert read_rows(tmp_path / "run" / "metrics.jsonl")[-1]["recovery/count"] == 1
