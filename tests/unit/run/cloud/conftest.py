import tempfile

import pytest


@pytest.fixture(autouse=True)
def directories_that_are_kept_go_with_the_test(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
