"""The leaderboard of several runs: what it holds and in which order, and that nothing in it is taken for markup."""

import re

import pytest
from tests.support.tags import Tags
from tests.support.written_runs import ASKS, TELLS, write_evaluation, write_run

from socratic_distill import ConfigError, Measure, write_leaderboard
from socratic_distill.cli import main
from socratic_distill.evaluation.suites.catalogue import SUITES
from socratic_distill.evaluation.suites.results import Benchmark, SuiteResult, add_results

MARKUP = "</script><!--<img src=x onerror=alert(1)>&amp;\u2028{{ 7 * 7 }}"


def add_suite(path, suite, **shares):
    """Adds a suite's results: of each tutor a share of its main measure."""
    name = f"{suite}/accuracy" if suite != "text" else "text/logprob"
    results = {
        tutor: SuiteResult(
            "weights", {name: Measure(share, share - 0.1, share + 0.1, 40)}, items=40, asked={"limit": 40}
        )
        for tutor, share in shares.items()
    }
    add_results(path, Benchmark(SUITES[suite].about, results))


@pytest.fixture
def runs(tmp_path):
    """Two runs, the second of them better."""
    paths = [write_run(tmp_path / name, evaluations=[(0, TELLS), (4, ASKS)]) for name in ("one", "two")]
    for path, share, delta in zip(paths, (0.25, 0.75), (0.1, 0.3), strict=True):
        add_suite(path, "gsm8k", base=0.5, final=share)
        rates = {"solve_rate/delta": {"value": delta, "low": 0.0, "high": 0.5, "count": 12}}
        kl = {"teacher_kl": {"value": 1 - share, "low": 0.0, "high": 1.0, "count": 40}}
        write_evaluation(path, 4, [], measures=rates | kl | {"solved": {"value": 0.5, "count": 3}})
    return paths


def rows_of(page, title):
    """The rows of a table, as texts of their cells."""
    table = page.split(f">{title}</h2>", 1)[1].split("<tbody>")[1].split("</tbody>")[0]
    rows = re.findall("<tr>(.*?)</tr>", table, re.DOTALL)
    return [
        [
            " ".join(re.sub("<[^>]*>", " ", cell).split())
            for cell in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        ]
        for row in rows
    ]


def test_each_suite_has_a_table_with_the_best_first(runs, tmp_path):
    path = write_leaderboard(runs, tmp_path / "page.html")
    assert path == tmp_path / "page.html"
    rows = rows_of(path.read_text(), "GSM8K")
    assert [(run, tutor) for run, tutor, *_ in rows] == [
        ("two", "final"), ("one", "base"), ("two", "base"), ("one", "final"),
    ]  # fmt: skip
    assert rows[0][2:] == ["75% [65%, 85%] n = 40", "40"]


def test_evaluations_have_their_solve_rates(runs, tmp_path):
    page = write_leaderboard(runs, tmp_path / "page.html").read_text()
    rows = rows_of(page, "Dialogues on held-out seeds")
    assert sorted(row[:2] for row in rows) == [
        [name, f"before batch {batch}"] for name in ("one", "two") for batch in (0, 4)
    ]
    assert ["two", "before batch 4"] in [row[:2] for row in rows if "0.300 [0.000, 0.500] n = 12" in row]
    assert "solve_rate/<wbr>delta" in page


@pytest.mark.parametrize(
    ("measure", "first"), [("teacher_kl", "0"), ("solve_rate/delta", "4"), ("gsm8k/accuracy", "4")]
)
def test_sort_names_the_measure_that_tables_begin_with(runs, tmp_path, measure, first):
    page = write_leaderboard(runs, tmp_path / "page.html", sort=measure).read_text()
    title = "GSM8K" if measure.startswith("gsm8k") else "Dialogues on held-out seeds"
    (run, tutor, *_) = rows_of(page, title)[0]
    assert run == "one" if measure == "teacher_kl" else run == "two"
    assert measure.startswith("gsm8k") or tutor == f"before batch {first}"
    assert page.count("aria-sort") - page.count('removeAttribute("aria-sort")') > 0


def test_rows_of_other_limits_are_said_not_to_compare(runs, tmp_path):
    text = "so they do not compare"
    assert text not in rows_text(runs, tmp_path)
    other = SuiteResult("w", {"gsm8k/accuracy": Measure(0.5, 0.4, 0.6, 9)}, items=9, asked={"limit": 9})
    add_results(runs[1], Benchmark(SUITES["gsm8k"].about, {"final": other}))
    assert text in rows_text(runs, tmp_path)


def rows_text(runs, tmp_path):
    return write_leaderboard(runs, tmp_path / "page.html").read_text()


def test_notes_stand_once_with_the_rows_that_have_them(runs, tmp_path):
    for path in runs:
        result = SuiteResult("w", {"text/logprob": Measure(-2.5, -3.0, -2.0, 90)}, items=3, notes=("A note.",))
        add_results(path, Benchmark(SUITES["text"].about, {"base": result, "final": result}))
    page = write_leaderboard(runs, tmp_path / "page.html").read_text()
    assert page.count("A note.") == 1 and "one base, one final, two base, two final: A note." in page
    assert "of the file" in page, "the licence of the data"


def test_runs_without_measures_have_an_empty_page(tmp_path):
    page = write_leaderboard(write_run(tmp_path / "run"), tmp_path / "page.html").read_text()
    assert "Nothing of these runs was measured yet" in page and "<table" not in page


def test_page_needs_no_network_and_no_text_in_it_is_markup(runs, tmp_path):
    plain = Tags(write_leaderboard(runs, tmp_path / "plain.html").read_bytes())
    path = write_run(tmp_path / MARKUP.replace("/", "-"), evaluations=[(0, TELLS)])
    result = SuiteResult(
        "w", {"gsm8k/accuracy": Measure(0.5, 0.4, 0.6, 9), MARKUP: Measure(1, 1, 1, 1)}, notes=(MARKUP,)
    )
    add_results(path, Benchmark(SUITES["gsm8k"].about, {MARKUP: result}))
    page = write_leaderboard([*runs, path], tmp_path / "page.html").read_bytes()
    tags = Tags(page)
    assert {tag for tag, _ in tags.found} <= {tag for tag, _ in plain.found}
    assert [each.get("id") for each in tags.all("script")] == ["data", None]
    assert not [each for _, each in tags.found if "style" in each or any(name.startswith("on") for name in each)]
    addresses = [each.get(name, "") for _, each in tags.found for name in ("src", "href") if name in each]
    assert addresses and all(one.startswith(("#", "data:")) for one in addresses)
    assert b"default-src 'none'" in page and "alert(1)" in "".join(tags.texts)


def test_what_cannot_be_written_is_refused(runs, tmp_path):
    with pytest.raises(ConfigError, match="log_paths is empty"):
        write_leaderboard([], tmp_path / "page.html")
    with pytest.raises(ConfigError, match="is a directory; expected the file to write"):
        write_leaderboard(runs, tmp_path)
    with pytest.raises(ConfigError, match=r"no run has the measure 'beauty'; expected one of .*gsm8k/accuracy"):
        write_leaderboard(runs, tmp_path / "page.html", sort="beauty")
    assert not (tmp_path / "page.html").exists()


def test_compare_writes_the_page_and_prints_its_path(runs, tmp_path, capsys, no_network):
    page = tmp_path / "page.html"
    assert main(["compare", *map(str, runs), "--page", str(page), "--sort", "gsm8k/accuracy"]) == 0
    assert capsys.readouterr().out == f"{page}\n" and "leaderboard" in page.read_text()
    assert not no_network
    with pytest.raises(SystemExit):
        main(["compare", *map(str, runs), "--page", str(page), "--json"])
