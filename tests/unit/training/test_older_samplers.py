from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.partial import Partial

from socratic_distill import TrainingError
from socratic_distill.in_process import ServiceFuture
from socratic_distill.testing import FakeServiceClient
from socratic_distill.training.older_samplers import check_older_samplers


class Mute(FakeServiceClient):
    """A server whose sampling clients leave the prompt's log-probabilities out."""

    def create_sampling_client(self, *arguments: Any, **options: Any) -> Any:
        return ServiceFuture.of(Silent())


class Silent(Partial):
    async def sample(self, *arguments, **options):
        return SimpleNamespace(prompt_logprobs=None)


async def test_server_without_prompt_logprobs_is_told_of_in_words(make_config, tmp_path):
    config = make_config(base_url="http://127.0.0.1:9", max_staleness=1)
    with pytest.raises(TrainingError, match="without the prompt's log-probabilities"):
        await check_older_samplers(config, Mute(), tmp_path / "run")
