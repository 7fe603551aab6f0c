"""A trainer that is killed again and again ends with what it would have had, and never loses a confirmed state."""

import json
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.support.doomed import WINDOWS, Doom, train_doomed
from tests.support.killed_runs import (
    assert_same_rows,
    assert_same_run_on_the_fake,
    fake_fields,
    final_state,
    texts_of_rows,
)
from tests.support.on_the_fake import train_on_fake
from tests.support.processes import processes
from tests.support.tiny_runs import tiny_fields

from socratic_distill import SocraticConfig, build_socratic_config, load_checkpoints, load_seeds, train
from socratic_distill.dialogues.batches import batch
from socratic_distill.run.journal import Journal
from socratic_distill.run.rollback import next_step
from socratic_distill.testing import FakeServiceClient
from socratic_distill.testing.store import DirectoryStore

ROLLBACKS = WINDOWS[2:6]
ONCE_A_LIFE = (*ROLLBACKS, WINDOWS[6])


class Ordeal:
    """A run that is killed and started again, until it is complete."""

    def __init__(self, directory: Path, fields: dict[str, Any], on_the_fake: bool) -> None:
        self.run, self.dooms = directory / "run", directory / "dooms"
        self._server = directory / "server" if on_the_fake else None
        self._fields = {**fields, "log_path": str(self.run)}
        self._recorded: set[str] = set()
        self.kills = 0

    def start(self, doom: Doom, seconds: float | None = None) -> bool:
        """Starts the trainer; whether it was killed, by its doom or after some seconds. Else it is complete."""
        newest, lines = self._newest_on_the_server(), self._resumes()
        server = None if self._server is None else str(self._server)
        child = processes.Process(target=train_doomed, args=(self._fields, server, doom), daemon=True)
        child.start()
        child.join(seconds)
        if child.is_alive():
            child.kill()
            child.join()
        assert child.exitcode in (0, -signal.SIGKILL), f"the trainer did not resume by itself: exit {child.exitcode}"
        self._check_that_nothing_was_lost(newest, self._resumes()[len(lines) :])
        self.kills += child.exitcode != 0
        return child.exitcode != 0

    def batches(self) -> int:
        """Batches that the newest recorded state is behind."""
        newest = Journal.of(self._records()).newest_state()
        return 0 if newest is None else newest.batch or 0

    def has_rows_to_roll_back(self) -> bool:
        return (next_step(self.run / "metrics.jsonl") or 0) > self._newest_on_the_server()

    def windows(self) -> Counter[str]:
        return Counter(self.dooms.read_text().splitlines() if self.dooms.exists() else [])

    def _check_that_nothing_was_lost(self, newest: int, resumes: list[int]) -> None:
        states = {record.state_path for record in self._records() if record.state_path}
        assert states >= self._recorded, "a recorded state is not in the journal any more"
        self._recorded = states
        # What the service holds has its rows, so it must be gone on from, recorded or not.
        assert resumes in ([], [newest]), f"resumed at {resumes}, but the service held a state of batch {newest}"

    def _newest_on_the_server(self) -> int:
        if self._server is None:
            files = (self.run / "local").glob("*/weights/[!.]*/state.json")
            facts = [json.loads(file.read_text())["user_metadata"] for file in files]
        else:
            headers = DirectoryStore(self._server).headers()
            facts = [header.user_metadata or {} for header in headers if header.kind == "weights"]
        return max((int(one["batch"]) for one in facts), default=0)

    def _resumes(self) -> list[int]:
        return [record.batch or 0 for record in self._records() if record.resumed_at]

    def _records(self) -> list[Any]:
        return load_checkpoints(self.run) if self.run.exists() else []


def endure(directory: Path, fields: dict[str, Any], kills: int, seed: int) -> Ordeal:
    """Kills a run on the fake `kills` times, each window first, and lets it end."""
    steps, chance = fields["max_steps"], random.Random(seed)
    ordeal = Ordeal(directory, fields, on_the_fake=True)
    planted = [window for window in WINDOWS for _ in range(max(1, kills // 40))]
    while ordeal.kills < kills:
        if planted and (planted[0] not in ROLLBACKS or ordeal.has_rows_to_roll_back()):
            window = planted.pop(0)
            doom, seconds = Doom(window, 0 if window in ONCE_A_LIFE else chance.randint(0, 4), events=400), None
        else:
            # A run that is ahead of its share of the kills dies while it starts, or soon after: it must last.
            ahead = ordeal.batches() / steps > 0.9 * ordeal.kills / kills
            doom = Doom(events=chance.randint(1, 50) if ahead else chance.randint(50, 150), after=chance.random() < 0.5)
            seconds = chance.uniform(0.02, 0.2) if ahead and chance.random() < 0.3 else None
        assert ordeal.start(doom, seconds), f"the run was complete after {ordeal.kills} kills"
    assert not ordeal.start(Doom())
    assert set(ordeal.windows()) >= set(WINDOWS), f"a window was never hit: {ordeal.windows()}"
    return ordeal


def assert_equals_one_left_alone(ordeal: Ordeal, fields: dict[str, Any], directory: Path) -> None:
    whole = FakeServiceClient(directory / "whole-server")
    config = build_socratic_config(**fields, log_path=directory / "whole")
    train_on_fake(whole, config)
    assert_same_run_on_the_fake(ordeal.run, directory / "server", directory / "whole", directory / "whole-server")


def assert_every_dialogue_once(run: Path, config: SocraticConfig) -> None:
    """Each batch has its seeds, in order, once; and no token is older than the config allows."""
    steps, size = config.max_steps or 0, config.groups_per_batch
    seeds = load_seeds(config.seeds_file)
    wanted = [(step, seed.id) for step in range(steps) for seed in batch(seeds, seed=0, step=step, size=size)]
    dialogues = [json.loads(row) for row in texts_of_rows(run, "dialogues.jsonl")]
    assert [(row["step"], row["seed"]) for row in dialogues] == wanted
    metrics = [json.loads(row) for row in texts_of_rows(run, "metrics.jsonl")]
    assert [row["step"] for row in metrics] == list(range(steps))
    trained = [row["version"] for row in metrics]
    ages = {
        trained[row["step"]] - turn["version"] for row in dialogues for turn in row["turns"] if turn["role"] == "tutor"
    }
    assert max(ages) == max(row["staleness/max"] for row in metrics) == config.max_staleness and min(ages) >= 0
    assert final_state(run)


KILLS = [(10, 1), pytest.param(200, 2, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("kills", "seed"), KILLS)
def test_run_that_is_killed_equals_one_that_is_not(seeds_file, tmp_path, kills, seed):
    fields = fake_fields(seeds_file, 60)
    assert_equals_one_left_alone(endure(tmp_path, fields, kills, seed), fields, tmp_path)


@pytest.mark.parametrize(("kills", "seed"), KILLS)
@pytest.mark.slow
def test_run_that_is_killed_while_dialogues_are_ahead_plays_each_once(seeds_file, tmp_path, kills, seed):
    fields = {**fake_fields(seeds_file, 60), "max_staleness": 2}
    ordeal = endure(tmp_path, fields, kills, seed)
    assert_every_dialogue_once(ordeal.run, build_socratic_config(**fields, log_path=ordeal.run))


@pytest.mark.slow
def test_run_on_the_local_engine_killed_ten_times_equals_a_whole_one(tmp_path):
    pytest.importorskip("torch")
    fields = tiny_fields(
        max_tokens=20, groups_per_batch=2, max_turns=1, max_steps=12, save_every=3, rolling_save_every=2
    )
    train(build_socratic_config(**fields, log_path=tmp_path / "whole"))
    ordeal, chance = Ordeal(tmp_path, fields, on_the_fake=False), random.Random(3)
    planted = [WINDOWS[7], WINDOWS[2], WINDOWS[0], WINDOWS[1]]
    while ordeal.kills < 10:
        window = planted.pop(0) if planted else None
        doom = Doom(window, events=None if window else chance.randint(5, 45), after=chance.random() < 0.5)
        assert ordeal.start(doom), f"the run was complete after {ordeal.kills} kills"
    assert not ordeal.start(Doom())
    assert set(ordeal.windows()) >= {WINDOWS[place] for place in (0, 1, 2, 7)}
    assert_same_rows(ordeal.run, tmp_path / "whole")
    finals = [final_state(run) for run in (ordeal.run, tmp_path / "whole")]
    for file in ("adapter_model.safetensors", "optimizer.safetensors"):
        one, other = ((Path(final) / file).read_bytes() for final in finals)
        assert one == other, f"{file} differs"
