"""The fake service's training and sampling clients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
import tinker
from tinker.types import (
    ForwardBackwardOutput,
    GetInfoResponse,
    ModelData,
    OptimStepResponse,
    SampleResponse,
    SaveWeightsForSamplerResponse,
    SaveWeightsResponse,
)

from socratic_distill.in_process import ServiceFuture, status_error
from socratic_distill.testing.ledger import Ledger, Reading
from socratic_distill.testing.losses import check_request, loss_inputs, share_of
from socratic_distill.testing.questions import Question
from socratic_distill.testing.sampling import Sampler, check_tokens
from socratic_distill.testing.store import RunInfo
from socratic_distill.testing.tokenizer import ToyTokenizer
from socratic_distill.testing.weights import Weights

T = TypeVar("T")


class FakeTrainingClient:
    """One server run of the fake service; make it with `FakeServiceClient.create_…`.

    Attributes:
        model_id: id of the server run.
        info: what the service knows of it.
    """

    def __init__(self, service: Ledger, info: RunInfo, weights: Weights) -> None:
        """Is called by the service alone.

        Args:
            service: carries the calls out.
            info: the server run.
            weights: what is trained.
        """
        self.model_id = info.run
        self._service = service
        self.info = info
        self._weights = weights
        self._divisor = 0  # of the next step, on a server that divides it
        self._inflight: list[FakeSamplingClient] = []

    def get_info(self) -> GetInfoResponse:
        """Base model and LoRA rank of the server run."""
        name, tells = self.info.base_model, self._service.server.tells_models
        return GetInfoResponse(
            type="get_info",
            model_data=ModelData(arch="toy", model_name=name, tokenizer_id="toy"),
            model_id=self.model_id,
            is_lora=True if tells else None,
            lora_rank=self.info.rank if tells else None,
            model_name=name if tells else None,
        )

    def get_tokenizer(self) -> ToyTokenizer:
        """The toy tokenizer, one for all models."""
        return self._service.tokenizer

    def forward(
        self,
        data: list[tinker.Datum],
        loss_fn: str,
        loss_fn_config: Mapping[str, float | str] | None = None,
    ) -> ServiceFuture[ForwardBackwardOutput]:
        """Loss and log-probabilities without gradients; fails and raises as `forward_backward`."""
        return self._pass("forward", data, loss_fn, loss_fn_config)

    def forward_backward(
        self,
        data: list[tinker.Datum],
        loss_fn: str,
        loss_fn_config: Mapping[str, float | str] | None = None,
    ) -> ServiceFuture[ForwardBackwardOutput]:
        """Adds the loss's gradient to those since the last `optim_step`.

        Gives `loss_fn_outputs[i]["logprobs"]`, float32 in the shape of datum i's `target_tokens`, nats,
        and `metrics["loss:sum"]`. Fails with `tinker.BadRequestError`, and adds nothing, where the loss is
        unknown or a datum holds other inputs than the loss takes.

        Raises:
            ValueError: no data.
        """
        return self._pass("forward_backward", data, loss_fn, loss_fn_config)

    def optim_step(
        self, optim_params: Any = None, *, adam_params: tinker.AdamParams | None = None
    ) -> ServiceFuture[OptimStepResponse]:
        """One AdamW step with the gradients gathered, which are then cleared.

        Raises:
            ValueError: both arguments.
            TypeError: no `tinker.AdamParams`.
        """
        if optim_params is not None and adam_params is not None:
            raise ValueError("Specify optim_params or legacy adam_params, not both")
        params = adam_params if optim_params is None else optim_params
        if not isinstance(params, tinker.AdamParams):
            raise TypeError(f"Expected AdamParams, given was {params!r}")

        def step() -> OptimStepResponse:
            if self._divisor:
                self._weights.scale_gradient(1 / self._divisor)
                self._divisor = 0
            self._weights.step(params)
            return OptimStepResponse(metrics=None)

        return self._submit("optim_step", step, **params.model_dump())

    def save_state(
        self,
        name: str,
        ttl_seconds: int | None = None,
        overwrite: bool = False,
        user_metadata: dict[str, str] | None = None,
    ) -> ServiceFuture[SaveWeightsResponse]:
        """Saves weights and optimizer, without gathered gradients.

        Fails with `tinker.ConflictError` where the name is taken, unless `overwrite` is set.
        """

        def save() -> SaveWeightsResponse:
            header = self._service.checkpoints.save(
                self.info,
                "weights",
                name,
                self._weights.state_arrays(),
                ttl_seconds,
                user_metadata,
                overwrite,
            )
            return SaveWeightsResponse(path=header.path)

        return self._submit_save("save_state", save, name=name, ttl_seconds=ttl_seconds, overwrite=overwrite)

    def save_weights_for_sampler(
        self,
        name: str,
        ttl_seconds: int | None = None,
        user_metadata: dict[str, str] | None = None,
    ) -> ServiceFuture[SaveWeightsForSamplerResponse]:
        """Saves weights to sample from; fails with `tinker.ConflictError` where the name is taken."""

        def save() -> SaveWeightsForSamplerResponse:
            arrays = self._weights.sampler_arrays()
            header = self._service.checkpoints.save(
                self.info, "sampler_weights", name, arrays, ttl_seconds, user_metadata
            )
            short = header.path.replace("/sampler_weights/", "/")
            return SaveWeightsForSamplerResponse(path=short if self._service.server.has_short_paths else header.path)

        return self._submit_save("save_weights_for_sampler", save, name=name, ttl_seconds=ttl_seconds)

    def save_weights_and_get_sampling_client(
        self,
        name: str | None = None,
        retry_config: Any = None,
        record_stability_info: bool = False,
        kind: Literal["snapshot", "inflight"] = "snapshot",
    ) -> ServiceFuture[FakeSamplingClient]:
        """A sampling client on the weights as they are, under no path.

        An "inflight" one moves on to the weights of each later inflight call of this training client.
        """

        def create() -> FakeSamplingClient:
            sampler = self._service.sampler(self._weights)
            client = FakeSamplingClient(self._service, self.info.base_model, sampler)
            if kind == "inflight":
                self._inflight.append(client)
                for earlier in self._inflight:
                    earlier.move_to(sampler)
            return client

        return self._submit("save_weights_and_get_sampling_client", create, kind=kind)

    def _pass(
        self,
        call: Literal["forward", "forward_backward"],
        data: Sequence[tinker.Datum],
        loss_fn: str,
        config: Mapping[str, float | str] | None,
    ) -> ServiceFuture[ForwardBackwardOutput]:
        if not data:
            raise ValueError(f"{call} was given no data")
        tokens = sum(datum.model_input.length for datum in data)
        run = partial(self._run_pass, list(data), loss_fn, config, call == "forward_backward")
        options = {} if config is None else {"loss_fn_config": dict(config)}
        return self._submit(call, run, loss_fn=loss_fn, datums=len(data), tokens=tokens, **options)

    def _run_pass(
        self,
        data: Sequence[tinker.Datum],
        loss_fn: str,
        config: Mapping[str, float | str] | None,
        backward: bool,
    ) -> ForwardBackwardOutput:
        server = self._service.server
        check_request(loss_fn, config, server.losses)
        checked = [self._checked(datum, loss_fn) for datum in data]
        share = share_of([inputs for _, _, inputs in checked], loss_fn) if server.reduction == "mean" else 1.0
        total, outputs = 0.0, []
        for tokens, targets, inputs in checked:
            if server.reduction == "datum":
                share = share_of([inputs], loss_fn)
            loss, logprobs = self._weights.forward(tokens, targets, inputs, loss_fn, config, backward, share)
            total += loss
            outputs.append({"logprobs": tinker.TensorData.from_numpy(logprobs.astype(np.float32))})
        if backward and server.reduction in ("step", "datum"):
            self._divisor += len(checked) if server.reduction == "datum" else sum(len(inputs[0]) for inputs in checked)
        metrics = {"loss:sum": total} if server.tells_losses else {}
        return ForwardBackwardOutput(loss_fn_output_type="ArrayRecord", loss_fn_outputs=outputs, metrics=metrics)

    def _checked(self, datum: tinker.Datum, loss_fn: str) -> tuple[list[int], Any, dict[str, Any]]:
        tokens = _tokens(datum.model_input)
        size = self._weights.model.size
        check_tokens(tokens, size, self._service.max_context_length)
        targets, inputs = loss_inputs(datum, loss_fn)
        if targets.ndim == 2 and not self._service.server.takes_columns:
            raise status_error(422, f"target_tokens has shape {targets.shape}; expected one dimension")
        if targets.size and not (targets.min() >= 0 and targets.max() < size):
            raise status_error(400, f"target_tokens hold ids outside the vocabulary of {size}")
        return tokens, targets, inputs

    def _submit(self, call: str, action: Callable[[], T], **arguments: Any) -> ServiceFuture[T]:
        return self._service.submit(call, action, server_run=self.model_id, **arguments)

    def _submit_save(self, call: str, action: Callable[[], T], **arguments: Any) -> ServiceFuture[T]:
        """A save; where a server does not say that a name is taken, it never answers."""
        answer = self._submit(call, action, **arguments)
        future = answer.future()
        if self._service.server.answers_twice or not future.done():
            return answer
        return ServiceFuture(Future()) if isinstance(future.exception(), tinker.ConflictError) else answer


class FakeSamplingClient:
    """Samples from and scores with one set of weights of the fake service."""

    def __init__(self, service: Ledger, base_model: str, sampler: Sampler, path: str | None = None) -> None:
        """Is called by the service and its training clients alone.

        Args:
            service: carries the calls out.
            base_model: name of the base model.
            sampler: the weights.
            path: saved weights that it was made from; None for a base model's or a client's own.
        """
        self._service = service
        self._path = path
        self._base_model = base_model
        self._sampler = sampler

    def get_base_model(self) -> str:
        """Name of the base model."""
        return self._base_model

    def get_tokenizer(self) -> ToyTokenizer:
        """The toy tokenizer, one for all models."""
        return self._service.tokenizer

    def sample(
        self,
        prompt: tinker.ModelInput,
        num_samples: int,
        sampling_params: tinker.SamplingParams,
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
        topk_sample_logprobs: int = 0,
        target_prompt_logprobs: tinker.TensorData | None = None,
        prompt_alt_tokens_k: int = 0,
        prompt_logprobs_last_n: int | None = None,
    ) -> ServiceFuture[SampleResponse]:
        """Replies to the prompt, the stop token included, and scores of the prompt, with untempered log-probabilities.

        Fails with `tinker.BadRequestError` for a prompt longer than the context, parameters out of range, questions
        that do not fit the prompt, and features that the service lacks.
        """
        question = Question(
            logprobs=include_prompt_logprobs,
            top=topk_prompt_logprobs,
            last_n=prompt_logprobs_last_n,
            targets=target_prompt_logprobs,
            draws=prompt_alt_tokens_k,
            reply_top=topk_sample_logprobs,
        )

        def sample() -> SampleResponse:
            self._service.put_back(self._path)
            if lacking := [feature for feature in question.features if feature in self._service.lacks]:
                raise status_error(400, f"{', '.join(lacking)}: not supported by this service")
            tokens = _tokens(prompt)
            params = sampling_params
            if self._service.server.is_greedy and num_samples == 1 and params.temperature == 1:
                params = params.model_copy(update={"temperature": 0.0})
            answer = self._sampler.sample(tokens, num_samples, params, question, self._service.next_sample())
            return self._service.server.worded(answer, question)

        return self._service.submit(
            "sample",
            sample,
            read=self._reading(prompt, question),
            base_model=self._base_model,
            prompt_tokens=prompt.length,
            num_samples=num_samples,
            max_tokens=sampling_params.max_tokens,
            seed=sampling_params.seed,
            prompt_logprobs=include_prompt_logprobs,
            features=question.features,
        )

    def compute_logprobs(
        self, prompt: tinker.ModelInput, prompt_logprobs_last_n: int | None = None
    ) -> ServiceFuture[list[float | None]]:
        """Log-probability of each prompt token, nats; None at entry 0 and before the last N asked for.

        Fails with `tinker.BadRequestError` for a prompt longer than the context, and for a `prompt_logprobs_last_n`
        that does not fit it.
        """

        def score() -> list[float | None]:
            self._service.put_back(self._path)
            scores = self._sampler.score(_tokens(prompt), prompt_logprobs_last_n).tolist()
            values = [None if np.isnan(value) else value for value in scores]
            return values if self._service.server.gives_first else values[1:]

        return self._service.submit(
            "compute_logprobs",
            score,
            read=self._reading(prompt, Question(logprobs=True, last_n=prompt_logprobs_last_n)),
            base_model=self._base_model,
            prompt_tokens=prompt.length,
        )

    def move_to(self, sampler: Sampler) -> None:
        """Goes on with other weights, as inflight clients do.

        Args:
            sampler: the weights.
        """
        self._sampler = sampler

    def _reading(self, prompt: tinker.ModelInput, question: Question) -> Reading:
        scored, reach = question.is_about_the_prompt, question.reach(prompt.length)
        return Reading(prompt, self._sampler, scored, reach, self._path)


def _tokens(prompt: tinker.ModelInput) -> list[int]:
    try:
        return prompt.to_ints()
    except ValueError as error:
        raise status_error(400, f"the toy models read text alone: {error}") from error
