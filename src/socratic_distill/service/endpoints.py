"""Models on servers of the OpenAI API: chat completions through the `openai` client.

Students and judges need no log-probabilities, so they may be there. The client retries what a busy or failing server
answers (429, 5xx, a cut connection); a request that it refuses is a `ServiceError`.
"""

import asyncio
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from socratic_distill.config.config import SocraticConfig
from socratic_distill.config.rewards import judge_rewards
from socratic_distill.config.students import Endpoint
from socratic_distill.config.trust import check_endpoint
from socratic_distill.errors import ConfigError, OpenAIExtraMissing, ServiceError
from socratic_distill.files.extras import how_to_install
from socratic_distill.service.failures import describe
from socratic_distill.service.waiting import in_thread
from socratic_distill.text import remember


@dataclass(frozen=True)
class Completion:
    """A reply of an endpoint.

    Attributes:
        text: what the model says.
        is_cut: whether it was cut at the token limit.
        sent: tokens of the prompt; 0 where the server does not say.
        cached: how many of those it had cached.
        sampled: tokens of the reply, its reasoning included; 0 where the server does not say.
    """

    text: str
    is_cut: bool
    sent: int
    cached: int
    sampled: int


class EndpointClient:
    """A model on an endpoint."""

    def __init__(self, endpoint: Endpoint, model_name: str) -> None:
        """Sends nothing yet.

        Args:
            endpoint: the server.
            model_name: the model's name there.

        Raises:
            OpenAIExtraMissing: the `openai` package is not installed.
            ConfigError: the variable of its key is not set.
        """
        try:
            from openai import DefaultHttpxClient, OpenAI
        except ImportError as error:
            raise OpenAIExtraMissing(
                f"the endpoint {endpoint.base_url!r} needs the openai package. {how_to_install('openai')}"
            ) from error
        key = os.environ.get(endpoint.api_key_variable, "").strip()
        if not key:
            raise ConfigError(
                f"there is no key for the endpoint {endpoint.base_url!r}: {endpoint.api_key_variable} is not set; set "
                "it, to any text for a server that asks for none"
            )
        remember(key)
        self.model_name = model_name
        self._url = endpoint.base_url
        # A redirect would carry dialogues to a server that nobody named.
        connections = DefaultHttpxClient(follow_redirects=False)
        # Not the async client: that one belongs to one event loop, and must be closed in it.
        self._client = OpenAI(
            base_url=endpoint.base_url,
            api_key=key,
            max_retries=endpoint.max_retries,
            http_client=connections,
        )
        weakref.finalize(self, connections.close)
        self._places = asyncio.Semaphore(endpoint.max_concurrent_requests)

    async def complete(
        self, messages: Sequence[Mapping[str, str]], *, max_tokens: int, temperature: float, top_p: float, seed: int
    ) -> Completion:
        """One reply to some messages.

        Args:
            messages: each with `role` and `content`.
            max_tokens: length limit of the reply.
            temperature: sampling temperature.
            top_p: share of the probability that is sampled from.
            seed: random seed; servers may not keep to it.

        Raises:
            ServiceError: the server refuses the request, or failed it too often.
        """
        # What a server may not know is sent only where it matters.
        options: dict[str, Any] = {} if top_p == 1.0 else {"top_p": top_p}
        create: Any = self._client.chat.completions.create
        async with self._places:
            try:
                answer = await in_thread(
                    partial(
                        create,
                        model=self.model_name,
                        messages=[dict(message) for message in messages],
                        max_tokens=max_tokens,
                        temperature=temperature,
                        seed=seed,
                        **options,
                    )
                )
            except Exception as error:
                raise ServiceError(f"the endpoint {self._url!r} failed a request: {describe(error)}") from error
        if not answer.choices:
            raise ServiceError(f"the endpoint {self._url!r} answered without a reply")
        choice, usage = answer.choices[0], answer.usage
        details = getattr(usage, "prompt_tokens_details", None)
        return Completion(
            choice.message.content or "",
            choice.finish_reason == "length",
            getattr(usage, "prompt_tokens", 0) or 0,
            getattr(details, "cached_tokens", 0) or 0,
            getattr(usage, "completion_tokens", 0) or 0,
        )


def check_endpoints(config: SocraticConfig) -> None:
    """Returns if every endpoint of a config could be asked; sends nothing.

    Raises:
        UntrustedConfig, OpenAIExtraMissing, ConfigError: as `open_endpoint`.
    """
    judges = [judge for judge in (config.judge, config.answer_judge) if judge is not None]
    for part in [*config.students, *judges, *(judge for _, judge in judge_rewards(config.rewards))]:
        if part.endpoint is not None:
            open_endpoint(config, part.endpoint, str(part.model_name))


def open_endpoint(config: SocraticConfig, endpoint: Endpoint, model_name: str) -> EndpointClient:
    """A client of a model on an endpoint that a config names.

    Raises:
        UntrustedConfig: the config was read from a file, and the user named no such server.
        OpenAIExtraMissing, ConfigError: as `EndpointClient`.
    """
    check_endpoint(config, endpoint.base_url)
    return EndpointClient(endpoint, model_name)
