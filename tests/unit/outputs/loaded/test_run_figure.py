import sys

import pytest
from tests.support.written_runs import ASKS, TELLS, write_run

from socratic_distill import ConfigError, PlotExtraMissing, load_run


@pytest.fixture
def run(tmp_path):
    pytest.importorskip("matplotlib")
    return load_run(write_run(tmp_path / "run", evaluations=[(0, TELLS), (3, ASKS)]))


def test_a_plot_draws_the_reports_curves_with_bands_and_evaluations(run):
    figure = run.plot(["teacher_kl", "solved"])
    assert [panel.get_title(loc="left") for panel in figure.axes] == [
        "teacher_kl, nats a token", "solved, share of dialogues",
    ]  # fmt: skip
    kl = figure.axes[0]
    assert kl.lines[0].get_xdata().tolist() == [0, 1, 2]
    assert kl.collections, "the band of its intervals"
    assert kl.containers[0].lines[0].get_xdata().tolist() == [0, 3], "the evaluations"


def test_a_plot_shows_the_main_measures_and_takes_a_single_name(run):
    assert len(run.plot().axes) == 6
    assert len(run.plot("cost/total").axes) == 1


def test_a_plot_leaves_no_state_and_shows_itself(run):
    figure = run.plot("solved")
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert "matplotlib.pyplot" not in sys.modules


def test_an_unknown_measure_is_refused_with_those_there_are(run):
    with pytest.raises(ConfigError, match=r"'nothing'.*it has .*teacher_kl"):
        run.plot(["solved", "nothing"])


def test_a_run_without_steps_says_so(tmp_path):
    pytest.importorskip("matplotlib")
    figure = load_run(write_run(tmp_path / "run", steps=0)).plot()
    assert figure.texts[0].get_text() == "no finished step yet"


def test_without_matplotlib_the_message_says_what_to_install(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "socratic_distill.outputs.loaded.figure", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlotExtraMissing, match=r"pip install .*plot"):
        run.plot()
