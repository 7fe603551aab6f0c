from pathlib import Path
from types import SimpleNamespace

import pytest

from socratic_distill import StorageError
from socratic_distill.run.room import check_storage, local_bytes


@pytest.fixture
def free(monkeypatch):
    """Sets the bytes that are left on every disk."""

    def leave(size: int) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=size))

    return leave


def test_directory_that_can_be_made_passes_and_nothing_is_left_there(make_config, tmp_path):
    before = set(tmp_path.iterdir())
    check_storage(make_config(log_path=tmp_path / "a" / "b"))
    assert set(tmp_path.iterdir()) == before


def test_directory_below_a_file_is_refused(make_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/run' cannot be made or written.*Take a log_path that can be written"):
        check_storage(make_config(log_path=tmp_path / "file" / "run"))


def test_full_disk_is_refused_with_what_is_left(make_config, free):
    free(20 * 2**20)
    with pytest.raises(StorageError, match=r"has 20 MiB left, and the run takes about 64 MiB\. Make room"):
        check_storage(make_config())


def test_saves_of_the_local_engine_count(make_config, free):
    config = make_config(base_url="local", tutor_model_name="tiny", lora_rank=32, save_every=10)
    saves = local_bytes(config, 1000)
    assert saves is not None and saves > 10**8
    free(saves)
    check_storage(config, 10)
    with pytest.raises(StorageError, match="save less often"):
        check_storage(config, 1000)


def test_saves_of_a_model_that_is_not_at_hand_are_not_guessed(make_config):
    assert local_bytes(make_config(tutor_model_name="hub/name"), 1000) is None


def test_place_that_is_no_path_is_left_to_its_store(make_config, free):
    free(0)
    check_storage(make_config().model_copy(update={"log_path": "s3://bucket/run"}))
    with pytest.raises(StorageError):
        check_storage(make_config(log_path=str(Path("runs") / "x")))
