"""Files of a run directory are written where they stand, whatever links a stranger put there."""

import pytest

from socratic_distill import StorageError
from socratic_distill.files.durable import append_durably, truncate_durably, write_atomically
from socratic_distill.outputs.exports.rows import replacing


@pytest.fixture
def precious(tmp_path):
    path = tmp_path / "precious"
    path.write_text("precious")
    (tmp_path / "run").mkdir()
    yield path
    assert path.read_text() == "precious"


def test_new_text_never_goes_through_a_link(tmp_path, precious):
    path = tmp_path / "run" / "report.html"
    for name in ("report.html", "report.html.partial"):
        (tmp_path / "run" / name).symlink_to(precious)
    write_atomically(path, "new")
    assert path.read_text() == "new" and not path.is_symlink()


def test_exported_text_never_goes_through_a_link(tmp_path, precious):
    path = tmp_path / "run" / "out.csv"
    for name in ("out.csv", "out.csv.partial"):
        (tmp_path / "run" / name).symlink_to(precious)
    with replacing(path) as file:
        file.write("new")
    assert path.read_text() == "new" and not path.is_symlink()


@pytest.mark.parametrize("write", [lambda path: append_durably(path, "x"), lambda path: truncate_durably(path, 1)])
def test_a_file_elsewhere_is_neither_appended_to_nor_cut(tmp_path, precious, write):
    path = tmp_path / "run" / "checkpoints.jsonl"
    path.symlink_to(precious)
    with pytest.raises(StorageError, match="leads out of the directory"):
        write(path)


def test_a_link_that_leads_nowhere_makes_no_file_elsewhere(tmp_path, precious):
    path = tmp_path / "run" / "checkpoints.jsonl"
    path.symlink_to(tmp_path / "new")
    with pytest.raises(StorageError):
        append_durably(path, "x")
    assert not (tmp_path / "new").exists()


def test_a_link_within_the_directory_is_followed(tmp_path, precious):
    path = tmp_path / "run" / "checkpoints.jsonl"
    (tmp_path / "run" / "journal").write_text("a")
    path.symlink_to("journal")
    append_durably(path, "b")
    assert path.read_text() == "ab" and path.is_symlink()


def test_a_directory_that_is_a_link_is_the_users_own(tmp_path, precious):
    (tmp_path / "link").symlink_to("run")
    append_durably(tmp_path / "link" / "checkpoints.jsonl", "a")
    assert (tmp_path / "run" / "checkpoints.jsonl").read_text() == "a"
