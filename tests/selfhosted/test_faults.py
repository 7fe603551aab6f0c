"""A run through a proxy that delays, refuses, loses and cuts what it passes on equals a run left alone."""

import time

import pytest
from tests.selfhosted.hosting import SKYRL, TUFT, only
from tests.selfhosted.proxy import Faults, Proxy
from tests.selfhosted.runs import Trainer, assert_alike, finished_rows, know_server_as

pytestmark = pytest.mark.selfhosted

OUTAGE_SECONDS = 20.0
PLANS = {
    "delays": Faults(delay=0.3),
    "500 before and after": Faults(seed=1, refused=0.05, lost=0.05),
    "cut connections": Faults(seed=2, cut=0.1),
    "bursts of 429": Faults(bursts=(40, 8)),
}
# SkyRL, where a run takes longest, has all faults in one. It answers a save that the SDK asks for again, since its
# answer was lost, with 409, so that the SDK goes on asking for five minutes.
SAVES = ("/save_weights", "/save_weights_for_sampler")
ALL_IN_ONE = Faults(seed=3, delay=0.1, refused=0.03, lost=0.03, cut=0.06, bursts=(80, 8), kept=SAVES)


def check_run_through(faults, fields, host, whole, log_path):
    """Trains through a proxy with planned faults; the run equals the one that was left alone."""
    with Proxy(host.url, faults) as proxy:
        # To try the server again takes a hundred requests, and minutes where a tenth of them fail.
        know_server_as(proxy.url, whole, log_path)
        code, output = Trainer({**fields, "base_url": proxy.url}, log_path).end()
    assert code == 0, f"{output}\n{proxy.done}"
    assert proxy.done or faults == PLANS["delays"], "nothing happened"
    assert_alike(log_path, whole, host.server.leeway)


@only(TUFT)
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.scenario(name)) for name in PLANS])
def test_a_disturbed_run_equals_one_that_was_left_alone(fields, host, whole, tmp_path, name):
    check_run_through(PLANS[name], fields, host, whole, tmp_path / "run")


@only(SKYRL)
@pytest.mark.scenario("delays, 500, cuts and 429 in one")
def test_a_run_through_all_faults_equals_one_left_alone(fields, host, whole, tmp_path):
    check_run_through(ALL_IN_ONE, fields, host, whole, tmp_path / "run")


# On SkyRL it may take five minutes more, for the same reason.
@only(TUFT)
@pytest.mark.scenario("outage of 20 s")
def test_a_run_outlives_an_outage(fields, host, whole, tmp_path):
    log_path = tmp_path / "run"
    with Proxy(host.url, Faults()) as proxy:
        trainer = Trainer({**fields, "base_url": proxy.url}, log_path)
        trainer.wait_until(lambda: len(finished_rows(log_path)) >= 2, "a second row")
        with proxy.outage():
            time.sleep(OUTAGE_SECONDS)
        code, output = trainer.end()
    assert code == 0, output
    assert_alike(log_path, whole, host.server.leeway)
