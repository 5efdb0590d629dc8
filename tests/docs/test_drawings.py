"""docs/drawings.py finds the tables of docs/recipes.md that it draws."""

import importlib.util
import pathlib
import re
from fractions import Fraction

import pytest

MARK = re.compile(r'<use xlink:href="#\w+" x="([\d.]+)" y="([\d.]+)"')
DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.fixture
def drawings(tmp_path, monkeypatch):
    """The program, which writes its pictures to a folder of the test."""
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("drawings", DOCS / "drawings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "recipes.md").write_text((DOCS / "recipes.md").read_text())
    monkeypatch.setattr(module, "DOCS", tmp_path)
    return module


def compare(drawn, points):
    """Hold the picture in docs against one that was just drawn: the places of all marks."""
    found, stored = drawn.read_text(), (DOCS / drawn.name).read_text()
    assert len(MARK.findall(found)) >= points
    version = re.compile("Matplotlib v[0-9.]+")
    # another version may leave other margins
    if version.findall(found) == version.findall(stored):
        assert re.findall("<text.*?</text>", found) == re.findall("<text.*?</text>", stored)
        places = [[float(each) for mark in MARK.findall(text) for each in mark] for text in (found, stored)]
        assert places[0] == pytest.approx(places[1], abs=0.01), "run python docs/drawings.py"


def test_the_grid_of_taggers(drawings, tmp_path):
    for cells in drawings.grids():
        assert [cell.line for cell in cells].count("dense") == 3
        assert [cell.line for cell in cells].count("sparse") == [cell.line for cell in cells].count("reversed") == 3
        # weights are entries of a table of as many words
        parts = [(cell.weights, *cell.name.split(", ")) for cell in cells]
        words = {weights / int(width) / (Fraction(*density) if density else 1) for weights, width, *density in parts}
        assert len(words) == 1
    drawings.pos()
    compare(tmp_path / "pos.svg", points=2 * 18)


def test_the_trade_off(drawings, tmp_path):
    rows = drawings.trades("dense, 650-650-650")
    assert len(rows) >= 5 and {len(row) for row in rows} == {9}
    drawings.trade_off()
    compare(tmp_path / "medium-iss.svg", points=len(rows) + sum(bool(row[8]) for row in rows))


def test_smaller_models_at_equal_time(drawings, tmp_path):
    assert len(drawings.trades("dense, 200-200-200")) == 10
    drawings.equal_time()
    compare(tmp_path / "equal-time.svg", points=9)
