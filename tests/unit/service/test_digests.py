from base64 import b64encode
from hashlib import md5, sha256
from zlib import crc32

import pytest

from socratic_distill.service.digests import digests_of, is_digest, mismatch

CONTENT = b"some weights"
MD5, SHA = md5(CONTENT).digest(), sha256(CONTENT).digest()
CRC = crc32(CONTENT).to_bytes(4, "big")


def text(value: bytes) -> str:
    return b64encode(value).decode()


@pytest.mark.parametrize("is_part", [False, True])
@pytest.mark.parametrize(
    ("header", "value", "expected", "is_of_the_whole"),
    [
        ("content-md5", text(MD5), {"md5": MD5.hex()}, False),
        ("x-amz-checksum-sha256", text(SHA), {"sha256": SHA.hex()}, False),
        ("x-amz-checksum-crc32", text(CRC), {"crc32": CRC.hex()}, False),
        ("x-amz-checksum-sha256", f"{text(SHA)}-3", {}, True),
        ("x-ms-blob-content-md5", text(MD5), {"md5": MD5.hex()}, True),
        ("x-goog-hash", f"crc32c=AAAAAA==, md5={text(MD5)}", {"md5": MD5.hex()}, True),
        ("repr-digest", f"sha-256=:{text(SHA)}:, unixsum=:AA==:", {"sha256": SHA.hex()}, True),
        ("digest", f"SHA-256={text(SHA)}", {"sha256": SHA.hex()}, True),
        ("etag", f'"{MD5.hex()}"', {}, True),
        ("content-md5", text(SHA), {}, True),
        ("content-md5", "!", {}, True),
    ],
)
def test_hashes_of_the_whole_file_are_read(header, value, expected, is_of_the_whole, is_part):
    wanted = expected if is_of_the_whole or not is_part else {}
    assert digests_of({header: value}, is_part) == wanted


def test_a_composite_hash_is_left_out():
    headers = {"x-amz-checksum-crc32": text(CRC), "x-amz-checksum-type": "COMPOSITE"}
    assert digests_of(headers, is_part=False) == {}


def test_a_file_is_held_against_its_hashes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    right = {"md5": MD5.hex(), "sha256": SHA.hex(), "crc32": CRC.hex()}
    assert mismatch(path, right) is None and mismatch(path, {}) is None
    for name, value in right.items():
        wrong = right | {name: "0" * len(value)}
        assert mismatch(path, wrong) == name
        assert is_digest(name, value) and not is_digest(name, value[1:]) and not is_digest("md4", value)
