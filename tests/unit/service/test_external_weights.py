from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from socratic_distill import DownloadError
from socratic_distill.service.external_weights import ExternalWeights, is_external_path

PATH = "tinker://run:train:0/external_weights/socratic-distill-export-0123456789abcdef"


class Rest:
    """Signs one file; what it answers can be changed."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.lifetime = timedelta(minutes=15)
        self.answer: dict[str, Any] = {}
        self.signed = self.renewed = 0

    async def get_external_weights_urls(self, tinker_path: str) -> Any:
        self.signed += 1
        urls = {"a": f"https://store.invalid/a?sig={self.signed:08}"}
        return SimpleNamespace(**({"urls": urls, "expires": self.now + self.lifetime} | self.answer))

    async def set_checkpoint_ttl_from_tinker_path(self, tinker_path: str, ttl_seconds: int) -> None:
        assert tinker_path == PATH and ttl_seconds >= 3600
        self.renewed += 1

    async def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> None:
        raise AssertionError("nothing is deleted here")


@pytest.fixture
def rest() -> Rest:
    return Rest()


@pytest.fixture
def weights(rest) -> ExternalWeights:
    return ExternalWeights(rest, PATH, now=lambda: rest.now)


@pytest.mark.parametrize(
    "path",
    [
        "tinker://run:train:0/external_weights/precious",
        "tinker://run:train:0/weights/socratic-distill-export-0123456789abcdef",
        f"{PATH}/more",
        f"{PATH}\n",
        PATH.replace("run:train:0", "a/b"),
    ],
)
def test_only_paths_of_our_own_exports_are_taken_for_such(path):
    assert is_external_path(PATH) and not is_external_path(path)


async def test_urls_are_signed_again_when_they_are_about_to_expire(weights, rest):
    assert await weights.names() == ["a"] and rest.renewed == 1
    first = await weights.url("a", fresh=False)
    rest.now += timedelta(minutes=9)
    assert await weights.url("a", fresh=False) == first and rest.signed == 1
    rest.now += timedelta(minutes=2)
    assert await weights.url("a", fresh=False) != first and rest.signed == 2
    await weights.url("a", fresh=True)
    assert rest.signed == 3


async def test_a_time_without_zone_is_utc_and_one_that_is_missing_is_now(weights, rest):
    rest.answer = {"expires": datetime(2030, 1, 1, 0, 15)}
    await weights.names()
    await weights.url("a", fresh=False)
    assert rest.signed == 1
    rest.answer = {"expires": None}
    await weights.url("a", fresh=True)
    await weights.url("a", fresh=False)
    assert rest.signed == 3


async def test_the_time_limit_is_renewed_every_quarter_of_an_hour(weights, rest, monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    for passed in (0, 899, 2, 899, 2):
        clock.now += passed
        await weights.keep_alive()
    assert rest.renewed == 3


@pytest.mark.parametrize("urls", [None, [], "x", {"a": None}, {1: "https://store.invalid/a"}])
async def test_an_answer_without_urls_is_refused(weights, rest, urls):
    rest.answer = {"urls": urls}
    with pytest.raises(DownloadError, match="names no files"):
        await weights.names()


async def test_a_file_that_is_gone_is_told(weights):
    with pytest.raises(DownloadError, match="no longer has the file 'b'"):
        await weights.url("b", fresh=False)
