"""What a run asks of the engine that its memory depends on. Needs no torch."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Demand:
    """The sizes of a run.

    Attributes:
        models: names of the base models, each once; the tutor's is the first.
        rank: of the tutor's LoRA.
        train_attn: whether it is on attention.
        train_mlp: whether it is on the MLP.
        train_unembed: whether it is on the output layer.
        other_adapters: further adapters that are loaded, such as teachers' checkpoints and lagged tutors.
        prompt: tokens of the longest prompt, before the first turn.
        reply: tokens of the longest turn.
        dialogue: tokens of the longest dialogue, its prompt included.
        max_context: longest context that the config allows, in tokens; None is as long as the models' own.
        groups: groups in a batch.
        group_size: dialogues in a group.
        at_once: dialogues that are played at once.
        batches: batches in the run.
    """

    models: tuple[str, ...]
    rank: int
    train_attn: bool
    train_mlp: bool
    train_unembed: bool
    other_adapters: int
    prompt: int
    reply: int
    dialogue: int
    max_context: int | None
    groups: int
    group_size: int
    at_once: int
    batches: int

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that the config allows."""
        return self.dialogue if self.max_context is None else min(self.dialogue, self.max_context)

    def within(self, context: int) -> "Demand":
        """The same in a context of at most so many tokens."""
        return replace(self, max_context=min(context, self.max_context or context))
