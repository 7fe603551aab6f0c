import threading
import uuid

import pytest
from tests.support.patience import PATIENCE
from tests.support.stores_in_tests import FolderStore, MemoryStore

from socratic_distill import CloudExtraMissing, StorageError
from socratic_distill.run.cloud.patience import Patience
from socratic_distill.run.cloud.stores import _RIVALS, FsspecStore, check_store

SOON = Patience(0.0)


class Unconditional(MemoryStore):
    def create(self, name, data):
        self.objects[name] = data


class LooksThenWrites(MemoryStore):
    """As fsspec's filesystems do that have no condition on the write; all who look at once look before any writes."""

    def __init__(self):
        super().__init__()
        self._everyone_has_looked = threading.Barrier(_RIVALS)

    def create(self, name, data):
        if name in self.objects:
            raise FileExistsError(name)
        self._everyone_has_looked.wait(PATIENCE)
        self.objects[name] = data


class WithoutMode(MemoryStore):
    def create(self, name, data):
        raise TypeError("unexpected keyword argument 'mode'")


def refuse(error):
    def before(call, name):
        if call == "write":
            raise error

    return before


@pytest.fixture
def memory_url():
    pytest.importorskip("fsspec")
    return f"memory://{uuid.uuid4().hex}/run"


def test_store_with_conditional_writes_is_taken(tmp_path, memory_url):
    store = MemoryStore()
    for one in (store, FolderStore(tmp_path), FsspecStore(memory_url)):
        check_store(one, SOON)
    assert not store.objects, "the probe leaves objects behind"


@pytest.mark.parametrize("kind", [Unconditional, LooksThenWrites, WithoutMode])
def test_store_without_conditional_writes_is_refused(kind):
    with pytest.raises(StorageError, match=r"memory://bucket/run: .* lacks conditional writes"):
        check_store(kind(), SOON)


@pytest.mark.parametrize(
    ("error", "told"),
    [(PermissionError("Access Denied"), "was refused: PermissionError: Access Denied. Check the store's credentials"),
     (FileNotFoundError("no such bucket"), "Make the bucket"),
     (ConnectionError("nobody answers"), "failed for 0 s: ConnectionError: nobody answers")],
)  # fmt: skip
def test_store_that_cannot_be_written_says_why(error, told):
    store = MemoryStore()
    store.before = refuse(error)
    with pytest.raises(StorageError, match=told):
        check_store(store, SOON)


def test_fsspec_store_keeps_objects_by_name(memory_url):
    store = FsspecStore(memory_url + "/")
    store.create("a/1", b"one")
    with pytest.raises(FileExistsError):
        store.create("a/1", b"two")
    store.write("a/2", b"x")
    store.write("a/2", b"two")
    assert (store.read("a/1"), store.read("a/2")) == (b"one", b"two")
    assert (store.names("a"), store.names("b")) == (["1", "2"], [])
    store.delete("a/1")
    store.delete("a/1")
    with pytest.raises(FileNotFoundError):
        store.read("a/1")
    assert store.url == memory_url


def test_missing_package_is_named():
    fsspec = pytest.importorskip("fsspec")
    fsspec.register_implementation("absent", "no_such_package.FileSystem", errtxt="install no_such_package")
    with pytest.raises(CloudExtraMissing, match=r"no_such_package.*pip install .*\[cloud\]"):
        FsspecStore("absent://bucket/run")


def test_unknown_kind_of_url_is_refused():
    pytest.importorskip("fsspec")
    with pytest.raises(StorageError, match=r"nonsense://bucket/run.*fsspec knows"):
        FsspecStore("nonsense://bucket/run")
