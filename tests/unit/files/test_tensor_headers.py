import json
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.adapters import lora_weights, safetensors
from tests.support.examples import examples

from socratic_distill.files.tensor_headers import Tensor, read_header

reproducible = settings(derandomize=True, deadline=None, max_examples=examples(200))


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tensors") / "a.safetensors"


def header(path: Path, content: bytes) -> dict[str, Tensor]:
    path.write_bytes(content)
    return read_header(path)


def made(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8), **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets} | more


def test_tensors_are_named_with_dtype_and_shape(path):
    content = safetensors({"a": ("F32", [2, 1], bytes(8)), "b": ("BF16", [], bytes(2)), "c": ("U8", [0], b"")})
    start = 8 + int.from_bytes(content[:8], "little")
    assert header(path, content) == {
        "a": Tensor("F32", (2, 1), start),
        "b": Tensor("BF16", (), start + 8),
        "c": Tensor("U8", (0,), start + 10),
    }
    assert header(path, made({})) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not begin with the length"),
        (bytes(8), "does not begin with the length"),
        (b"\xff" * 100, "does not begin with the length"),
        (made(b"{} "[:2])[:9], "does not begin with the length"),
        (made(b"[]"), "no JSON object"),
        (made(b"{]"), "not the JSON of safetensors"),
        (made(b'{"\xff": 1}'), "not the JSON of safetensors"),
        (made(b"[" * 100_000), "nested too deeply"),
        (made(b'{"a": 1, "a": 2}'), "a name occurs twice"),
        (made({"__metadata__": {"a": 1}}), "no object of texts"),
        (made({"__metadata__": []}), "no object of texts"),
        (made({"a": 1}), "no dtype, shape and data_offsets for 'a'"),
        (made({"a": entry(more=1)}, bytes(8)), "no dtype, shape and data_offsets"),
        (made({"a": entry(dtype="F33")}, bytes(8)), "has the dtype 'F33'"),
        (made({"a": entry(dtype=["F32"])}, bytes(8)), "has the dtype"),
        (made({"a": entry(shape=[-2])}, bytes(8)), "invalid shape"),
        (made({"a": entry(shape=[True, 2])}, bytes(8)), "invalid shape"),
        (made({"a": entry(shape="2")}, bytes(8)), "invalid shape"),
        (made({"a": entry(shape=[1] * 65)}, bytes(8)), "invalid shape"),
        (made({"a": entry(offsets=[0])}, bytes(8)), "invalid shape or invalid offsets"),
        (made({"a": entry(offsets=[8, 0])}, bytes(8)), "do not fit its dtype"),
        (made({"a": entry(offsets=[0, 7])}, bytes(7)), "do not fit its dtype"),
        (made({"a": entry(offsets=[1, 9])}, bytes(9)), "begin at 1; expected 0"),
        (made({"a": entry(), "b": entry()}, bytes(8)), "begin at 0; expected 8"),
        (made({"a": entry()}, bytes(7)), "it has 7 bytes of tensors; its header names 8"),
        (made({"a": entry()}, bytes(9)), "it has 9 bytes of tensors; its header names 8"),
    ],
)
def test_what_is_no_safetensors_file_is_refused(path, content, message):
    with pytest.raises(ValueError, match=message):
        header(path, content)


@reproducible
@given(st.data())
def test_every_cut_and_every_longer_file_is_refused(path, data):
    content = lora_weights(width=4)
    size = data.draw(st.integers(0, len(content) - 1))
    for changed in (content[:size], content + bytes(size + 1)):
        with pytest.raises(ValueError):
            header(path, changed)


@reproducible
@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(made))
def test_any_bytes_are_read_or_refused(path, content):
    try:
        tensors = header(path, content)
    except ValueError:
        return
    assert tensors == {}, "random bytes hold no tensors"


@reproducible
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "BF16", "U8"]),
                "shape": st.lists(st.integers(0, 3), max_size=2),
                "data_offsets": st.lists(st.integers(0, 12), min_size=2, max_size=2),
            }
        ),
        max_size=3,
    ),
    st.integers(0, 24),
)
def test_the_library_opens_what_is_read(path, entries, size):
    safe_open = pytest.importorskip("safetensors").safe_open
    try:
        tensors = header(path, made(entries, bytes(size)))
    except ValueError:
        return
    with safe_open(path, "numpy") as opened:
        assert set(opened.keys()) == set(tensors)
