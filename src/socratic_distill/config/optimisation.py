"""The section of the optimizer: its fields, the LoRA, and how long the run is."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from socratic_distill.config.shorthand import Several
from socratic_distill.config.values import (
    LORA_FLAGS,
    Factor,
    Groups,
    LoraTarget,
    NotNegative,
    Section,
    Steps,
    Tens,
)

Beta = Annotated[float, Field(ge=0.0, lt=1.0, strict=True)]


def _in_order(targets: tuple[LoraTarget, ...]) -> tuple[LoraTarget, ...]:
    """Each target once, in one order, so that configs of the same meaning are equal."""
    return tuple(target for target in LORA_FLAGS if target in targets)


class Optimisation(Section):
    """The optimizer, and how long the run is."""

    learning_rate: Annotated[float, Field(gt=0.0, le=1e3, strict=True)] = Field(
        description="Adam learning rate; its maximum if a schedule or a warm-up changes it."
    )
    lora_rank: Tens = Field(32, description="Rank of the tutor's LoRA.")
    lora_targets: Several[Annotated[tuple[LoraTarget, ...], Field(min_length=1), AfterValidator(_in_order)]] = Field(
        ("attention", "mlp"),
        description="Layers that carry the LoRA. 'unembed', the output layer, is left out by default, since vLLM "
        "loads an adapter with it for some architectures only.",
    )
    epochs: Steps = Field(1, description="Passes over the seeds, if max_steps is None.")
    max_steps: Steps | None = Field(
        None, description="Number of batches in the run. None: as many as `epochs` passes over the seeds take."
    )
    num_substeps: Groups = Field(
        1,
        description="Optimizer steps on a batch, each on an equal part of its groups. The sampler weights are saved "
        "after the last.",
    )
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant",
        description="Shape of the learning rate after the warm-up: constant, or falling from learning_rate towards 0 "
        "at the end of the run.",
    )
    lr_warmup_steps: Annotated[int, Field(ge=0, le=10_000_000, strict=True)] = Field(
        0, description="Number of first steps in which the learning rate rises linearly to learning_rate."
    )
    adam_beta1: Beta = Field(0.9, description="Adam's decay rate of the first moment.")
    adam_beta2: Beta = Field(0.95, description="Adam's decay rate of the second moment.")
    adam_eps: Annotated[float, Field(ge=1e-30, le=1.0, strict=True)] = Field(1e-12, description="Adam's epsilon.")
    weight_decay: Factor = Field(0.0, description="AdamW's decoupled weight decay.")
    grad_clip_norm: NotNegative = Field(0.0, description="Limit on the norm of a step's gradient; 0: no clipping.")

    @property
    def lora_flags(self) -> dict[str, bool]:
        """`lora_targets` as the arguments of the SDK's `create_lora_training_client`."""
        return {flag: target in self.lora_targets for target, flag in LORA_FLAGS.items()}
