from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples

from socratic_distill.files.durable import append_durably, write_atomically
from socratic_distill.run.cloud import packing
from socratic_distill.run.cloud.commits import Piece
from socratic_distill.run.cloud.packing import Changed, Packer, look


class Bench:
    """A directory, its packer, and what was uploaded."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.objects: dict[str, bytes] = {}
        self.packer = Packer(directory, {}, self._upload)

    def pack(self, doubted: bool = False) -> list[int]:
        """Packs and keeps; gives the sizes of what was uploaded."""
        count, seen = len(self.objects), look(self.directory)
        self.packed = self.packer.pack(seen, doubted)
        self.packer.keep(seen, self.packed)
        return [len(data) for data in list(self.objects.values())[count:]]

    def stored(self, packed: Mapping[str, tuple[Piece, ...]] | None = None) -> dict[str, bytes]:
        files = self.packed if packed is None else packed
        return {path: b"".join(self.objects[piece.name] for piece in pieces) for path, pieces in files.items()}

    def local(self) -> dict[str, bytes]:
        return {path: (self.directory / path).read_bytes() for path in look(self.directory)}

    def _upload(self, data: bytes) -> str:
        name = str(len(self.objects))
        self.objects[name] = data
        return name


@pytest.fixture
def bench(tmp_path, monkeypatch) -> Bench:
    monkeypatch.setattr(packing, "_WHOLE_BYTES", 10)
    monkeypatch.setattr(packing, "_LARGEST_BYTES", 20)
    return Bench(tmp_path / "run")


def test_file_that_grew_is_uploaded_from_where_its_last_small_piece_began(bench):
    file = bench.directory / "rows.jsonl"
    uploads = []
    for size in (4, 8, 3, 45, 0):
        append_durably(file, "x" * size)
        uploads.append(bench.pack())
    assert uploads == [[4], [12], [3], [20, 20, 8], []]
    assert [piece.size for piece in bench.packed["rows.jsonl"]] == [12, 20, 20, 8]
    assert bench.stored() == bench.local()


def test_file_that_was_replaced_is_uploaded_whole_and_others_are_left(bench):
    write_atomically(bench.directory / "a.json", "aaa")
    write_atomically(bench.directory / "b.json", "b")
    assert bench.pack() == [3, 1]
    write_atomically(bench.directory / "a.json", "ccccc")
    assert bench.pack() == [5]
    (bench.directory / "b.json").rename(bench.directory / "b.superseded.json")
    bench.pack()
    assert bench.stored() == bench.local() == {"a.json": b"ccccc", "b.superseded.json": b"b"}


def test_file_that_was_cut_and_grew_again_is_compared_piece_by_piece(bench):
    file = bench.directory / "rows.jsonl"
    for text in ("a" * 12, "b" * 12, "c" * 12):
        append_durably(file, text)
        bench.pack()
    file.write_bytes(b"a" * 12 + b"b" * 6 + b"d" * 30)
    assert bench.pack(doubted=True) == [20, 16]
    assert bench.stored() == bench.local()


def test_file_that_was_cut_is_seen_without_being_told(bench):
    file = bench.directory / "rows.jsonl"
    append_durably(file, "a" * 30)
    bench.pack()
    with file.open("r+b") as cut:
        cut.truncate(5)
    bench.pack()
    assert bench.stored() == {"rows.jsonl": b"aaaaa"}


def test_what_was_appended_after_the_look_is_not_packed(bench):
    file = bench.directory / "rows.jsonl"
    append_durably(file, "one\n")
    seen = look(bench.directory)
    append_durably(file, "half a li")
    assert bench.stored(bench.packer.pack(seen, False)) == {"rows.jsonl": b"one\n"}


def test_file_that_grows_and_went_after_the_look_spoils_the_upload(bench):
    append_durably(bench.directory / "rows.jsonl", "one\n")
    seen = look(bench.directory)
    (bench.directory / "rows.jsonl").unlink()
    with pytest.raises(Changed):
        bench.packer.pack(seen, False)


def test_other_file_that_went_after_the_look_is_left_out(bench):
    for name in ("a.json", "b.json"):
        append_durably(bench.directory / name, name)
    seen = look(bench.directory)
    (bench.directory / "a.json").unlink()
    assert bench.stored(bench.packer.pack(seen, False)) == {"b.json": b"b.json"}


def test_file_that_was_cut_after_the_look_spoils_the_upload(bench):
    append_durably(bench.directory / "rows.jsonl", "a" * 30)
    seen = look(bench.directory)
    (bench.directory / "rows.jsonl").write_bytes(b"a")
    with pytest.raises(Changed):
        bench.packer.pack(seen, False)


def test_locks_halves_trackers_files_and_weights_stay_behind(bench):
    for path in (".lock", ".lock.json", "a.json.partial", "wandb/x/y.json", "local/w/state.json", "evaluations/2.json"):
        (bench.directory / path).parent.mkdir(parents=True, exist_ok=True)
        (bench.directory / path).write_text(path)
    (bench.directory / "link.json").symlink_to(bench.directory / ".lock")
    bench.pack()
    assert list(bench.stored()) == ["evaluations/2.json"]


CHANGES = st.lists(
    st.tuples(st.sampled_from(["append", "cut", "pack"]), st.integers(0, 40), st.integers(0, 255)), max_size=25
)


@settings(max_examples=examples(60), deadline=None)
@given(changes=CHANGES)
def test_pieces_always_are_the_file(tmp_path_factory, changes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "_WHOLE_BYTES", 10)
        patch.setattr(packing, "_LARGEST_BYTES", 20)
        bench, doubted = Bench(tmp_path_factory.mktemp("run")), False
        file = bench.directory / "rows.jsonl"
        file.touch()
        for kind, size, byte in [*changes, ("pack", 0, 0)]:
            if kind == "append":
                with file.open("ab") as appended:
                    appended.write(bytes([byte]) * size)
            elif kind == "cut":
                with file.open("r+b") as cut:
                    cut.truncate(min(size, file.stat().st_size))
                doubted = True
            else:
                bench.pack(doubted)
                doubted = False
                assert bench.stored() == bench.local()
