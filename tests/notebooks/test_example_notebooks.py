"""The notebooks in `examples`, run in a real kernel, in order: the second reads the run that the first makes.

With SOCRATIC_NOTEBOOKS set to a folder, the executed notebooks are left there.
"""

import os
from pathlib import Path
from typing import Any

import pytest

nbclient: Any = pytest.importorskip("nbclient", reason="needs the `notebook` extra")
nbformat: Any = pytest.importorskip("nbformat", reason="needs the `notebook` extra")
pytest.importorskip("ipykernel", reason="needs the `notebook` extra")
pytest.importorskip("torch", reason="the notebooks need the `local` extra")

pytestmark = [
    pytest.mark.notebooks,
    pytest.mark.timeout(600),
    # Of the client's own libraries.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Both notebooks after all their cells ran without an error."""
    folder = tmp_path_factory.mktemp("notebooks")
    return {name: execute(name, folder) for name in ("first_tutor", "read_a_run")}


def execute(name, folder):
    notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=500, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    if kept := os.environ.get("SOCRATIC_NOTEBOOKS"):
        nbformat.write(notebook, Path(kept) / f"{name}.ipynb")
    return notebook


def outputs_of(notebook, source):
    """What the cell that holds some source put out; libraries' warnings, which are on stderr, are left out."""
    (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and source in cell.source]
    return [output for output in cell.outputs if output.output_type != "stream" or output.name != "stderr"]


def html_of(notebook, source):
    return "".join(output.data.get("text/html", "") for output in outputs_of(notebook, source))


def test_notebooks_are_committed_without_outputs():
    for path in EXAMPLES.glob("*.ipynb"):
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert all(not cell.outputs and cell.execution_count is None for cell in cells), path


def test_training_shows_one_output_that_is_updated_in_place(executed):
    progress, result = outputs_of(executed["first_tutor"], "await train_async")
    assert progress.output_type == "display_data" and result.output_type == "execute_result"
    assert "6/6" in progress.data["text/plain"], "the output holds the last state"
    assert "report in" in progress.data["text/html"]
    assert "TrainResult: completed" in result.data["text/html"]


def test_a_run_shows_measures_curves_and_coloured_dialogues(executed):
    first = executed["first_tutor"]
    assert "Evaluations" in html_of(first, "run = load_run(")
    (figure,) = outputs_of(first, "run.plot()")
    assert figure.data["image/png"]
    assert "rgba(" in html_of(first, "run.evaluations[-1].dialogue(0)")


def test_reading_shows_tables_the_comparison_and_the_report(executed):
    second = executed["read_a_run"]
    assert "<table" in html_of(second, "run.metrics[[")
    assert "prompt" in html_of(second, "untold.index[-1]")
    comparison = html_of(second, "compare_async(")
    assert all(name in comparison for name in ("base", "final", "teacher", "Comparison"))
    assert html_of(second, "run.report()").startswith('<iframe sandbox="allow-scripts" srcdoc=')
