"""Each server that the fake can play, with each objective: the same weights as on the hosted service, or a refusal."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.on_the_fake import train_on_fake
from tests.support.rows import read_rows, write_rows

from socratic_distill import SocraticError, UnsupportedFeature, UnsupportedServer, preflight
from socratic_distill.errors import ConfigError, TrainingError
from socratic_distill.service.claims import Claims
from socratic_distill.service.connect import Service
from socratic_distill.testing import FakeRestClient, FakeServiceClient, Fault
from socratic_distill.testing.servers import SERVERS
from socratic_distill.training.handshake import shake_hands
from socratic_distill.training.server_losses import loss_fact

URL = "http://server.invalid:8104"
RELEASED = [name for name in SERVERS if "-" in name]
MIXTURE = [{"objective": {"kind": "sampled_reverse_kl"}}, {"objective": {"kind": "forward_kl", "k": 4}}]
CUSTOM = "tests.support.torch_losses:forward"
OBJECTIVES = {
    "sampled_reverse_kl": {},
    "ppo": {"loss_fn": "ppo"},
    "cispo": {"loss_fn": "cispo"},
    "gspo": {"loss_fn": "gspo"},
    "dro": {"loss_fn": "dro"},
    "bounded": {"max_probability_change": 0.05, "num_substeps": 3},
    "few_forward_kl": {"objective": {"kind": "forward_kl", "k": 4}},
    "forward_kl": {"objective": {"kind": "forward_kl"}},
    "bucket": {"objective": {"kind": "forward_kl", "k": 4, "tail": "bucket"}},
    "reverse_kl": {"objective": {"kind": "reverse_kl", "k": 2}},
    "jensen_shannon": {"objective": {"kind": "jensen_shannon", "k": 2}},
    "monte_carlo_kl": {"objective": {"kind": "monte_carlo_kl", "k": 4}},
    "mixture": {"objective": {"kind": "mixture", "parts": MIXTURE}},
    "custom": {"objective": {"kind": "custom", "function": CUSTOM, "k": 4, "tokens": "teacher"}},
    "rewards": {"rewards": [{"kind": "not_telling"}], "reward_coef": 0.5},
    "supervised": {"recordings": {}},  # with a file of its own
    "substeps": {"num_substeps": 3},
}
# What trains; all other pairs are refused.
POLICY = {"sampled_reverse_kl", "ppo", "cispo", "substeps", "bounded", "rewards"}
TRAINS = {
    "skyrl": POLICY | {"gspo"},
    "tuft": POLICY | {"dro", "few_forward_kl", "bucket", "mixture", "custom", "supervised"},
    "hatchery": POLICY | {"gspo"},
    "baseten": POLICY | {"dro", "few_forward_kl", "forward_kl", "bucket", "mixture", "custom", "supervised"},
}


def weights_of(service, path):
    """Trained weights of a state, by row."""
    _, arrays = service.checkpoints.load(path, "weights")
    whole = np.zeros((int(arrays["rows"].max()) + 1, arrays["weights"].shape[1]))
    whole[arrays["rows"]] = arrays["weights"]
    return whole


@pytest.fixture
def config_of(make_config, tmp_path):
    """A config on a server; at temperature 0.9, since one of the servers is greedy at 1."""
    recorded = tmp_path / "recorded.jsonl"
    talk = [{"role": "user", "content": "17 + 25 is 32."}, {"role": "assistant", "content": "What is 7 + 5?"}]
    write_rows(recorded, *[{"messages": talk}] * 4)

    def make(name, **changes):
        if "recordings" in changes:
            changes["recordings"] = {"files": [recorded]}
        return make_config(
            **({"base_url": URL, "temperature": 0.9, "log_path": tmp_path / name, "max_steps": 3} | changes)
        )

    return make


def test_the_expected_table_has_each_server_that_may_train():
    assert set(TRAINS) == set(SERVERS) - set(RELEASED)


@pytest.mark.parametrize("server", TRAINS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_objective_trains_to_the_same_weights_or_is_refused(config_of, server, name):
    service, hosted = FakeServiceClient(server=server), FakeServiceClient()
    config = config_of(server, **OBJECTIVES[name])
    if name not in TRAINS[server]:
        with pytest.raises(UnsupportedFeature, match="work there: 'sampled_reverse_kl'"):
            train_on_fake(service, config)
        assert not (Path(config.log_path) / "metrics.jsonl").exists()
        replies = [one for one in service.calls if one.call == "sample" and one.arguments["prompt_tokens"] > 8]
        assert replies == [], "no dialogue was begun"
        return
    ours = train_on_fake(service, config)
    theirs = train_on_fake(hosted, config_of("hosted", base_url=None, **OBJECTIVES[name]))
    assert ours.state_path and theirs.state_path
    # dro's quadratic term is all rounding at context tokens, whose rows of the toy Adam moves nevertheless.
    rtol, atol = (0, 5e-3) if name == "dro" else (1e-4, 1e-6)
    expected = weights_of(hosted, theirs.state_path)
    np.testing.assert_allclose(weights_of(service, ours.state_path), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("server", RELEASED)
def test_a_released_server_is_refused_with_one_error(config_of, server):
    service = FakeServiceClient(server=server, models=["small", "pupil", "large"])
    config = config_of("run")
    with pytest.raises(UnsupportedServer, match=r"older revision of the Tinker API.*SkyRL 0.4.0 and TuFT 0.2.2"):
        train_on_fake(service, config)
    outcomes = [call.outcome for call in service.calls]
    assert outcomes.index("failed") == len(outcomes) - 1, "more was asked of a server of another revision"
    found = preflight(config, service_client=service, rest_client=FakeRestClient(service))
    assert [type(problem) for problem in found.problems] == [UnsupportedServer]
    assert service.count("sample") <= 2


def test_check_says_what_train_says(config_of):
    service = FakeServiceClient(server="hatchery")
    config = config_of("run", objective={"kind": "forward_kl"})
    with pytest.raises(UnsupportedFeature) as told:
        train_on_fake(service, config)
    (problem,) = preflight(config, service_client=service, rest_client=FakeRestClient(service)).problems
    assert str(problem) == str(told.value)


def test_greedy_replies_are_refused_at_temperature_1(config_of):
    with pytest.raises(UnsupportedFeature, match=r"temperature=0\.99"):
        train_on_fake(FakeServiceClient(server="hatchery"), config_of("run", temperature=1.0))


def test_the_server_is_tried_once(config_of):
    service = FakeServiceClient(server="tuft")
    train_on_fake(service, config_of("run", max_steps=1))
    before = service.count("optim_step")
    train_on_fake(service, config_of("run", max_steps=2))
    assert service.count("optim_step") == before + 1


def test_another_version_of_the_server_is_tried_anew(config_of, monkeypatch):
    said = {"version": "Server 1.0"}

    async def read_claims(base_url, rest):
        return Claims(version=said["version"])

    monkeypatch.setattr("socratic_distill.training.handshake.read_claims", read_claims)
    service = FakeServiceClient(server="tuft")
    config = config_of("run")

    async def shake():
        client = await service.create_sampling_client(base_model="small")
        return await shake_hands(config, Service(service, FakeRestClient(service)), client, Path(config.log_path))

    asyncio.run(shake())
    tried = service.count("optim_step")
    asyncio.run(shake())
    assert service.count("optim_step") == tried > 0
    said["version"] = "Server 2.0"
    asyncio.run(shake())
    assert service.count("optim_step") == 2 * tried


def test_a_fake_of_a_server_needs_a_base_url(config_of):
    with pytest.raises(ConfigError, match="set base_url to any URL"):
        train_on_fake(FakeServiceClient(server="tuft"), config_of("run", base_url=None))


def test_an_unknown_server_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"skyrl, .*tuft"):
        FakeServiceClient(server="other")


def test_a_server_that_opens_no_states_is_refused(config_of, monkeypatch):
    monkeypatch.setitem(SERVERS, "tuft", replace(SERVERS["tuft"], opens_states=False))
    with pytest.raises(SocraticError, match="opens no training client from a state"):
        train_on_fake(FakeServiceClient(server="tuft"), config_of("run"))


@pytest.mark.parametrize("call", ["forward", "forward_backward", "optim_step", "save_state"])
def test_a_trial_whose_client_is_lost_is_made_again(config_of, call):
    disturbed = FakeServiceClient(server="tuft", faults=[Fault(call, 1, "poisoned")])
    config = config_of("tuft")
    assert train_on_fake(disturbed, config).status == "completed"
    rows = read_rows(Path(config.log_path) / "metrics.jsonl")
    assert {row["recovery/count"] for row in rows} == {0}, "no client of the run itself was lost"


def test_what_a_start_found_out_before_it_failed_is_not_asked_again(config_of):
    calls = range(40, 400)  # the second loss is never found out
    faults = [Fault("forward", number, "poisoned") for number in calls]
    config = config_of("tuft", objective={"kind": "mixture", "parts": MIXTURE}, max_recoveries=0)
    with pytest.raises(TrainingError):
        train_on_fake(FakeServiceClient(server="tuft", faults=faults), config)
    known = json.loads((Path(config.log_path) / "features.json").read_text())[URL]
    assert known[loss_fact("importance_sampling")] == "nothing" and loss_fact("cross_entropy") not in known
