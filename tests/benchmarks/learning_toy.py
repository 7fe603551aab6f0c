"""Techniques on a tutor of a few numbers, whose best is known: the teacher itself, at a divergence of 0.

The tutor is a table of logits by the token before. A step samples replies of three tokens, and takes one step of Adam
on the data that the package makes of them. The divergence from the teacher is then computed exactly, over all replies.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from tests.support.toy_world import LENGTH, World

from socratic_distill import SocraticConfig, build_socratic_config
from socratic_distill.distillation.objective import make_examples
from socratic_distill.distillation.scoring import ScoredDialogue
from socratic_distill.distillation.token_weights import weigh

SIZE, REPLIES, STEPS = 6, 16, 60
RATE, BETAS, EPSILON = 0.1, (0.9, 0.95), 1e-8


class Adam:
    """Adam's steps on one array."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._mean, self._square, self._count = np.zeros(shape), np.zeros(shape), 0

    def step(self, gradient: np.ndarray) -> np.ndarray:
        """What to add to the parameters."""
        self._count += 1
        self._mean = BETAS[0] * self._mean + (1 - BETAS[0]) * gradient
        self._square = BETAS[1] * self._square + (1 - BETAS[1]) * gradient**2
        mean, square = (
            value / (1 - beta**self._count) for value, beta in zip((self._mean, self._square), BETAS, strict=True)
        )
        return -RATE * mean / (np.sqrt(square) + EPSILON)


def toy_config(changes: Mapping[str, Any], seed: int) -> SocraticConfig:
    """The config whose data are trained on; nothing is asked of any model."""
    return build_socratic_config(
        tutor_model_name="tutor", student_model_name="student", teacher_model_name="teacher", learning_rate=RATE,
        max_tokens=LENGTH, log_path="never-written", base_url="local", seed=seed, **changes,
    )  # fmt: skip


def learn(changes: Mapping[str, Any], seed: int, steps: int = STEPS) -> list[float]:
    """The exact divergence before each step and after the last one, nats a token."""
    world, config, random = World(SIZE, k=SIZE, seed=seed), toy_config(changes, seed), np.random.default_rng(seed)
    logits, adam = world.tutor.copy(), Adam(world.tutor.shape)
    found = [divergence(world)]
    for step in range(steps):
        scored = [_scored(world, _reply(world, random)) for _ in range(REPLIES)]
        gradient = np.zeros_like(logits)
        for (one,) in weigh([[one] for one in scored], config, step, step):
            gradient += world.gradient(make_examples([[one]], config, step), np.array([1.0 / REPLIES]))
        logits += adam.step(gradient)
        world.tutor = torch.log_softmax(torch.tensor(logits), -1).numpy()
        found.append(divergence(world))
    return found


def divergence(world: World) -> float:
    """KL(tutor || teacher) over replies, nats a token."""
    of_row = (np.exp(world.tutor) * (world.tutor - world.teacher)).sum(-1)
    return float(world.visits() @ of_row) / LENGTH


def _reply(world: World, random: np.random.Generator) -> tuple[int, ...]:
    reply, row = [], SIZE
    for _ in range(LENGTH):
        row = int(random.choice(SIZE, p=np.exp(world.tutor[row]) / np.exp(world.tutor[row]).sum()))
        reply.append(row)
    return tuple(reply)


def _scored(world: World, reply: tuple[int, ...]) -> ScoredDialogue:
    """A reply as a dialogue, with the entropies that some weights look at."""
    entropy = -(np.exp(world.tutor) * world.tutor).sum(axis=1)[world.rows(reply)]
    return replace(world.scored([reply]), tutor_entropy=(entropy,))
