"""Files of a directory as objects of a store.

Files of lines only grow, but for a rollback: they are kept in pieces, of which an upload replaces the last one at most.
All others are replaced as a whole when they change.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from socratic_distill.run.cloud.commits import Piece

GROWING = ".jsonl"
# A smaller piece is uploaded again with what came after it; no piece exceeds the larger bound.
_WHOLE_BYTES = 4 << 20
_LARGEST_BYTES = 32 << 20
# Locks, halves of files, what trackers keep for themselves, and weights, which a service keeps.
_LEFT_OUT_SUFFIXES = (".partial", ".lock")
_LEFT_OUT_FOLDERS = ("wandb", "trackio", "local")


@dataclass(frozen=True)
class Seen:
    """A file as it stood: a later one of the same facts has not changed.

    Attributes:
        size: bytes.
        changed: nanoseconds since the epoch.
        inode: another one where the file was replaced.
    """

    size: int
    changed: int
    inode: int


class Changed(Exception):
    """A file is not what it was when it was looked at: nothing of that look is committed."""


def look(directory: Path) -> dict[str, Seen]:
    """The files of a run directory that are kept in the store, as they stand."""
    pieces = {}
    for path in sorted(_files(directory)):
        with suppress(FileNotFoundError):  # a tracker may take its own away at any time
            facts = path.stat()
            pieces[path.relative_to(directory).as_posix()] = Seen(facts.st_size, facts.st_mtime_ns, facts.st_ino)
    return pieces


def _files(directory: Path) -> Iterator[Path]:
    for path in directory.iterdir():
        if path.name.startswith(".") or path.name.endswith(_LEFT_OUT_SUFFIXES) or path.is_symlink():
            continue
        if path.is_file():
            yield path
        elif path.is_dir() and path.name not in _LEFT_OUT_FOLDERS:
            yield from _files(path)


class Packer:
    """Uploads what changed of a directory's files."""

    def __init__(self, directory: Path, files: Mapping[str, tuple[Piece, ...]], upload: Callable[[bytes], str]) -> None:
        """Begins with a directory that the files were just fetched into.

        Args:
            directory: the run directory.
            files: the pieces in the store, by path.
            upload: makes an object of bytes, and gives its name.
        """
        self._directory = directory
        self._pieces = dict(files)
        self._upload = upload
        self._seen = look(directory)

    def pack(self, seen: Mapping[str, Seen], doubted: bool) -> dict[str, tuple[Piece, ...]]:
        """Uploads what changed since the last time that was kept; gives all files in pieces.

        Args:
            seen: the files as they stood when the upload was asked for. Those that grow may have grown since.
            doubted: whether a file that grows may have been cut, so that pieces are compared with it first.

        Raises:
            Changed: a file that grows was cut or taken away meanwhile.
        """
        packed = {}
        for path, now in seen.items():
            before, pieces = self._seen.get(path), self._pieces.get(path, ())
            if path.endswith(GROWING):
                same = not doubted and before is not None and before.inode == now.inode and before.size <= now.size
                packed[path] = self._grown(self._directory / path, pieces, now.size, compare=not same)
            elif before == now and pieces:
                packed[path] = pieces
            else:
                with suppress(FileNotFoundError):
                    packed[path] = self._whole(self._directory / path)
        return packed

    def keep(self, seen: Mapping[str, Seen], packed: Mapping[str, tuple[Piece, ...]]) -> None:
        """What was packed is in the store."""
        self._seen, self._pieces = dict(seen), dict(packed)

    def _whole(self, path: Path) -> tuple[Piece, ...]:
        data = path.read_bytes()
        return tuple(self._piece(data[at : at + _LARGEST_BYTES]) for at in range(0, max(len(data), 1), _LARGEST_BYTES))

    def _grown(self, path: Path, pieces: tuple[Piece, ...], size: int, compare: bool) -> tuple[Piece, ...]:
        try:
            with path.open("rb") as file:
                kept, offset = [], 0
                for piece in pieces:
                    if offset + piece.size > size or (compare and _digest(file.read(piece.size)) != piece.digest):
                        break
                    kept.append(piece)
                    offset += piece.size
                if offset == size and (kept or size):
                    return tuple(kept)
                if kept and kept[-1].size < _WHOLE_BYTES:
                    offset -= kept.pop().size
                file.seek(offset)
                while offset < size or not kept:
                    data = file.read(min(_LARGEST_BYTES, size - offset))
                    if not data and size > offset:
                        raise Changed(path)
                    kept.append(self._piece(data))
                    offset += len(data)
        except FileNotFoundError as error:
            raise Changed(path) from error
        return tuple(kept)

    def _piece(self, data: bytes) -> Piece:
        return Piece(self._upload(data), len(data), _digest(data))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
