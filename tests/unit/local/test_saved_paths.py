"""The local engine's saved weights by path: in their store, in one that was moved, and in a copy of it."""

import json
import shutil
from pathlib import Path

import pytest
from tests.support.local_saves import FACTS, NAME, write_save

from socratic_distill.errors import DamagedWeights
from socratic_distill.local.saved_paths import own_weights, present_path, read_facts


@pytest.fixture
def original(tmp_path):
    return write_save(tmp_path / "original" / "local")


@pytest.fixture
def copied(original, tmp_path):
    """The store of a copy of the original's directory."""
    return Path(shutil.copytree(tmp_path / "original", tmp_path / "copy")) / "local"


def test_path_in_the_store_means_itself(original, tmp_path):
    assert own_weights(tmp_path / "original" / "local", str(original)) == original


def test_path_of_the_original_means_the_copys_own(copied, original):
    assert own_weights(copied, str(original)) == copied / NAME
    assert present_path(copied.parent, str(original)) == str(copied / NAME)


def test_path_of_where_the_store_was_means_the_same_in_it(original, tmp_path):
    moved = (tmp_path / "original").rename(tmp_path / "moved") / "local"
    assert own_weights(moved, str(original)) == moved / NAME


def test_copy_whose_expiry_was_set_is_still_the_same_save(copied, original):
    facts = json.loads((original / "state.json").read_text())
    (original / "state.json").write_text(json.dumps(facts | {"expires_at": 9.0}))
    assert own_weights(copied, str(original)) == copied / NAME


@pytest.mark.parametrize("text", [json.dumps(FACTS | {"created_at": 2.5, "expires_at": None}), "{", "[]"])
def test_weights_of_another_run_by_the_same_name_are_not_ones_own(copied, original, text):
    (original / "state.json").write_text(text)
    assert own_weights(copied, str(original)) is None
    assert present_path(copied.parent, str(original)) == str(original)


@pytest.mark.parametrize(
    "path",
    ["", "x", "/", "tinker://local-0001/weights/000004", "/a/../../original", "../../original/local/x", "a/b/c",
     "/nowhere/local-0001/weights/000005", "/".join(["x" * 300] * 3)],
)  # fmt: skip
def test_path_that_means_none_of_the_store(copied, original, path):
    assert own_weights(copied, path) is None


def test_links_that_lead_out_of_the_store_are_not_ones_own(tmp_path):
    victim = write_save(tmp_path / "victim" / "local")
    store = tmp_path / "run" / "local"
    (store / "local-0001").mkdir(parents=True)
    (store / "local-0001" / "weights").symlink_to(victim.parent)
    assert own_weights(store, str(store / NAME)) is None
    assert own_weights(store, "/gone/" + NAME) is None
    assert own_weights(store, str(store / "local-0001/../../../victim/local" / NAME)) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("base_model", None), ("base_model", ["a"]), ("rank", 0), ("rank", True), ("rank", 10**30), ("steps", -1),
        ("steps", "4"), ("train_mlp", 1), ("created_at", "now"), ("created_at", 10**30), ("expires_at", -1.0),
        ("expires_at", {}), ("user_metadata", [1]), ("user_metadata", {"batch": 3}),
    ],
)  # fmt: skip
def test_facts_of_another_type_are_damage(tmp_path, key, value):
    directory = write_save(tmp_path, **{key: value})
    with pytest.raises(DamagedWeights, match=rf"state\.json has no valid {key}; load another state"):
        read_facts(directory)
