"""A trainer that is killed, and a server that goes away under a trainer."""

import pytest
from tests.selfhosted.runs import Trainer, assert_alike, finished_rows
from tests.support.run_directories import states_by_batch

pytestmark = pytest.mark.selfhosted


@pytest.mark.scenario("trainer killed")
def test_a_killed_run_that_resumes_equals_one_that_was_left_alone(fields, host, whole, tmp_path):
    log_path = tmp_path / "run"
    trainer = Trainer(fields, log_path)
    trainer.wait_until(lambda: len(finished_rows(log_path)) >= 3 and bool(states_by_batch(log_path)), "a third row")
    trainer.kill()
    assert len(finished_rows(log_path)) < 6
    code, output = Trainer(fields, log_path).end()
    assert code == 0, output
    assert_alike(log_path, whole, host.server.leeway)


@pytest.mark.scenario("server killed")
def test_a_run_goes_on_when_its_server_is_killed_and_started_again(fields, host, whole, tmp_path):
    log_path = tmp_path / "run"
    # A request that TuFT was carrying out when it was killed is never answered.
    trainer = Trainer({**fields, "answer_timeout_seconds": 60.0}, log_path)
    trainer.wait_until(lambda: len(finished_rows(log_path)) >= 3 and bool(states_by_batch(log_path)), "a third row")
    host.kill()
    host.start()
    code, output = trainer.end()
    assert code == 0, output
    assert_alike(log_path, whole, host.server.leeway)
    assert finished_rows(log_path)[-1]["recovery/count"] >= 1
