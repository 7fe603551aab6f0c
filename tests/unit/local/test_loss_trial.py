"""The trial of a server's losses, on a real LoRA of the packaged tiny model: the engine's losses are sums."""

import pytest

from socratic_distill.training.server_losses import LossTrial


@pytest.mark.parametrize("loss", ["cross_entropy", "importance_sampling", "gspo"])
async def test_losses_of_the_engine_are_seen_to_be_sums(service, loss):
    training = await service.create_lora_training_client("tiny", rank=8, seed=0)
    assert await LossTrial(training).division(loss) == "nothing"


async def test_it_takes_targets_in_two_dimensions(service):
    training = await service.create_lora_training_client("tiny", rank=8, seed=0)
    assert await LossTrial(training).takes_columns()
