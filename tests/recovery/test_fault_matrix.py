"""Every service call that the trainer makes × every way in which it can fail.

The expected outcomes are the table in docs/failures.md, one row a test. `make fault-matrix` writes it anew.
"""

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.on_the_fake import train_virtually
from tests.support.rows import rows_of_run
from tests.support.run_directories import make_its_own

from socratic_distill import SocraticError
from socratic_distill.testing import FakeServiceClient, Fault

DOCUMENT = Path(__file__).parents[2] / "docs" / "failures.md"
HEADER = "<!-- the fault matrix: written by `make fault-matrix` -->\n"
FAILURES: tuple[int | str, ...] = (
    "connection", "timeout", 429, 500, 400, 401, 402, 403, 404, "request_failed", "lost_answer", "submission",
    "poisoned", "slow", "never",
)  # fmt: skip
DOCUMENTED = {"ServiceError", "TrainingError", "SaveError", "RolloutError", "NoUsableCheckpoint", "CheckpointNotFound"}
FOR_EVER = 10**6
TOTAL = 3


class Scenario(NamedTuple):
    """A run that makes a call, and the call's number in it that fails."""

    prepared: int  # steps done before, with a healthy service; -1: another run, to load from
    nth: int
    call: str | None = None  # where the row has a name of its own
    objective: str = "sampled_reverse_kl"


SCENARIOS = {
    "create_lora_training_client": Scenario(0, 1),
    "create_training_client_from_state": Scenario(-1, 1),
    "create_training_client_from_state_with_optimizer": Scenario(2, 1),
    "create_sampling_client": Scenario(0, 2),
    "get_server_capabilities": Scenario(0, 1),
    "get_weights_info_by_tinker_path": Scenario(2, 1),
    "list_checkpoints": Scenario(2, 1),
    "sample": Scenario(0, 4),
    "sample, to score": Scenario(0, 5, "sample"),
    "forward": Scenario(0, 2, objective="reverse_kl"),
    "forward_backward": Scenario(0, 2),
    "optim_step": Scenario(0, 2),
    "save_weights_for_sampler": Scenario(0, 3),
    "save_state": Scenario(0, 2),
    "delete_checkpoint_from_tinker_path": Scenario(0, 1),
}


@pytest.fixture
def config(make_config):
    def make(path: Path, **changes: Any):
        fields = dict(
            log_path=path, max_steps=TOTAL, save_every=2, rolling_save_every=1, groups_per_batch=2, num_envs=1,
            max_turns=1, max_tokens=4, max_failed_fraction=0.5,
        )  # fmt: skip
        return make_config(**(fields | changes))

    return make


# By default one call of each kind: to open a run, to play, to train and to save. All are among the slow tests.
BY_DEFAULT = ("create_training_client_from_state_with_optimizer", "sample", "optim_step", "save_state")
CALLS = [call if call in BY_DEFAULT else pytest.param(call, marks=pytest.mark.slow) for call in SCENARIOS]


class Bench:
    """A run directory and a service as a scenario leaves them, for one cell after another."""

    def __init__(self, directory: Path, scenario: Scenario, config: Any) -> None:
        self._directory, self._number = directory, 0
        changes: dict[str, Any] = {"objective": {"kind": scenario.objective}}
        self._prepared = directory / "prepared"
        self._prepared.mkdir()
        if scenario.prepared:
            steps = abs(scenario.prepared)
            name = "run" if scenario.prepared > 0 else "other"
            self._train(self._prepared, config(self._prepared / name, max_steps=steps))
        if scenario.prepared < 0:
            changes["load_checkpoint_path"] = self._prepared / "other"
        self._config = lambda path: config(path, **changes)
        self.whole = self._reference()

    def cell(self, fault: Fault) -> str:
        """What becomes of the run, in a word; checks that it is whole, at once or when it is started again."""
        here = self._copy()
        try:
            service = self._train(here, self._config(here / "run"), fault)
        except SocraticError as error:
            assert type(error).__name__ in DOCUMENTED, f"{fault}: {error}"
            self._train(here, self._config(here / "run"))
            assert self._rows(here) == self.whole, f"{fault}: the resumed run differs"
            return type(error).__name__
        assert service.count(fault.call) >= fault.nth, "the fault never struck"
        rows = self._rows(here)
        if rows != self.whole:
            failed = [row["step"] for row in rows[0] if row["end/failed"]]
            assert fault.call == "sample" and len(failed) == 1, f"{fault}: the rows differ"
            return "drops the dialogue"
        return "recovers" if rows != self._rows(here, as_written=True) else "goes on"

    def _reference(self) -> tuple[Any, ...]:
        here = self._copy()
        self.calls = {record.call for record in self._train(here, self._config(here / "run")).calls}
        return self._rows(here)

    def _copy(self) -> Path:
        self._number += 1
        here = Path(shutil.copytree(self._prepared, self._directory / str(self._number)))
        make_its_own(here / "run")
        return here

    def _rows(self, here: Path, as_written: bool = False) -> tuple[Any, ...]:
        metrics, dialogues = rows_of_run(here / "run")
        assert [row["step"] for row in metrics] == list(range(TOTAL))
        return metrics if as_written else [{**row, "recovery/count": 0} for row in metrics], dialogues

    def _train(self, here: Path, config: Any, *faults: Fault) -> FakeServiceClient:
        # In virtual time: what is late comes after all that goes on without it, on every machine.
        return train_virtually(FakeServiceClient(here / "server", faults=faults), config)


def row_of(call: str, bench: Bench) -> str:
    """A row of the table: what becomes of a failure that strikes once, and of one that lasts."""
    cells = []
    for failure in FAILURES:
        scenario = SCENARIOS[call]
        outcomes = [
            bench.cell(Fault(scenario.call or call, scenario.nth, failure, times, seconds=0.2))
            for times in (1, FOR_EVER)
        ]
        cells.append(" / ".join(dict.fromkeys(outcomes)))
    return f"| `{call}` | {' | '.join(cells)} |\n"


@pytest.mark.parametrize("call", CALLS)
def test_every_failure_of_a_call_ends_as_the_docs_say(call, config, tmp_path):
    row = row_of(call, Bench(tmp_path, SCENARIOS[call], config))
    if os.environ.get("SOCRATIC_WRITE_DOCS"):
        write_row(call, row)
    written = [line for line in table() if line.startswith(f"| `{call}` |")]
    assert written == [row], "run `make fault-matrix` and read what changed"


def test_table_has_a_row_for_every_call_that_the_trainer_makes(config, tmp_path):
    made = set()
    for number, (prepared, objective) in enumerate({(one.prepared, one.objective) for one in SCENARIOS.values()}):
        directory = tmp_path / str(number)
        directory.mkdir()
        made |= Bench(directory, Scenario(prepared, 1, objective=objective), config).calls
    assert "forward" in made and made <= set(SCENARIOS)
    assert [line.split("`")[1] for line in table()] == list(SCENARIOS)


def table() -> list[str]:
    """The rows of the table in the docs."""
    text = DOCUMENT.read_text(encoding="utf-8").partition(HEADER)[2].partition("\n\n")[0]
    return [line + "\n" for line in text.splitlines() if line.startswith("| `")]


def write_row(call: str, row: str) -> None:
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(HEADER)
    after = rest.partition("\n\n")[2] if rest.strip("\n").startswith("|") else rest.lstrip("\n")
    rows = {line.split("`")[1]: line for line in table()} | {call: row}
    names = [str(failure).replace("_", " ") for failure in FAILURES]
    head = f"| call | {' | '.join(names)} |\n|{'---|' * (1 + len(names))}\n"
    body = "".join(rows[name] for name in SCENARIOS if name in rows)
    DOCUMENT.write_text(f"{before}{HEADER}{head}{body}\n{after}", encoding="utf-8")
