"""Hashes that a store sends with a file, of the kinds that the standard library can check.

Only hashes of the whole file count: of an answer with a part of the file, those of the part are left out. An ETag is
taken for no hash: it is the MD5 of a file only in some stores and for some uploads, and nothing says for which.
"""

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from socratic_distill.files.durable import open_regular

_BYTES = {"sha256": 32, "sha1": 20, "md5": 16, "crc32": 4}
_BLOCK_BYTES = 1 << 20
# Of the whole file, also in an answer with a part of it; `Digest` is the older form of `Repr-Digest`.
_OF_THE_WHOLE = re.compile(r"(sha-256|md5|sha)=:?([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
_NAMES = {"sha-256": "sha256", "md5": "md5", "sha": "sha1"}


def digests_of(headers: Mapping[str, str], is_part: bool) -> dict[str, str]:
    """The hashes of the whole file in the headers of an answer, in hexadecimal, by algorithm.

    Values that are no hash of their algorithm are left out.

    Args:
        headers: the answer's; names in any case if the mapping takes them so, else in lower case.
        is_part: whether the answer holds a part of the file.
    """
    return dict(_digests(headers, is_part))


def mismatch(path: Path, digests: Mapping[str, str]) -> str | None:
    """The algorithm whose hash a file does not have; None if it has all. Reads the whole file.

    Raises:
        OSError: the file cannot be read.
    """
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in digests if name != "crc32"}
    crc = 0
    if not digests:
        return None
    with open_regular(path) as file:
        while block := file.read(_BLOCK_BYTES):
            for digest in hashes.values():
                digest.update(block)
            crc = zlib.crc32(block, crc) if "crc32" in digests else 0
    computed = {name: digest.hexdigest() for name, digest in hashes.items()} | {"crc32": f"{crc:08x}"}
    return next((name for name, value in digests.items() if computed[name] != value), None)


def is_digest(algorithm: str, value: str) -> bool:
    """Whether a text is a hash in hexadecimal, in lower case, of an algorithm that is known here."""
    return algorithm in _BYTES and re.fullmatch(rf"[0-9a-f]{{{2 * _BYTES[algorithm]}}}", value, re.ASCII) is not None


def _digests(headers: Mapping[str, str], is_part: bool) -> Iterator[tuple[str, str]]:
    for algorithm, text in _texts(headers, is_part):
        try:
            value = base64.b64decode(text, validate=True)
        except ValueError:  # such as "…-3", the hash of an upload in three parts
            continue
        if len(value) == _BYTES[algorithm]:
            yield algorithm, value.hex()


def _texts(headers: Mapping[str, str], is_part: bool) -> Iterator[tuple[str, str]]:
    """Algorithms, each with its hash as the store wrote it."""
    for header in ("repr-digest", "digest"):
        for match in _OF_THE_WHOLE.finditer(headers.get(header, "")):
            yield _NAMES[match[1].lower()], match[2]
    for part in headers.get("x-goog-hash", "").split(","):
        name, _, text = part.strip().partition("=")
        if name == "md5":
            yield name, text
    if "x-ms-blob-content-md5" in headers:
        yield "md5", headers["x-ms-blob-content-md5"]
    if is_part:
        return
    if "content-md5" in headers:
        yield "md5", headers["content-md5"]
    if headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT":
        for algorithm in ("sha256", "sha1", "crc32"):
            if text := headers.get(f"x-amz-checksum-{algorithm}"):
                yield algorithm, text
