"""The arithmetic of the benchmark of learning: sums, intervals, cost to reach, tables and figure."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

# The benchmark's modules import each other as a script does.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from tests.benchmarks import learning_plot
from tests.benchmarks.learning_costs import (
    PRICED_AS,
    Point,
    add_up,
    cost_to_reach,
    curve,
    difference,
    share_to_reach,
    spread,
)
from tests.benchmarks.learning_kept import kept_run, looks, slug
from tests.benchmarks.learning_settings import of_smollm2, of_tiny, tiny
from tests.benchmarks.learning_tables import cheapest, cost_table, quality_table, toy_table, usd_curve

from socratic_distill import SocraticConfig
from socratic_distill.config.catalogue import catalogue

DEFAULT = "default"


def run(*kls, tokens=1000.0, told=0.5):
    """A run whose cost rises by the same amount from each of its points to the next."""
    shares = dict.fromkeys(("first_reply/tells", "first_reply/asks", "leaks", "solved/untold"), told)
    return [
        Point(at, {"tokens/trained": at * tokens, "sampled_tokens/tutor": at * tokens}, {"teacher_kl": kl} | shares)
        for at, kl in enumerate(kls)
    ]


def rows(text):
    """The cells of a table by the first one's text."""
    lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines()]
    return {name: dict(zip(lines[0][1:], cells, strict=True)) for name, *cells in lines[2:]}


def test_only_counts_of_tokens_are_added_up():
    metrics = [
        {"tokens/trained": 5, "prompt_tokens/teacher": 7, "reply_tokens/mean": 3.0, "teacher_kl": 0.1},
        {"tokens/trained": 6, "prompt_tokens/teacher": None, "sampled_tokens/tutor": 2},
    ]
    assert add_up(metrics) == {"tokens/trained": 11, "prompt_tokens/teacher": 7, "sampled_tokens/tutor": 2}


def test_tokens_are_of_one_kind_each_and_priced_as_the_named_model():
    tokens = {
        "prompt_tokens/tutor": 1e6, "prompt_tokens/student": 2e6, "prompt_tokens/teacher": 4e6,
        "sampled_tokens/tutor": 8e6, "sampled_tokens/student": 16e6, "tokens/trained": 32e6, "tokens/forward": 64e6,
    }  # fmt: skip
    point = Point(1, tokens, {})
    assert (point.sampled, point.scored, point.trained, point.used) == (24e6, 4e6, 96e6, 127e6)
    known = catalogue().price(PRICED_AS)
    assert known is not None
    price = known.price
    assert point.usd == pytest.approx(7 * price.prefill + 24 * price.sample + 96 * price.train)


def test_intervals_are_students_and_pairs_share_a_seed():
    found = spread([1.0, 2.0, 4.5])
    # By hand: a mean of 2.5, a deviation of the sample of 1.8028, and 4.303 of them over the root of 3.
    assert (found.value, found.half) == (2.5, pytest.approx(4.479, abs=1e-3))
    assert spread([3.0]).half is None
    ours, others = [run(1.0, 0.3), run(1.0, 0.6)], [run(1.0, 0.4), run(1.0, 0.7)]
    paired = difference(ours, others, "teacher_kl")
    assert paired.value == pytest.approx(-0.1) and paired.half == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(0, 1.0), (10, 0.6), (20, 0.2)], 15.0),
        ([(0, 1.0), (10, 0.4), (20, 0.8)], 10.0),  # the first time counts
        ([(0, 1.0), (10, 0.5)], None),
        ([(0, 0.3), (10, 0.5)], 0),
    ],
)
def test_cost_to_reach_lies_on_the_line_to_the_first_good_point(points, expected):
    assert cost_to_reach(points, 0.4) == expected


def test_share_to_reach_is_of_the_others_whole_cost():
    default = [run(1.0, 0.6, 0.4), run(1.0, 0.4, 0.2)]
    fast = [run(1.0, 0.3, 0.1, tokens=500.0), run(1.0, 0.3, 0.1, tokens=500.0)]
    assert curve(default, "teacher_kl", "used") == [(0.0, 1.0), (2000.0, 0.5), (4000.0, pytest.approx(0.3))]
    assert share_to_reach(fast, default, "used") == pytest.approx(1000 / 4000)
    assert share_to_reach(fast, default, "step") == pytest.approx(1 / 2)
    assert share_to_reach([run(1.0, 0.9, 0.8)], default, "usd") is None
    assert share_to_reach(default, default, "usd") == 1.0


@pytest.fixture
def compared():
    return {
        DEFAULT: [run(1.0, 0.6, 0.40), run(1.0, 0.6, 0.42), run(1.0, 0.6, 0.41)],
        "better": [run(1.0, 0.3, 0.20, told=0.1), run(1.0, 0.3, 0.22, told=0.1), run(1.0, 0.3, 0.21, told=0.1)],
        "unclear": [run(1.0, 0.6, 0.10), run(1.0, 0.6, 0.50), run(1.0, 0.6, 0.43)],
        "worse": [run(1.0, 0.95, 0.9)] * 3,
    }


def test_only_a_difference_outside_its_interval_is_emphasised(compared):
    found = rows(quality_table(compared, DEFAULT))
    less = {name: cells["less the default's"] for name, cells in found.items()}
    assert less["better"] == "**-0.200 ± 0.000**" and not less["unclear"].startswith("*") and not less[DEFAULT]
    assert found["before training"]["teacher_kl"] == "1.000" and found["better"]["tells"] == "10%"


def test_a_cost_that_is_never_reached_is_a_dash(compared):
    found = rows(cost_table(compared, DEFAULT))
    assert found["worse"]["USD"] == "–" and found["worse"]["USD, each seed"] == "–, –, –"
    assert found[DEFAULT]["USD"] == "100%" and found["better"]["steps"] == "42%"
    assert found["unclear"]["USD, each seed"] == "70%, –, –"
    assert found[DEFAULT]["sampled"] == "2.0" and found[DEFAULT]["all"] == "4.0"


def test_the_cheapest_is_the_one_that_the_figure_names(compared):
    assert cheapest(compared, DEFAULT, (DEFAULT,)) == "better"
    assert cheapest(compared, DEFAULT, (DEFAULT, "better")) == "unclear"
    assert usd_curve(compared[DEFAULT], compared[DEFAULT])[-1] == (1.0, pytest.approx(0.41))


def test_the_toys_table_counts_steps(compared):
    found = rows(toy_table({DEFAULT: [[1.0, 0.8, 0.6, 0.5, 0.4]], "fast": [[1.0, 0.4, 0.3, 0.2, 0.1]]}, DEFAULT))
    assert found["fast"]["steps to the default's end"] == "25%" and found["fast"]["after half"] == "0.300"


def test_the_figure_names_what_is_chosen_and_draws_every_setting(compared, tmp_path):
    curves = {name: usd_curve(runs, compared[DEFAULT]) for name, runs in compared.items()}
    files = learning_plot.write(tmp_path, "cost", curves, (DEFAULT, "better"), 0.41, ("a < b", "USD", "nats"))
    assert [path.name for path in files] == ["cost.svg", "cost-dark.svg"]
    drawing = ElementTree.parse(files[0]).getroot()
    tags = [element.tag.rpartition("}")[2] for element in drawing.iter()]
    texts = [element.text for element in drawing.iter() if element.tag.endswith("text")]
    assert {DEFAULT, "better"} <= set(texts) and "unclear" not in texts
    assert tags.count("circle") == 2 * 3
    lines = [one for one in drawing.iter() if one.get("fill") == "none"]
    assert len(lines) == len(curves)


def test_the_toy_learns_with_the_teacher_and_not_with_a_constant():
    pytest.importorskip("torch")
    from tests.benchmarks.learning_toy import learn

    start, *_, end = learn({}, seed=0, steps=15)
    assert end < 0.5 * start
    *_, constant = learn({"objective": {"kind": "control_constant_advantage", "share": 0.2}}, seed=0, steps=15)
    assert constant > end
    assert learn({}, seed=0, steps=3) == learn({}, seed=0, steps=15)[:4]


@pytest.mark.parametrize("of_model", [of_tiny, of_smollm2])
def test_every_setting_is_a_config_that_differs_from_the_default(of_model):
    default = tiny(8, "never-written")
    for name, changes in of_model(8).items():
        config = SocraticConfig(**{**default.model_dump(), **changes})
        assert (config == default) == (name == DEFAULT), name


def test_a_kept_run_is_of_the_same_setting(tmp_path):
    calls = []

    def train():
        calls.append(1)
        return run(1.0, 0.5)

    path = tmp_path / "kept" / f"{slug('prefix, 4 tokens')}.json"
    about = {"changes": {"objective": ("a",)}, "steps": 2}
    first = kept_run(path, about, train)
    assert [asdict(point) for point in kept_run(path, about, train)] == [asdict(point) for point in first]
    assert len(calls) == 1
    assert kept_run(path, about | {"steps": 4}, train) and len(calls) == 2
    assert json.loads(path.read_text())["about"]["steps"] == 4
    assert looks(8) == [2, 4, 6, 8] and looks(2) == [1, 2]
