"""Which saves are a run directory's own."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.local_saves import NAME, write_save
from tests.support.partial import Partial

from socratic_distill import ServiceError
from socratic_distill.in_process import status_error
from socratic_distill.run.identity import Identity, Source
from socratic_distill.run.ownership import Ownership
from socratic_distill.run.pruning import Surplus, sort_by_owner
from socratic_distill.run.record import CheckpointRecord

MINE = Identity("mine", copied_from=(Source("original", None),), claimed=("before", "bare:train:0"))
SAVED = {
    "tinker://a:train:0/weights/1": {"run_id": "mine"},
    "tinker://a:train:0/sampler_weights/1": {"run_id": "mine"},
    "tinker://a:train:0/weights/2": {"run_id": "other"},
    "tinker://a:train:0/weights/3": {"run_id": "original"},
    "tinker://a:train:0/weights/4": {"run_id": "before"},
    "tinker://a:train:0/weights/5": None,
    "tinker://a:train:0/weights/6": {"batch": "6"},
    "tinker://bare:train:0/weights/7": None,
    "tinker://bare:train:0/weights/8": {"run_id": "other"},
}


class Rest(Partial):
    """Lists what is saved, and counts how often it is asked."""

    def __init__(self, status: int | None = None) -> None:
        self.asked: list[str] = []
        self.status = status

    async def list_checkpoints(self, server_run: str) -> Any:
        self.asked.append(server_run)
        if self.status is not None:
            raise status_error(self.status, "no")
        found = [one for one in SAVED.items() if one[0].startswith(f"tinker://{server_run}/")]
        return SimpleNamespace(
            checkpoints=[SimpleNamespace(tinker_path=path, user_metadata=facts) for path, facts in found]
        )


@pytest.mark.parametrize(
    ("path", "expected"),
    [(path, place in (0, 1, 4, 7)) for place, path in enumerate(SAVED)]
    + [("tinker://a:train:0/1", True), ("tinker://a:train:0/weights/9", False), ("tinker://gone/weights/1", False)],
)  # fmt: skip
async def test_save_on_the_service_is_owned_by_the_id_that_it_carries(tmp_path, path, expected):
    assert await Ownership(tmp_path, MINE, Rest()).owns(path) is expected


async def test_each_server_run_is_listed_once(tmp_path):
    rest = Rest()
    ownership = Ownership(tmp_path, MINE, rest)
    for path in SAVED:
        await ownership.owns(path)
    assert rest.asked == ["a:train:0", "bare:train:0"]


async def test_server_run_that_is_gone_is_nobodys_and_a_refusal_an_error(tmp_path):
    assert not await Ownership(tmp_path, MINE, Rest(404)).owns("tinker://a:train:0/weights/1")
    with pytest.raises(ServiceError, match="listing the saves of a:train:0"):
        await Ownership(tmp_path, MINE, Rest(500)).owns("tinker://a:train:0/weights/1")


async def test_weights_in_the_own_store_are_owned_and_other_stores_are_not(tmp_path):
    theirs = write_save(tmp_path / "theirs" / "local")
    copy = Path(shutil.copytree(tmp_path / "theirs", tmp_path / "copy"))
    other = write_save(tmp_path / "other" / "local", created_at=2.5)
    ownership = Ownership(copy, MINE, Rest())
    assert await ownership.owns(str(theirs)), "it means the copy's own file"
    assert await ownership.owns(str(copy / "local" / NAME))
    assert not await ownership.owns(str(other)) and not await ownership.owns(str(tmp_path / "no" / NAME / "x"))


@pytest.mark.parametrize(("run_id", "expected"), [("mine", True), ("original", False), (None, False)])
async def test_store_that_is_a_link_is_owned_by_the_ids_in_it(tmp_path, run_id, expected):
    shared = write_save(tmp_path / "disk", user_metadata=None if run_id is None else {"run_id": run_id})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "local").symlink_to(tmp_path / "disk")
    assert await Ownership(tmp_path / "run", MINE, Rest()).owns(str(shared)) is expected


@pytest.mark.parametrize(("status", "outcome"), [(400, "left alone"), (404, "deleted"), (500, "error")])
async def test_weights_that_a_server_does_not_look_up_are_left_alone(tmp_path, status, outcome):
    """SkyRL refuses to look up sampler weights by their path: they may exist, and may be anybody's."""

    class Refusing(Rest):
        async def get_weights_info_by_tinker_path(self, tinker_path: str) -> Any:
            raise status_error(status, "Invalid tinker path format")

    path, rest = "tinker://gone/sampler_weights/000001", Refusing()
    surplus = Surplus(CheckpointRecord(name="000001", sampler_path=path), path, "superseded")
    ownership = Ownership(tmp_path, MINE, rest)
    if outcome == "error":
        with pytest.raises(ServiceError, match="asking for"):
            await sort_by_owner([surplus], ownership, rest)
        return
    own, others = await sort_by_owner([surplus], ownership, rest)
    assert (own, others) == (([], [surplus]) if outcome == "left alone" else ([surplus], []))
