"""Curves that are equal can be distinguished, and labels of a logarithmic scale do not overlap."""

from itertools import pairwise

import pytest

from refrain.pictures.canvas import empty_figure
from refrain.pictures.sparsity import Curves, _draw_curves

STEPS = list(range(0, 1100, 100))


def drawn(curves):
    pytest.importorskip("matplotlib")
    figure = empty_figure(5, 2.4)
    axes = figure.add_subplot()
    _draw_curves(axes, curves)
    figure.canvas.draw()
    return axes


def test_equal_curves_have_different_dashes():
    same = [64.0] * len(STEPS)
    series = {"a": (STEPS, same), "b": (STEPS, same), "c": (STEPS, same), "d": (STEPS, [float(step) for step in STEPS])}
    lines = drawn(Curves("units", series, 1000)).lines
    assert [line.get_linestyle() for line in lines] == ["-", "--", "--", "-"]
    assert len({str(line._dash_pattern) for line in lines[:3]}) == 3


def test_a_single_point_is_seen():
    (line,) = drawn(Curves("units", {"a": ([0], [3.0])}, 10)).lines
    assert line.get_marker() == "."


@pytest.mark.parametrize("factor", [0.98, 0.9, 0.8, 0.6, 0.3, 0.1])
def test_labels_of_a_logarithmic_scale_do_not_overlap(factor):
    values = [0.01 * factor**index for index in range(len(STEPS))]
    axes = drawn(Curves("strength", {"a": (STEPS, values)}, 1000, logarithmic=True))
    boxes = [label.get_window_extent() for label in axes.get_yticklabels() if label.get_text()]
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    seen = sorted(box.y0 for box, tick in zip(boxes, axes.get_yticks(), strict=False) if low <= tick <= high)
    assert len(ticks) >= 2
    height = boxes[0].height
    assert all(after - before >= height for before, after in pairwise(seen))
