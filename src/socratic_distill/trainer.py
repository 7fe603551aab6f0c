"""`train()`: the algorithm on one page.

A batch of dialogues is played, the teacher scores the tutor's tokens, the tutor takes one step towards the
teacher, and the next batch is played with the new weights: strictly on-policy. How a run gets its clients
and its place to start is in `session.py`; what a step writes is in `run.py`.
"""

import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from socratic_distill.blocking import run_blocking
from socratic_distill.config import SocraticConfig
from socratic_distill.display import open_display
from socratic_distill.metrics import dialogue_metrics, dialogue_row, update_metrics
from socratic_distill.objective import make_examples
from socratic_distill.rollout import check_failures, play_batch
from socratic_distill.run import RunDirectory
from socratic_distill.seeds import batch, load_seeds, steps_per_run
from socratic_distill.session import open_session, start_run
from socratic_distill.teacher import score_batch


@dataclass(frozen=True)
class TrainResult:
    """How a run ended.

    Attributes:
        status: "completed", or "already_complete" where there was nothing left to do.
        steps: batches done, over the run's whole life.
        state_path: the final training state.
        sampler_path: the final sampler weights; None where the run was complete and holds none.
        metrics: the last step's row of metrics.jsonl; empty where this call ran no step.
    """

    status: Literal["completed", "already_complete"]
    steps: int
    state_path: str
    sampler_path: str | None
    metrics: dict[str, Any]


def train(config: SocraticConfig, *, service_client: Any = None, rest_client: Any = None) -> TrainResult:
    """Trains the tutor, or resumes a run, until its last step.

    Args:
        config: what to do; see `build_socratic_config`.
        service_client: any object with the Tinker service client's interface. None opens the service that
            `config.base_url` names.
        rest_client: its REST client. None with a service_client leaves out checks that need one.

    Raises:
        EventLoopRunning: an asyncio loop already runs in this thread, as in a notebook.
        SocraticError: everything that `train_async` raises.
    """
    return run_blocking(lambda: train_async(config, service_client=service_client, rest_client=rest_client), "train")


async def train_async(config: SocraticConfig, *, service_client: Any = None, rest_client: Any = None) -> TrainResult:
    """The same as `train`, on the asyncio loop that it is awaited on.

    Raises:
        StartError: `log_path` and `load_checkpoint_path` do not say what to begin from.
        SeedError: the seeds cannot be read.
        RunLocked: another process writes to `log_path`.
        RolloutError: too many dialogues of a batch failed.
        TrainingError: the service failed a training call or a save. The run can be resumed.
    """
    seeds = load_seeds(config.seeds_file, config.seeds_limit, config.seeds_files)
    total = config.max_steps or steps_per_run(len(seeds), config.epochs, config.groups_per_batch)
    with RunDirectory(config.log_path) as run, closing(open_display(config.display)) as display:
        start = start_run(config, run, total, display)
        if start.finished is not None:
            return TrainResult("already_complete", total, *start.finished, metrics={})
        session = await open_session(config, run, start, service_client, rest_client)
        learner, row = session.learner, {}
        for step in range(start.batch, total):
            clock = Stopwatch()
            cast = await session.cast()
            chosen = batch(seeds, seed=config.seed, step=step, size=config.groups_per_batch)
            dialogues = await play_batch(chosen, step, config.num_envs, cast, config.max_concurrent_dialogues)
            clock.lap("time/rollout")

            scored = await score_batch(dialogues, cast, session.stage.teacher, config.max_concurrent_dialogues)
            check_failures([one.dialogue for one in scored], config.max_failed_fraction)
            clock.lap("time/teacher")

            coef, discount = config.kl_penalty_coef, config.kl_discount_factor
            examples = [example for one in scored for example in make_examples(one, coef, discount)]
            save_state = (step + 1) % config.save_every == 0 and step + 1 < total
            update = await learner.update(examples, step + 1, save_state)
            clock.lap("time/update")

            row = {"step": step, "version": cast.tutor.version}
            row |= dialogue_metrics(scored, cast.tutor.renderer.tokenizer.decode)
            row |= update_metrics(examples, update.logprobs, update.metrics) | clock.laps()
            run.log_step(row, map(dialogue_row, scored))
            session.sampler_path = await learner.record(update) or session.sampler_path
            display.step(step + 1, total, row)
        state_path, sampler_path = await learner.save_final(total)
        display.say(f"{config.log_path}: complete after {total} steps; final state {state_path}")
        return TrainResult("completed", total, state_path, sampler_path, row)


class Stopwatch:
    """Seconds of the phases of a step, by the key of the metric."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, key: str) -> None:
        """Ends a phase."""
        now = time.monotonic()
        self._laps[key], self._last = now - self._last, now

    def laps(self) -> dict[str, float]:
        """All phases so far, and `time/step`, the seconds since the step began."""
        return {**self._laps, "time/step": time.monotonic() - self._began}
