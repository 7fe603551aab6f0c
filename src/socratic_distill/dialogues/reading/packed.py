"""Opens users' files: unpacks .gz and .zst, decodes lines, and raises errors that name the file."""

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

from socratic_distill.config.paths import HUB, is_no_path, resolved
from socratic_distill.errors import ConfigError, DataExtraMissing
from socratic_distill.files.extras import how_to_install

PathLike = str | os.PathLike[str]
_PACKED = (".gz", ".zst")
_NAMES = {".json": "JSON", ".csv": "CSV", ".tsv": "TSV", ".parquet": "Parquet"}
_ROWS = {
    ".json": "a list of objects, or one JSON object a line",
    ".csv": "a header, then a line for each",
    ".tsv": "a header, then a line for each",
    ".parquet": "a row for each",
}
# Files that people have their data in, and what makes one of them a file that is read.
_UNREAD = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV"),
    **dict.fromkeys((".bz2", ".xz", ".zip", ".7z", ".tar", ".tgz"), "unpack it, or pack it with gzip or zstandard"),
    **dict.fromkeys((".arrow", ".feather", ".pkl", ".pickle", ".h5"), "write it as Parquet or JSONL"),
    **dict.fromkeys((".yaml", ".yml", ".xml"), "write it as JSON or JSONL"),
}
_PART = 2**17  # bytes of a packed file that are read at a time
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Source:
    """A file, a directory or a data set, as it was given, and how messages about it are raised.

    Attributes:
        given: its path or name, as it was given.
        what: its content, such as "seed".
        error: class of the errors.
        split: its split, if it has several.
    """

    given: PathLike
    what: str
    error: type[ConfigError]
    split: str | None = None

    @cached_property
    def path(self) -> Path:
        """The path to open."""
        return Path(resolved(self.given))

    @cached_property
    def name(self) -> str:
        """What messages call it."""
        text = os.fspath(self.given)
        return text if is_no_path(text) else str(Path(text))

    @cached_property
    def suffixes(self) -> tuple[str, str]:
        """The suffix of its format and that of its packing, in lower case; "" if there is none."""
        path = Path(os.fspath(self.given))
        packing = path.suffix.lower() if path.suffix.lower() in _PACKED else ""
        return Path(path.stem if packing else path.name).suffix.lower(), packing

    @cached_property
    def rows(self) -> str:
        """What its rows are expected to be, for messages."""
        return _ROWS.get(self.suffixes[0], "one JSON object a line")

    def check_suffix(self) -> None:
        """Raises an error of its class if its name ends as one of the files that are not read."""
        suffix = next((suffix for suffix in reversed(self.suffixes) if suffix in _UNREAD), None)
        if suffix is not None:
            raise self.error(f"{self.name}: {suffix} files are not read; {_UNREAD[suffix]}")

    @cached_property
    def stem(self) -> str:
        """Its name without directory and suffixes, from which rows without an id are named."""
        text = os.fspath(self.given)
        if is_no_path(text):
            text = text.removeprefix(HUB).partition("@")[0]
        path = Path(text)
        return Path(path.stem).stem if self.suffixes[1] else path.stem

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Raises any error in reading it as an error of its class."""
        expected = f"expected a {_NAMES.get(self.suffixes[0], 'JSONL')} file of {self.what}s"
        try:
            yield
        except (gzip.BadGzipFile, zlib.error) as fault:
            raise self.error(
                f"{self.name}: cannot be unpacked ({fault}); {expected}, packed with gzip or zstandard"
            ) from None
        except EOFError:
            raise self.error(f"{self.name}: is cut short; copy or download it again") from None
        except OSError as fault:
            raise self.error(f"{self.name}: cannot be read ({fault.strerror or fault}); {expected}") from None

    def lines(self) -> Iterator[str]:
        """The lines of a text file, with their ends; a byte order mark is left out.

        Raises:
            ConfigError: of the source's class; it cannot be read or unpacked, or is not UTF-8.
        """
        with self.reading(), self.open() as file:
            for number, line in enumerate(file, start=1):
                data = line.removeprefix(_BOM) if number == 1 else line
                try:
                    yield data.decode("utf-8")
                except UnicodeDecodeError as fault:
                    raise self.error(
                        f"{self.name}, line {number}: not UTF-8 ({fault.reason}); save the file as UTF-8"
                    ) from None

    def open(self) -> BinaryIO:
        """The file's bytes, unpacked.

        Raises:
            OSError: it cannot be opened.
            DataExtraMissing: it needs zstandard, which is not installed.
        """
        packing = self.suffixes[1]
        if packing == ".gz":
            return cast(BinaryIO, gzip.open(self.path, "rb"))
        if packing == ".zst":
            return self._open_zst()
        return open(self.path, "rb")

    def _open_zst(self) -> BinaryIO:
        try:
            import zstandard
        except ImportError:
            raise missing(self.name, "zstandard") from None
        return cast(BinaryIO, io.BufferedReader(_Unzstd(open(self.path, "rb"), zstandard)))


class _Unzstd(io.RawIOBase):
    """The unpacked bytes of a .zst file. Unlike zstandard's own reader it notices that a file is cut short."""

    def __init__(self, file: BinaryIO, zstandard: Any) -> None:
        self._file, self._library = file, zstandard
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._packed, self._data, self._is_open = b"", b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._data and self._fill():
            pass
        size = min(len(buffer), len(self._data))
        buffer[:size], self._data = self._data[:size], self._data[size:]
        return size

    def _fill(self) -> bool:
        """Unpacks the next part; False at the end."""
        packed = self._packed or self._file.read(_PART)
        if not packed:
            if self._is_open:
                raise EOFError
            return False
        if self._frame.eof:  # a file may have several frames
            self._frame = self._library.ZstdDecompressor().decompressobj()
        try:
            self._data = self._frame.decompress(packed)
        except self._library.ZstdError as fault:
            raise zlib.error(str(fault)) from None
        self._packed, self._is_open = self._frame.unused_data, not self._frame.eof
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def missing(name: str, package: str) -> DataExtraMissing:
    """The error of a source that needs a package of the extra `data`.

    Args:
        name: the source.
        package: what it needs.
    """
    return DataExtraMissing(f"{name} needs {package}, not installed here. {how_to_install('data')}")
