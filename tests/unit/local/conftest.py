"""A local service in an empty store."""

import pytest


@pytest.fixture
def service(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("peft")
    from socratic_distill.local import LocalServiceClient

    return LocalServiceClient(tmp_path / "store")
