"""What a published suite is: where its data come from, what it asks, and how it counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from socratic_distill.evaluation.intervals import Measure, Part

Asked = Literal["tutor", "judge", "reward_model"]


@dataclass(frozen=True)
class About:
    """What a suite is.

    Attributes:
        name: as `benchmark` takes it.
        title: its name in papers.
        licence: of its data.
        version: the published state whose scorer this one counts like.
        counting: how its own scorer counts, and where this one differs.
        data: what the data directory or file must hold.
    """

    name: str
    title: str
    licence: str
    version: str
    counting: str
    data: str


@dataclass(frozen=True)
class Item:
    """One question of a suite, to a tutor or to a judge.

    Attributes:
        id: unique in the suite.
        task: the part of the suite that it belongs to.
        prompt: the message to the model; of a plain text the text itself.
        cluster: items with the same one are alike, such as several on one problem; intervals are over clusters.
        stop: the reply ends before the first of these texts.
        max_tokens: length limit of the reply.
        options: continuations of which the likeliest is the answer; empty: the model writes a reply.
        is_text: whether the prompt is a plain text whose tokens are scored, not a message.
        asked: the model that is asked.
        facts: what the scorer needs to know.
    """

    id: str
    task: str
    prompt: str
    cluster: str
    stop: tuple[str, ...] = ()
    max_tokens: int = 2048
    options: tuple[str, ...] = ()
    is_text: bool = False
    asked: Asked = "tutor"
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a model said or thought of an item.

    Attributes:
        text: its reply, without reasoning, cut at the item's stops.
        is_cut: whether the reply reached its length limit.
        logprobs: sums of the log-probabilities of the options' tokens, or of a text's tokens, nats.
        counts: numbers of these tokens.
        error: why there is no answer; None if there is one.
        sent: tokens of prompts that were sent.
        cached: how many of those the service reports as cached.
        sampled: tokens that were sampled.
    """

    text: str = ""
    is_cut: bool = False
    logprobs: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    error: str | None = None
    sent: int = 0
    cached: int = 0
    sampled: int = 0


@dataclass(frozen=True)
class Figures:
    """What a suite's scorer counted.

    Attributes:
        parts: of each measure that is a mean, its numbers; the clusters are those of the items.
        measures: measures that are no means, such as Cohen's kappa.
        notes: what to know of them, in sentences.
    """

    parts: Mapping[str, Sequence[Part]] = field(default_factory=dict)
    measures: Mapping[str, Measure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What a user asks of a suite.

    Attributes:
        data: the directory or file with its data.
        limit: number of rows that are taken of each file; None: all.
        max_tokens: length limit of a tutor's replies; None: the suite's own.
        seed: random seed of what is drawn.
        reward_model: directory of MathTutorBench's reward model; None without one.
        judge_prompt: the template of the prompt on leaks of the config's judge.
        training: problems that the tutor was trained on; a judge is not measured on them.
        has_judge: whether the config has a judge.
    """

    data: Path
    limit: int | None = None
    max_tokens: int | None = None
    seed: int = 0
    reward_model: Path | None = None
    judge_prompt: str = ""
    training: frozenset[str] = frozenset()
    has_judge: bool = False


Answers = Mapping[str, Answer]
"""By the id of an item."""


class Suite(Protocol):
    """A suite: reads its data, asks, and counts. Pure but for reading."""

    about: About
    measures_judge: bool

    def items(self, wish: Wish) -> tuple[list[Item], list[str]]:
        """The items, and notes on what is left out.

        Raises:
            SuiteError: the data cannot be read, or hold nothing that can be measured.
        """
        ...

    def follow_up(self, items: Sequence[Item], answers: Answers, wish: Wish) -> list[Item]:
        """Items for the judge or the reward model, made of the tutor's answers; empty if the suite needs neither."""
        ...

    def figures(self, items: Sequence[Item], answers: Answers, wish: Wish) -> Figures:
        """Counts.

        Args:
            items: the items, and those of `follow_up`.
            answers: to them; an item without an answer has an error.
            wish: what the user asked for.
        """
        ...
