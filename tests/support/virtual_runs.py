"""Runs in virtual time of models that reply tersely, and the requests that they consist of."""

from collections.abc import Callable
from typing import Any

from socratic_distill import SocraticConfig, load_seeds
from socratic_distill.dialogues.randomness import stable_seed
from socratic_distill.testing import FakeServiceClient, Fault
from socratic_distill.testing.latency import Latency, ModelSpeed
from socratic_distill.testing.virtual import VirtualServiceClient

# Short replies, slowly said: the times of long ones for a tenth of the work.
TERSE = {
    "tutor": ModelSpeed(50e-6, 60e-3, 12),
    "student": ModelSpeed(100e-6, 100e-3, 32),
    "teacher": ModelSpeed(200e-6, 60e-3, 12),
}
CALM = Latency(models=TERSE)
# Several steps pass while a dialogue is played.
QUICK = Latency(models=TERSE, cycle=1.0, sampler_save=0.3, state_save=0.3)
OPENING = 0
Key = tuple[int, str, int, int]  # step, seed, number, turn; the opening is turn 0 and stands for its whole group


class DoomedService(VirtualServiceClient):
    """A virtual service that fails the requests of some seeds."""

    def __init__(self, latency: Latency, *, doomed: frozenset[int] = frozenset(), **options: Any) -> None:
        super().__init__(latency, **options)
        self._doomed = doomed

    def submit(self, call, action, **arguments):
        def fail():
            raise Fault(call).exception()

        return super().submit(call, fail if arguments.get("seed") in self._doomed else action, **arguments)


class LearningService(DoomedService):
    """One whose models are the fake's, which learn: what is trained on shows in what is said."""

    make_weights = FakeServiceClient.make_weights
    sampler = FakeServiceClient.sampler


def virtual_config(make_config: Callable[..., SocraticConfig], **changes: Any) -> SocraticConfig:
    """A small config of the models whose speeds a `Latency` knows."""
    names = dict(tutor_model_name="tutor", student_model_name="student", teacher_model_name="teacher")
    return make_config(**(names | dict(max_tokens=200) | changes))


def turns_by_request_seed(config: SocraticConfig, steps: int) -> dict[int, Key]:
    """The turns of the first steps, by the seed of the request that samples them."""
    turns = dict[int, Key]()
    for step in range(steps):
        for seed in load_seeds(config.seeds_file):
            for number in range(2 * config.num_envs):
                dialogue = (step, seed.id, number)
                turns[stable_seed(config.seed, *dialogue, "opening")] = (*dialogue, OPENING)
                for turn in range(1, 2 * config.max_turns + 1):
                    turns[stable_seed(config.seed, *dialogue, turn)] = (*dialogue, turn)
    return turns
