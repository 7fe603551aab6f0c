"""Every figure that a page shows is there, and small; every figure that is there can be made again."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs" / "figures"
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
# As Markdown and HTML name them; Material's #only-light and #only-dark are not part of the name.
NAMED = re.compile(r"figures/([\w.-]+\.(?:svg|png))")
FILES = sorted(path for path in FIGURES.iterdir() if path.suffix in (".svg", ".png"))


def test_every_figure_that_a_page_names_exists():
    named = {(page.name, name) for page in PAGES for name in NAMED.findall(page.read_text(encoding="utf-8"))}
    missing = sorted((page, name) for page, name in named if not (FIGURES / name).is_file())
    assert not missing, "make figures, or correct the name"


def test_figures_are_small():
    sizes = {path.name: path.stat().st_size for path in FILES}
    assert max(sizes.values()) <= 150 * 1024 and sum(sizes.values()) <= 1024 * 1024, sizes


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".svg"], ids=lambda path: path.name)
def test_a_drawing_is_for_light_and_dark_and_loads_nothing(path):
    twin = path.stem.removesuffix("-dark") if path.stem.endswith("-dark") else f"{path.stem}-dark"
    assert path.with_name(f"{twin}.svg").is_file()
    for element in ElementTree.parse(path).iter():
        assert element.tag.rpartition("}")[2] not in ("script", "image", "foreignObject")
        links = [value for name, value in element.attrib.items() if name.endswith("href")]
        assert all(link.startswith("#") for link in links), links


def test_the_data_flow_is_what_its_source_draws(tmp_path):
    code = "import sys, pathlib, flow; flow.write(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT / "scripts" / "figures", check=True, timeout=60)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (FIGURES / path.name).read_bytes(), "run make figures"
