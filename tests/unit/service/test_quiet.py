"""The SDK's own log of errors: those that the library handles do not reach the user, all others do."""

import logging

import numpy as np
import pytest
from tinker import types
from tinker.lib.public_interfaces import sampling_client
from tinker.lib.retry_handler import RetryHandler

from socratic_distill.service.connect import connect
from socratic_distill.testing import FakeServiceClient

HANDLED = "RuntimeError: prompt_logprobs_last_n=5 was requested but the server returned prompt logprobs before it"
OLDER = "AssertionError: asample promises always carry sample_sequence_ids"
FORBIDDEN = "UnprocessableEntityError: Error code: 422 - {'detail': [{'type': 'extra_forbidden'}]}"


@pytest.fixture
async def sdk(make_config, caplog):
    """The SDK's loggers as a run has them."""
    await connect(make_config(), FakeServiceClient(), None)
    return caplog


@pytest.mark.parametrize(
    ("logger", "message", "is_shown"),
    [
        ("retry_handler", f"Request failed with non-retryable error: {HANDLED}", False),
        ("retry_handler", f"Request failed with non-retryable error: {OLDER}", False),
        ("retry_handler", f"Request failed with non-retryable error: {FORBIDDEN}", False),
        ("retry_handler", "Request failed with non-retryable error: BadRequestError: prompt too long", True),
        ("retry_handler", f"No progress made in 7200s. Requests appear to be stuck: {HANDLED}", True),
        ("internal_client_holder", f"Request failed with non-retryable error: {HANDLED}", True),
    ],
)
async def test_only_the_record_of_a_handled_error_is_dropped(sdk, logger, message, is_shown):
    logging.getLogger(f"tinker.lib.{logger}").error(message)
    assert [record.getMessage() for record in sdk.records if record.levelno == logging.ERROR] == [message] * is_shown


async def test_what_the_sdk_logs_of_a_server_without_last_n_is_dropped(sdk):
    """The SDK's own check and its own log, so that another wording of a later SDK is noticed."""
    response = types.SampleResponse(sequences=[], prompt_logprobs_np=np.array([np.nan, -1.0, -1.0], np.float32))

    async def ask() -> None:
        sampling_client._check_prompt_logprobs_last_n_honored(response, 1)

    async def fail() -> None:
        raise ValueError("another error")

    for call in (ask, fail):
        with pytest.raises((RuntimeError, ValueError)):
            await RetryHandler().execute(call)
    assert [record.getMessage() for record in sdk.records if record.name.startswith("tinker")] == [
        "Request failed with non-retryable error: ValueError: another error"
    ]
