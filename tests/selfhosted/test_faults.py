"""A run through a proxy that delays, refuses, loses and cuts what it passes on equals a run left alone."""

import time

import pytest
from tests.selfhosted.hosting import SKYRL, TUFT
from tests.selfhosted.proxy import Faults, Proxy
from tests.selfhosted.runs import Trainer, assert_alike, finished_rows, know_server_as

pytestmark = pytest.mark.selfhosted

OUTAGE_SECONDS = 20.0
# SkyRL, where a run takes longest, has all faults in one. It answers a save that the SDK asks for again, since its
# answer was lost, with 409, so that the SDK goes on asking for five minutes.
SAVES = ("/save_weights", "/save_weights_for_sampler")
PLANS = {
    SKYRL.name: {
        "delays, 500, cuts and 429 in one": Faults(
            seed=3, delay=0.1, refused=0.03, lost=0.03, cut=0.06, bursts=(80, 8), kept=SAVES
        ),
    },
    TUFT.name: {
        "delays": Faults(delay=0.3),
        "500 before and after": Faults(seed=1, refused=0.05, lost=0.05),
        "cut connections": Faults(seed=2, cut=0.1),
        "bursts of 429": Faults(bursts=(40, 8)),
    },
}


@pytest.mark.parametrize(
    ("host", "name"),
    [pytest.param(host, name, marks=pytest.mark.scenario(name)) for host, plans in PLANS.items() for name in plans],
    indirect=["host"],
)
def test_a_disturbed_run_equals_one_that_was_left_alone(fields, host, whole, tmp_path, name):
    with Proxy(host.url, PLANS[host.server.name][name]) as proxy:
        # To try the server again takes a hundred requests, and minutes where a tenth of them fail.
        know_server_as(proxy.url, whole, tmp_path / "run")
        code, output = Trainer({**fields, "base_url": proxy.url}, tmp_path / "run").end()
    assert code == 0, f"{output}\n{proxy.done}"
    assert name == "delays" or proxy.done, "nothing happened"
    assert_alike(tmp_path / "run", whole, host.server.leeway)


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
