import pytest

from socratic_distill import ConfigError
from socratic_distill.config.log_path import given_path, is_url, last_folder


@pytest.mark.parametrize(
    ("log_path", "expected"),
    [("s3://bucket/run", True), ("gs://b/run", True), ("abfs://c@account/run", True), ("runs/run-001", False),
     ("/tmp/run", False), ("tinker://run/weights/final", False), ("C:/runs", False), ("https://host/run", False)],
)  # fmt: skip
def test_url_of_a_store_is_told_from_a_path(log_path, expected):
    assert is_url(log_path) is expected
    assert isinstance(given_path(log_path), str) is expected


def test_last_folder_of_a_url_names_the_run():
    assert last_folder("s3://bucket/runs/run-001/") == last_folder("s3://bucket/runs/run-001") == "run-001"


@pytest.mark.parametrize(
    ("log_path", "told"),
    [
        ("s3:/bucket/run", "lost a slash"),
        ("file:///tmp/run", "plain path"),
        ("s3://", "names no directory"),
        ("https://bucket.s3.amazonaws.com/run", "cannot be written to"),
        ("tinker://run/weights/final", "cannot be written to"),
        ("s3:///", "names no directory"),
        ("ftp://me:s3cret@host/run", "without a user, password"),
    ],
)
def test_config_refuses_an_invalid_url(make_config, log_path, told):
    with pytest.raises(ConfigError, match=told) as caught:
        make_config(log_path=log_path)
    assert "s3cret" not in str(caught.value)


def test_config_refuses_a_store_for_the_local_engine(make_config):
    with pytest.raises(ConfigError, match=r"in a store, but base_url='local' keeps its weights on this machine"):
        make_config(log_path="s3://bucket/run", base_url="local")


def test_config_keeps_a_url_as_it_is(make_config):
    assert make_config(log_path="s3://bucket//runs/run-001/").log_path == "s3://bucket//runs/run-001/"
