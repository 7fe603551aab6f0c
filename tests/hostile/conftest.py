import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from socratic_distill import build_socratic_config, train
from socratic_distill.testing import FakeRestClient, FakeServiceClient

EVIL = "evil_rewards"


@dataclass(frozen=True)
class Base:
    """A run as its owner left it.

    Attributes:
        run: its directory.
        server: directory of the fake service that it ran on, and another run beside it.
        others: paths of the other run's checkpoints.
    """

    run: Path
    server: Path
    others: frozenset[str]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A short run on the fake service, with evaluations, and a stranger's run on the same service."""
    directory = tmp_path_factory.mktemp("base")
    fields: dict[str, Any] = dict(
        tutor_model_name="small", student_model_name="pupil", teacher_model_name="small", learning_rate=0.1,
        max_tokens=6, groups_per_batch=2, num_envs=1, max_turns=2, save_every=2, rolling_save_every=1,
        eval_every=4, eval_seeds=2, display="off", write_report=False,
    )  # fmt: skip
    for name, steps in (("run", 4), ("other", 1)):
        client = FakeServiceClient(directory / "server")
        config = build_socratic_config(log_path=directory / name, max_steps=steps, **fields)
        train(config, service_client=client, rest_client=FakeRestClient(client))
    rows = (json.loads(line) for line in (directory / "other" / "checkpoints.jsonl").read_text().splitlines())
    paths = {row[key] for row in rows for key in ("state_path", "sampler_path") if key in row}
    paths &= set(checkpoints(directory / "server"))
    assert paths
    return Base(directory / "run", directory / "server", frozenset(paths))


def checkpoints(server: Path) -> list[str]:
    """What a fake service holds."""
    listed = FakeRestClient(FakeServiceClient(server)).list_user_checkpoints(limit=1000).result()
    return [one.tinker_path for one in listed.checkpoints]


@dataclass(frozen=True)
class Scene:
    """A copy of the run among other files, as a stranger's directory stands on a disk.

    Attributes:
        root: of everything.
        run: the copy.
        outside: files that are no business of a command's.
        out: where commands write.
        server: a copy of the service's directory.
        mark: is made where a stranger's code runs.
    """

    root: Path
    run: Path
    outside: Path
    out: Path
    server: Path
    mark: Path


def set_scene(base: Base, root: Path) -> Scene:
    """Copies the run and its service, and lays files around."""
    shutil.rmtree(root, ignore_errors=True)
    scene = Scene(root, root / "runs" / "run", root / "outside", root / "out", root / "server", root / "mark")
    for folder in (scene.run.parent, scene.outside / "weights" / "final", scene.outside / "model", scene.out):
        folder.mkdir(parents=True)
    shutil.copytree(base.run, scene.run)
    shutil.copytree(base.server, scene.server)
    row = {"question": "What is 1 + 1?", "expected_answer": "2", "initial_error": "It is 3."}
    for name in ("secret.json", "secret.jsonl", "weights/final/state.json", "weights/final/adapter_config.json"):
        (scene.outside / name).write_text(json.dumps({**row, "base_model": "tiny", "expires_at": None}) + "\n")
    (scene.outside / "secret.txt").write_text("{question} TOP SECRET")
    (scene.outside / "model" / "config.json").write_text('{"auto_map": {"AutoConfig": "evil_rewards.Config"}}')
    for folder in (scene.root, scene.run.parent, scene.run, scene.outside / "model"):
        code = f"open({str(scene.mark)!r}, 'w').close()\ndef reward(dialogue): return 1.0\n"
        (folder / f"{EVIL}.py").write_text(code)
    _settle(scene.run)
    return scene


def _settle(run: Path) -> None:
    """Has the copy count as the run itself: commands do least in a copy."""
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "log_path": str(run)}))
    place, stored = run.stat(), json.loads((run / "run.json").read_text())
    stored |= {"path": str(run.resolve()), "inode": f"{place.st_dev}:{place.st_ino}"}
    (run / "run.json").write_text(json.dumps(stored))
