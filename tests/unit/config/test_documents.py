import json
import math
import tomllib

import pytest
from hypothesis import given, strategies as st

from socratic_distill import ConfigError
from socratic_distill.config.documents import SUFFIXES, read_document
from socratic_distill.config.json_documents import read_json
from socratic_distill.config.yaml_documents import read_yaml

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)
# Texts that are nearly documents find more than random ones.
PIECES = st.lists(
    st.sampled_from(
        (
            *"ab:[]{},'\"\\|>?%@#=-&*!.\n\t\0\r\x85\ufeff\ud800é\u2028",
            *(": ", "  ", "- ", "\\UFFFFFFFF", "&x", "*x", "!!", "---", "...", "<<", "1e400", ".nan", "0x", "9" * 5000),
            *("null", "true", "NaN", "0o9", "%YAML 1.1\n---\n"),
        )
    ),
    max_size=30,
).map("".join)


@pytest.fixture
def read(tmp_path):
    def document(text, suffix=".yaml"):
        path = tmp_path / f"c{suffix}"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_document(path)

    return document


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("yes", "yes"),
        ("NO", "NO"),
        ("1e-5", 1e-5),
        ("3E+2", 300.0),
        (".5", 0.5),
        ("07", 7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("-.inf", -math.inf),
        ("[1, x: {y: 2}]", [1, {"x": {"y": 2}}]),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_yaml_follows_version_1_2(text, value):
    read = read_yaml(f"a: {text}", "c").value["a"]
    assert read == value
    assert type(read) is type(value)


def test_lines_of_keys_and_items_are_known(read):
    text = "a: 1\n# more\nb:\n  - c: 2\n    d:\n      3\n  - [4,\n     5]\n"
    lines = {("a",): 1, ("b",): 3, ("b", 0): 4, ("b", 0, "c"): 4, ("b", 0, "d"): 5, ("b", 1): 7}
    assert read(text).lines == lines | {("b", 1, 0): 7, ("b", 1, 1): 8}
    as_json = '{"a": 1,\n"b": [{"c": "x: [\\"",\n"d": 3},\n[4]]}'
    lines = {("a",): 1, ("b",): 2, ("b", 0): 2, ("b", 0, "c"): 2, ("b", 0, "d"): 3, ("b", 1): 4, ("b", 1, 0): 4}
    assert read(as_json, ".json").lines == lines


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: &x 1", r"c\.yaml:2: anchors"),
        ("a: *x", r":1: anchors"),
        ("a: !!python/name:os.system x", r":1: tags"),
        ("a: 1\n'a': 2", r":2: the key 'a' is there twice, first in line 1"),
        ("a: 1\n---\nb: 2", r":[23]: a second document"),
        ("%YAML 1.1\n---\na: 1", "directives"),
        ("<<: {a: 1}", "merge keys"),
        ("? [a]\n: 1", "used as a key"),
        ("a: 1\nb: [", r":2: it is not YAML"),
        ('a: "\\UFFFFFFFF"', ":1: it is not YAML"),
        ("a: " + "9" * 5000, ":1: it holds an integer"),
        ("a: 1\nb: 'x\u2028y'", r":2: the character U\+2028 is not read"),
        ("- a", "no mapping of fields"),
        ("", "is empty"),
        ("a: " + "[" * 100, "nested more than"),
        (b"a: 1\nb: \xff", ":2: it is not UTF-8"),
        ("a: x\n" + "#" * 2**20, "larger than 1 MiB"),
    ],
)
def test_yaml_is_refused_with_its_line(read, text, says):
    with pytest.raises(ConfigError, match=says):
        read(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1,\n"a": 2}', ":2: the key 'a' is there twice, first in line 1"),
        ('{"a": 1,\n}', ":[12]: it is not JSON"),
        ('{"a":\nNaN}', ":2: it is not JSON: NaN"),
        ('{"a":\n' + "9" * 5000 + "}", ":2: it holds an integer"),
        ("[" * 100_000, "nested more than"),
        ("[" * 50 + "]" * 50, "nested more than"),
        ("[]", "no mapping of fields"),
        ("", ":1: it is not JSON"),
    ],
)
def test_json_is_refused_with_its_line(read, text, says):
    with pytest.raises(ConfigError, match=says):
        read(text, ".json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = 1\nb = x", r"c\.toml is not TOML: .*line 2"),
        ("a = 1\na = 2", r"c\.toml is not TOML"),
        ("a = " + "[" * 50 + "]" * 50, "a: it is nested more than"),
        ("a = " + "[" * 5000, "nested more than|not TOML"),
    ],
)
def test_toml_is_refused(read, text, says):
    with pytest.raises(ConfigError, match=says):
        read(text, ".toml")


def test_file_without_a_known_ending_or_none_at_all_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected a file that ends in"):
        read_document(tmp_path / "config.txt")
    with pytest.raises(ConfigError, match="does not exist"):
        read_document(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        (tmp_path / "folder.yaml").mkdir()
        read_document(tmp_path / "folder.yaml")


def test_place_names_line_key_or_file(read):
    yaml, toml = read("a:\n  b: 1"), read("a = {b = 1}", ".toml")
    assert yaml.place(("a", "kind", "b")).endswith("c.yaml:2")
    assert yaml.place(("a", "c")).endswith("c.yaml:1")
    assert yaml.place(("z",)).endswith("c.yaml")
    assert toml.place(("a", "kind", "b")).endswith("c.toml, a.b")


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_json_is_read_as_the_standard_library_reads_it(values):
    assert read_json(json.dumps(values), "c").value == values


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_json_is_yaml_with_the_same_value(values):
    try:  # hypothesis found that U+0085 was read as a space
        read = read_yaml(json.dumps(values, ensure_ascii=False), "c").value
    except ConfigError:
        return  # keys over 1024 characters, and control characters, which YAML lacks
    assert read == values


@given(PIECES | st.text(), st.sampled_from(SUFFIXES))
def test_any_text_is_values_or_an_error_of_ours(tmp_path_factory, text, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        document = read_document(path)
    except ConfigError as error:
        assert path.name in str(error)
        return
    assert isinstance(document.values, dict)
    assert all(isinstance(key, str) for key in document.values)


@given(st.binary(), st.sampled_from(SUFFIXES))
def test_any_bytes_are_values_or_an_error_of_ours(tmp_path_factory, data, suffix):
    path = tmp_path_factory.getbasetemp() / f"bytes{suffix}"
    path.write_bytes(data)
    try:
        read_document(path)
    except ConfigError:
        return


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_toml_is_read_as_the_standard_library_reads_it(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "same.toml"
    path.write_text(f"a = {json.dumps(text)}")
    assert read_document(path).values == tomllib.loads(path.read_text())
