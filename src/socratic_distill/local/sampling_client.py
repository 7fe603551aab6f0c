"""The sampling client: sampling and scoring requests on fixed weights."""

from collections.abc import Callable
from typing import Any

import tinker

from socratic_distill.in_process import ServiceFuture
from socratic_distill.local.base_model import BaseModel
from socratic_distill.local.batches import Request, check_request
from socratic_distill.local.draws import Row
from socratic_distill.local.engine import Engine
from socratic_distill.local.scoring import ScoreRequest


class LocalSamplingClient:
    """A Tinker sampling client on weights that do not change."""

    def __init__(self, service: Engine, base: BaseModel, adapter: str | None) -> None:
        """Takes an adapter, which is freed when the client is garbage-collected; None is the base model."""
        self._service = service
        self._base = base
        self._adapter = adapter
        if adapter is not None:
            service.drop_with(self, base, adapter)

    def sample(
        self,
        prompt: tinker.ModelInput,
        num_samples: int,
        sampling_params: tinker.SamplingParams,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
        topk_sample_logprobs: int = 0,
        target_prompt_logprobs: Any = None,
        prompt_alt_tokens_k: int = 0,
        prompt_logprobs_last_n: int | None = None,
    ) -> ServiceFuture[tinker.SampleResponse]:
        """Samples replies; the same request on the same weights gives the same replies.

        Without a seed in sampling_params, requests get the seeds 0, 1, 2, … in order of submission.

        Raises, through the future:
            tinker.BadRequestError: the prompt leaves no room for a reply, or a question does not fit the prompt.
        """
        tokens = tuple(prompt.to_ints())
        seed = self._service.next_seed() if sampling_params.seed is None else sampling_params.seed
        question = ScoreRequest(
            size=len(tokens),
            logprobs=include_prompt_logprobs,
            top=topk_prompt_logprobs,
            last_n=prompt_logprobs_last_n,
            targets=None if target_prompt_logprobs is None else target_prompt_logprobs.to_numpy(pad_value=-1),
            alternatives=prompt_alt_tokens_k,
            temperature=sampling_params.temperature,
            seed=seed,
        )
        return self._submit(
            Request(
                base=self._base,
                adapter=self._adapter,
                prompt=tokens,
                question=question,
                count=num_samples,
                params=sampling_params,
                seed=seed,
                top=topk_sample_logprobs,
                targets=target_prompt_logprobs,
            )
        )

    def stream(
        self,
        prompt: tinker.ModelInput,
        num_samples: int,
        sampling_params: tinker.SamplingParams,
        listen: Callable[[Row], bool],
    ) -> ServiceFuture[tinker.SampleResponse]:
        """Samples replies as `sample` does, and tells of each token as soon as it is drawn.

        Args:
            prompt: tokens before the replies.
            num_samples: number of replies.
            sampling_params: how to sample; its seed must be set.
            listen: is called with the reply so far, in the engine's thread, and must not raise. False ends the reply.
        """
        tokens = tuple(prompt.to_ints())
        assert sampling_params.seed is not None, "a stream names its seed"
        return self._submit(
            Request(
                self._base,
                self._adapter,
                tokens,
                ScoreRequest(size=len(tokens)),
                num_samples,
                sampling_params,
                sampling_params.seed,
                listen=listen,
            )
        )

    def compute_logprobs(
        self, prompt: tinker.ModelInput, prompt_logprobs_last_n: int | None = None
    ) -> ServiceFuture[list[float | None]]:
        """Log-probability of each prompt token given those before it, nats, `[P]`; the first is None."""
        tokens = tuple(prompt.to_ints())
        question = ScoreRequest(size=len(tokens), logprobs=True, last_n=prompt_logprobs_last_n)
        return self._submit(Request(self._base, self._adapter, tokens, question))

    def get_tokenizer(self) -> Any:
        """The base model's tokenizer."""
        return self._base.tokenizer

    def get_base_model(self) -> str:
        """The base model's name."""
        return self._base.name

    def _submit(self, request: Request) -> ServiceFuture[Any]:
        try:
            check_request(request)
        except tinker.TinkerError as error:
            return ServiceFuture.failed(error)  # as on Tinker, where errors come with the answer
        # The request keeps this client, and so its adapter, until it is answered.
        request.owner = self
        return self._service.batch(request)
