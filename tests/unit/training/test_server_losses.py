import pytest
from tests.support.partial import Partial

from socratic_distill.in_process import status_error
from socratic_distill.testing import FakeServiceClient
from socratic_distill.training.server_losses import LACKING, LossTrial, problem_of

DIVISIONS = {
    (None, "cross_entropy"): "nothing",
    (None, "importance_sampling"): "nothing",
    (None, "ppo"): "nothing",
    (None, "cispo"): "nothing",
    (None, "gspo"): "nothing",
    (None, "dro"): "nothing",
    ("hatchery", "cross_entropy"): "weights",
    ("hatchery", "importance_sampling"): "request",
    ("hatchery", "gspo"): "request",
    ("hatchery", "dro"): LACKING,
    ("baseten", "cross_entropy"): "step",
    ("baseten", "ppo"): "step",
    ("baseten", "dro"): "step",
    ("skyrl", "importance_sampling"): "datum",
    ("skyrl", "gspo"): "datum",
    ("skyrl", "dro"): LACKING,
}


class Frozen(Partial):
    """A training client that training does not change."""

    def __init__(self, training):
        self._training = training

    def forward(self, *arguments):
        return self._training.forward(*arguments)

    def forward_backward(self, *arguments):
        return self._training.forward(*arguments)

    def optim_step(self, params):
        return self._training.optim_step(params)


def client_of(service):
    return service.create_lora_training_client("small", rank=4, seed=0).result()


@pytest.mark.parametrize(("server", "loss"), DIVISIONS, ids=str)
async def test_what_a_server_divides_a_loss_by_is_seen(server, loss):
    trial = LossTrial(client_of(FakeServiceClient(server=server)))
    assert await trial.division(loss) == DIVISIONS[server, loss]


@pytest.mark.parametrize("model", ["small", "large", "another name"])
async def test_it_is_seen_with_any_weights(model):
    training = FakeServiceClient().create_lora_training_client(model, rank=4, seed=0).result()
    assert await LossTrial(training).division("importance_sampling") == "nothing"


async def test_a_server_that_learns_nothing_leaves_it_unclear():
    assert await LossTrial(Frozen(client_of(FakeServiceClient()))).division("cross_entropy") == "unclear"


@pytest.mark.parametrize(("server", "expected"), [(None, True), ("tuft", False), ("skyrl", False), ("hatchery", True)])
async def test_whether_targets_may_have_two_dimensions_is_seen(server, expected):
    assert await LossTrial(client_of(FakeServiceClient(server=server))).takes_columns() is expected


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_failure_is_not_taken_for_a_lacking_loss(status):
    class Failing(Partial):
        async def forward(self, *arguments):
            raise status_error(status, "not now")

    with pytest.raises(Exception, match="not now"):
        await LossTrial(Failing()).division("ppo")


def test_only_what_changes_a_step_is_a_problem():
    assert problem_of("ppo", {}) is None
    assert problem_of("ppo", {"ppo is divided by": "request"}) is None
    assert "lacks the loss ppo" in str(problem_of("ppo", {"ppo is divided by": LACKING}))
    assert problem_of("ppo", {"ppo is divided by": "datum"}) is None
    assert "beta" in str(problem_of("dro", {"dro is divided by": "datum"}))
    assert "sum of its weights" in str(problem_of("ppo", {"ppo is divided by": "weights"}))
