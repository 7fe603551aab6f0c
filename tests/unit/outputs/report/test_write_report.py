"""The page as a file: what it holds, how large it is, and that nothing in it is taken for markup."""

import base64
import copy
import hashlib
import re
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from tests.support.examples import examples
from tests.support.tags import Tags
from tests.support.written_runs import ASKS, FAILS, TELLS, data_of, row_of, write_evaluation, write_rows, write_run

from socratic_distill import ConfigError
from socratic_distill.errors import StorageError
from socratic_distill.outputs.report import write_report
from socratic_distill.outputs.report.building import build
from socratic_distill.text import shown

ROW = row_of()
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
MARKUP = "</script><!--<img src=x onerror=alert(1)>&amp;\u2028{{ 7 * 7 }}"


def test_the_page_goes_into_the_first_directory_or_where_out_says(tmp_path):
    run = write_run(tmp_path / "run")
    assert write_report([run]) == run / "report.html" and (run / "report.html").is_file()
    assert write_report(str(run), tmp_path / "page.html") == tmp_path / "page.html"
    assert (tmp_path / "page.html").read_bytes() == (run / "report.html").read_bytes(), "it is the same each time"


def test_what_cannot_be_reported_is_refused_and_nothing_is_written(tmp_path):
    run = write_run(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="log_paths is empty"):
        write_report([])
    with pytest.raises(ConfigError, match=f"{tmp_path} holds no run"):
        write_report([run, tmp_path])
    with pytest.raises(ConfigError, match="is a directory; expected the file to write"):
        write_report([run], tmp_path)
    with pytest.raises(StorageError, match="cannot be written"):
        write_report([run], tmp_path / "missing" / "page.html")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_page_needs_no_network_and_allows_only_its_own_script(tmp_path):
    page = build([write_run(tmp_path, evaluations=[(0, TELLS), (4, ASKS)])], 10**6)
    tags = Tags(page)
    policy = next(each["content"] for each in tags.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    addresses = [each.get(name, "") for _, each in tags.found for name in ("src", "href") if name in each]
    assert addresses and all(one.startswith(("#", "data:")) for one in addresses)
    assert not [each for _, each in tags.found if "style" in each or any(name.startswith("on") for name in each)]


def test_markup_in_every_text_stays_text(tmp_path):
    rows = [row_of((MARKUP, MARKUP, "12"), seed=MARKUP, question=MARKUP, error=MARKUP)]
    path = write_run(tmp_path / MARKUP.replace("/", "-"), rows=rows, config={"tutor_model_name": MARKUP, "<b>": MARKUP})
    write_evaluation(path, 0, rows, measures={MARKUP: {"value": 1.0}})
    write_evaluation(path, 1, [], error=MARKUP)
    plain = build([write_run(tmp_path / "plain", rows=[row_of()], evaluations=[(0, ASKS)])], 10**6)
    page = build([path, tmp_path / "plain"], 10**6)
    assert {tag for tag, _ in Tags(page).found} - {tag for tag, _ in Tags(plain).found} <= {"wbr", "table", "caption"}
    assert [each.get("id") for each in Tags(page).all("script")] == ["data", None]
    assert shown(MARKUP) in Tags(page).texts, "the config shows it as text"
    data = data_of(page)
    assert data["talks"][0]["d"] == MARKUP and "".join(data["talks"][0]["t"][1]["p"]).startswith(MARKUP)


def test_half_characters_do_not_stop_the_page(tmp_path):
    rows = [row_of(("half \ud83d", "a \udc00 b", "12"), seed="\ud800", question="\udfff")]
    page = build([write_run(tmp_path, rows=rows, config={"student_profile": "\ud800"})], 10**6)
    assert data_of(page)["talks"][0]["d"] == "\ud800"


def test_numbers_that_json_has_not_do_not_stop_the_page(tmp_path):
    row = row_of(reward=float("nan"))
    row["turns"][1]["tutor_logprobs"][0] = float("-inf")
    page = build([write_run(tmp_path, rows=[row])], 10**6)
    (talk,) = data_of(page)["talks"]
    assert "w" not in talk and talk["t"][1]["u"][0] is None


def test_rows_that_are_no_dialogues_are_counted(tmp_path):
    rows = [row_of(), {}, row_of(turns=3), row_of(step=None), row_of(number="x"), row_of(seed="t")]
    page = build([write_run(tmp_path, rows=rows)], 10**6)
    assert len(data_of(page)["talks"]) == 2
    assert "4 rows of dialogues.jsonl are no dialogues and are left out." in Tags(page).texts


@given(st.sampled_from([(), ("turns", 0), ("turns", 1)]), st.data())
@settings(max_examples=examples(60), deadline=None)
def test_whatever_stands_in_a_row_the_page_is_made(tmp_path_factory, place, data):
    row = copy.deepcopy(ROW)
    part: Any = row
    for step in place:
        part = part[step]
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(ANYTHING)
    path = write_run(tmp_path_factory.mktemp("any"), steps=1, rows=[row, row_of(seed="t")])
    write_evaluation(path, 0, [row])
    write_evaluation(path, 1, [row])
    assert "t" in {talk["d"] for talk in data_of(build([path], 10**6))["talks"]}


@pytest.mark.parametrize("missing", ["config.json", "origin.json", "metrics.jsonl", "dialogues.jsonl"])
@pytest.mark.parametrize("empty", [True, False])
def test_any_file_may_be_missing_or_empty(tmp_path, missing, empty):
    write_run(tmp_path)
    (tmp_path / missing).unlink()
    if empty:
        (tmp_path / missing).touch()
    assert data_of(build([tmp_path], 10**6))["runs"][0]["name"] == tmp_path.name


def test_a_run_that_has_only_begun_is_reported(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "config.json").write_text("{}")
    page = build([tmp_path], 10**6)
    assert data_of(page)["talks"] == [] and "There is nothing to measure yet" in page.decode()


@pytest.mark.parametrize("most", [0, 100_000, 140_000])
def test_the_page_keeps_to_its_size_and_tells_what_it_leaves_out(tmp_path, most):
    rows = [
        row_of(texts, step=step, seed=f"s{step}", number=number)
        for step in range(40)
        for number, texts in enumerate([TELLS, ASKS, FAILS] * 2)
    ]
    path = write_run(tmp_path, steps=40, rows=rows)
    bare, page = len(build([path], 0)), build([path], most)
    assert len(page) <= max(most, bare + 100)
    talks = data_of(page)["talks"]
    assert f"{len(talks)} of 240 dialogues of training, drawn" in page.decode()
    if most > bare:
        assert len(page) > most - 3000, "it fills its room"
        assert {talk["s"] // 10 for talk in talks} == {0, 1, 2, 3}
        assert {(talk["ok"], talk["told"]) for talk in talks} == {(1, 1), (1, 0), (0, 0)}


def test_what_a_short_run_leaves_of_its_room_goes_to_the_long_one(tmp_path):
    short = write_run(tmp_path / "short", rows=[row_of()])
    rows = [row_of(step=step, number=number) for step in range(30) for number in range(10)]
    long = write_run(tmp_path / "long", steps=30, rows=rows)
    page = build([short, long], 200_000)
    assert 195_000 < len(page) <= 200_000
    assert [talk["r"] for talk in data_of(page)["talks"]].count(0) == 1


def test_held_out_seeds_are_paired_before_and_after(tmp_path):
    path = write_run(tmp_path, steps=2, evaluations=[(0, TELLS), (1, FAILS), (2, ASKS)])
    data = data_of(build([path], 10**6))
    talks = {talk["i"]: talk for talk in data["talks"]}
    pairs = [[talks[one] for one in pair] for pair in data["pairs"]]
    assert [(a["d"], a["b"], a["told"], b["d"], b["b"], b["told"]) for a, b in pairs] == [
        (f"held{i}", 0, 1, f"held{i}", 2, 0) for i in range(3)
    ]
    assert {talk.get("b") for talk in data["talks"]} == {None, 0, 2}


def test_without_evaluations_seeds_that_came_again_are_paired(tmp_path):
    rows = [row_of(texts, step=step, seed="again") for step, texts in enumerate([TELLS, FAILS, ASKS])]
    data = data_of(build([write_run(tmp_path, rows=rows)], 10**6))
    talks = {talk["i"]: talk for talk in data["talks"]}
    assert [[talks[one]["s"] for one in pair] for pair in data["pairs"]] == [[0, 2]]
    write_rows(tmp_path / "dialogues.jsonl", *rows[:1])
    page = build([tmp_path], 10**6)
    assert data_of(page)["pairs"] == [] and "no seed was played twice" in page.decode()


def test_the_dialogues_of_a_single_evaluation_can_be_read(tmp_path):
    data = data_of(build([write_run(tmp_path, rows=[], evaluations=[(0, ASKS)])], 10**6))
    assert [(talk["d"], talk["b"]) for talk in data["talks"]] == [("held0", 0), ("held1", 0), ("held2", 0)]
    assert data["pairs"] == []


def test_runs_side_by_side_are_told_apart(tmp_path):
    first = write_run(tmp_path / "a" / "run", config={"learning_rate": 1e-5})
    second = write_run(tmp_path / "b" / "run", steps=4, config={"learning_rate": 2e-5})
    page = build([first, second], 10**6)
    assert [run["name"] for run in data_of(page)["runs"]] == [str(first), str(second)]
    assert {talk["r"] for talk in data_of(page)["talks"]} == {0, 1}
    assert {"1e-05", "2e-05"} <= set(Tags(page).texts)


@pytest.mark.slow
def test_a_run_of_500_steps_is_under_two_megabytes(tmp_path):
    tutor = ("So 12. ", "5? ")
    kinds = [row_of(("5 + 7 = 11. " * 4, each * 12, "Hm. " * 10, each * 12, "So it is 12.")) for each in tutor]
    rows = (
        kinds[number % 2] | {"step": step, "seed": f"s{step * 8 + number // 4}", "number": number}
        for step in range(500)
        for number in range(32)
    )
    path = write_report([write_run(tmp_path, steps=500, rows=rows)])
    assert 1_850_000 < path.stat().st_size < 2_000_000
