"""Whether a directory is a run, was moved, or is a copy."""

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples

from socratic_distill import ConfigError, StartError
from socratic_distill.run.identity import Identity, Source, claim, read_identity, recognise
from socratic_distill.run.layout import RUN


@pytest.fixture
def run(tmp_path):
    """A directory whose run.json was written there."""
    directory = tmp_path / "run"
    directory.mkdir()
    recognise(directory).write(directory)
    return directory


def run_id(directory: Path) -> str:
    return json.loads((directory / RUN).read_text())["run_id"]


def test_directory_without_a_run_gets_an_id_and_its_place(tmp_path):
    identity = recognise(tmp_path)
    found = os.stat(tmp_path)
    assert identity == Identity(identity.run_id, str(tmp_path.resolve()), f"{found.st_dev}:{found.st_ino}")
    assert recognise(tmp_path).run_id != identity.run_id and not list(tmp_path.iterdir())


def test_directory_that_stayed_is_the_same_run(run):
    assert recognise(run) == read_identity(run)


def test_directory_that_was_moved_is_the_same_run(run, tmp_path):
    moved = run.rename(tmp_path / "moved")
    identity = recognise(moved)
    assert (identity.run_id, identity.path, identity.copied_from) == (run_id(moved), str(moved), ())


def test_directory_reached_by_a_link_is_the_same_run(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    assert recognise(tmp_path / "link") == read_identity(run)


def test_backup_restored_to_the_path_is_the_same_run(run, tmp_path):
    shutil.copytree(run, tmp_path / "backup")
    shutil.rmtree(run)
    (tmp_path / "takes the old inode").mkdir()
    shutil.copytree(tmp_path / "backup", run)
    assert recognise(run).run_id == run_id(run) and recognise(run).copied_from == ()


def test_copy_is_another_run_that_knows_where_it_is_from(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    identity = recognise(copy)
    assert identity.run_id != run_id(run) and identity.copied_from == (Source(run_id(run), str(run.resolve())),)
    assert identity.owned == {identity.run_id} and identity.lineage == {identity.run_id, run_id(run)}
    assert run_id(copy) == run_id(run), "nothing is written before the copy begins"


def test_copy_of_a_copy_goes_on_from_both(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    recognise(copy).write(copy)
    second = recognise(Path(shutil.copytree(copy, tmp_path / "second")))
    assert [source.run_id for source in second.copied_from] == [run_id(copy), run_id(run)]
    assert recognise(copy) == read_identity(copy), "a copy that began stays itself"


def test_directory_moved_aside_while_a_backup_takes_its_place_is_a_copy(run, tmp_path):
    aside = run.rename(tmp_path / "aside")
    shutil.copytree(aside, run)
    assert recognise(run).run_id == run_id(run)
    assert recognise(aside).copied_from == (Source(run_id(run), str(run.resolve())),), "two would be one run"


def test_run_of_an_older_version_is_the_same_run_and_then_knows_its_place(run, tmp_path):
    (run / RUN).write_text('{"run_id": "abc"}')
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    assert recognise(run).run_id == recognise(copy).run_id == "abc"
    recognise(run).write(run)
    assert recognise(Path(shutil.copytree(run, tmp_path / "later"))).run_id != "abc"


def test_without_inodes_the_path_alone_decides(run, tmp_path, monkeypatch):
    stat = os.stat

    def without(path, *arguments, **options):
        found = list(stat(path, *arguments, **options))
        found[1] = 0
        return os.stat_result(found)

    monkeypatch.setattr("socratic_distill.run.identity.os.stat", without)
    first = recognise(run)
    assert first.inode is None
    first.write(run)
    assert recognise(run) == first
    assert recognise(run.rename(tmp_path / "moved")).run_id != first.run_id


def test_run_in_a_store_is_known_by_its_url(tmp_path):
    first = recognise(tmp_path, "s3://bucket/a")
    assert (first.path, first.inode) == ("s3://bucket/a", None)
    first.write(tmp_path)
    assert recognise(tmp_path, "s3://bucket/a") == first
    assert recognise(tmp_path, "s3://bucket/b").copied_from == (Source(first.run_id, "s3://bucket/a"),)
    assert recognise(tmp_path).run_id != first.run_id, "a download is a copy"


def test_claim_makes_a_copy_that_has_not_begun_the_run_itself(run, tmp_path):
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    with pytest.raises(ConfigError, match="still holds the run"):
        claim(copy, None, ())
    shutil.rmtree(run)
    claim(copy, None, ["server"]).write(copy)
    assert recognise(copy) == Identity(run_id(copy), str(copy), recognise(copy).inode, (), ("server",))


def test_claim_gives_a_copy_that_began_the_saves_of_both(run, tmp_path):
    copy, original = Path(shutil.copytree(run, tmp_path / "copy")), run_id(run)
    recognise(copy).write(copy)
    with pytest.raises(ConfigError, match="still holds the run"):
        claim(copy, None, ())
    shutil.rmtree(run)
    claimed = claim(copy, None, ())
    assert claimed.run_id == run_id(copy) and claimed.owned == {run_id(copy), original}
    claimed.write(copy)
    second = recognise(Path(shutil.copytree(copy, tmp_path / "second")))
    assert second.owned == {second.run_id}, "what a run claimed is not its copy's"
    assert second.lineage == {second.run_id, run_id(copy), original}


def test_claim_needs_a_run(tmp_path):
    with pytest.raises(StartError, match=r"has no run\.json"):
        claim(tmp_path, None, ())


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"run_id": 1}', '{"run_id": "a", "path": 3}', '{"run_id": "a", "copied_from": 1}',
     '{"run_id": "a", "copied_from": [1]}', '{"run_id": "a", "claimed": {"a": 1}, "copied_from": [{}]}',
     '{"run_id": "a", "claimed": [null]}'],
)  # fmt: skip
def test_file_that_no_run_wrote_is_an_error_that_names_it(tmp_path, text):
    (tmp_path / RUN).write_text(text)
    with pytest.raises(StartError, match=r"run\.json"):
        recognise(tmp_path)


TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT, lambda part: st.lists(part) | st.dictionaries(TEXT, part)
)
KEYS = st.sampled_from(["run_id", "path", "inode", "copied_from", "claimed"])


@settings(max_examples=examples(200), deadline=None)
@given(stored=st.dictionaries(KEYS, JSON))
def test_any_content_is_an_identity_or_an_error_of_ours(tmp_path_factory, stored):
    directory = tmp_path_factory.mktemp("run")
    (directory / RUN).write_bytes(json.dumps(stored).encode())
    try:
        identity = recognise(directory)
        assert isinstance(identity.run_id, str) and identity.path == str(directory.resolve())
        claim(directory, None, ())
    except (StartError, ConfigError):
        pass
