"""The parts of a report: axes, charts, pictures, and a page that executes nothing of what it shows."""

import base64
import hashlib
import html.parser
import io
import math
import re
import xml.etree.ElementTree

import numpy as np
import pytest

from refrain.pictures.canvas import empty_figure
from refrain.pictures.curves import _draw
from refrain.pictures.notebook import ScoredWord, charts_html, facts_html, surprisal_html
from refrain.pictures.report.blocks import (
    Charts,
    Confusion,
    Fold,
    Page,
    Pairs,
    Paragraph,
    Picture,
    Pictures,
    Section,
    Table,
    Text,
    Tile,
    Units,
)
from refrain.pictures.report.chart import Chart, Line, chart_svg, spoken
from refrain.pictures.report.page import report_html
from refrain.pictures.report.pixels import png, shares_png
from refrain.pictures.report.scales import exact, label, scale_of

MARKUP = "</script><script>window.broken = 1</script><img src=x onerror=alert(1)>'\"><b>\x00\u202e&amp;"
LINE = Line("training", [0.5, 1, 2], [100.0, 10.0, 1.0], table=("numbers", 2))


class Elements(html.parser.HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.found, self.shown = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.shown += data


def whole(text):
    """A page with each kind of block, in which every text is the given one."""
    blocks = [
        Paragraph(text),
        Paragraph(text, warning=True),
        Pairs([(text, text)]),
        Table([text, text], [[text, text]], identity="numbers", strong=0),
        Text(text, text),
        Charts([Chart(text, text, [LINE._replace(name=text)], across=text, levels=[(text, 5.0)])]),
        Pictures([Picture(text, text, png(np.zeros((2, 2, 4), np.uint8)), (2, 2))]),
        Units(text, [1.0, 0.0], [False, True]),
        Confusion([text], [[3]], [3]),
        Fold(text, [Paragraph(text)]),
    ]
    return report_html(Page(text, text, [Tile(text, text, text)], [Section(text, blocks)], text))


def test_markup_is_shown_and_not_executed():
    """Chosen text makes no element: the elements are those of the same page with a harmless text."""
    hostile, harmless = Elements(whole(MARKUP)), Elements(whole("a"))
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in harmless.found]
    assert [attributes.keys() for _, attributes in hostile.found] == [a.keys() for _, a in harmless.found]
    assert hostile.shown.count("<img src=x onerror=alert(1)>") >= 15
    assert "\x00" not in whole(MARKUP) and "\u202e" not in whole(MARKUP)


def test_the_policy_allows_its_own_style_and_script_alone():
    page = whole("a")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("img-src") == "data:"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    assert set(rules.values()) == {"'none'"} and "default-src" in rules
    for _, attributes in Elements(page).found:
        # which the policy would not allow
        assert not {name for name in attributes if name == "style" or name.startswith("on")}
        assert all(attributes.get(name, "data:").startswith(("data:", "#")) for name in ("src", "href"))
    assert "http" not in page.replace('http-equiv="', "").replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("values", "more", "ticks"),
    [
        ([0, 1], {}, [0, 0.5, 1]),
        ([3, 7.2], {}, [3, 4, 5, 6, 7]),
        ([3, 7.2], {"from_zero": True}, [0, 2, 4, 6]),
        ([90, 710], {"logarithmic": True}, [100, 200, 300, 500]),
        ([1e-6, 1], {"logarithmic": True}, [1e-6, 1e-4, 1e-2, 1]),
        # so near each other that a logarithmic scale shows nothing more
        ([100, 120], {"logarithmic": True}, [100, 105, 110, 115, 120]),
        # nothing else is possible with a value of zero
        ([0, 120], {"logarithmic": True}, [0, 50, 100]),
        ([5], {}, [4.6, 4.8, 5, 5.2, 5.4]),
        ([0], {}, [-1, -0.5, 0, 0.5, 1]),
        ([0], {"from_zero": True}, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_axes_have_few_round_ticks(values, more, ticks):
    scale = scale_of(values, **more)
    assert scale.ticks == pytest.approx(ticks)
    assert all(0 <= scale.place(value) <= 1 for value in [*values, *scale.ticks])


def test_numbers_in_words():
    assert [label(each) for each in (0, 0.2, 12, 2500, 1e6, 1e-5, 2.5e-4)] == [
        "0", "0.2", "12", "2,500", "1e6", "1e-5", "0.00025",
    ]  # fmt: skip
    assert [exact(each) for each in (None, 3, 0.1 + 0.2, 123456.7)] == ["", "3", "0.3", "123457"]


def test_a_chart_is_where_its_numbers_are():
    svg = chart_svg(Chart("Perplexity", "", [LINE], logarithmic=True, levels=[("target", 10.0), ("paper", 1.0)]))
    drawing = xml.etree.ElementTree.fromstring(svg)
    assert [each.text for each in drawing.iter("text") if each.text in ("target", "paper")] == ["target", "paper"]
    heights = [
        float(each.get("d").split()[1].split("H")[0]) for each in drawing.iter("path") if each.get("class") == "level"
    ]
    (group,) = [each for each in drawing.iter("g") if each.get("data-table") == "numbers"]
    assert group.get("data-column") == "2"
    points = [tuple(map(float, each.split())) for each in group[0].get("d")[1:].split("L")]
    # 0 is at 52 and 2, the largest, at 428 of 440
    assert [x for x, _ in points] == pytest.approx([52 + 376 * x / 2 for x in (0.5, 1, 2)], abs=0.1)
    # the values of the line are 100, 10 and 1
    assert heights == pytest.approx([points[1][1], points[2][1]], abs=0.1)
    # equal ratios are equal distances, and larger values are higher
    assert (
        points[1][1] - points[0][1] == pytest.approx(points[2][1] - points[1][1], abs=0.2) and points[2][1] < 230 - 32
    )
    assert spoken(Chart("Perplexity", "", [LINE])) == (
        "Perplexity by epoch: training from 100 to 1, at least 1 and at most 100"
    )


def test_a_picture_of_shares_decoded_by_another_program():
    image = pytest.importorskip("PIL.Image")
    # non-zero; of a dead unit; zero with a dead unit; zero
    shares = np.array([[[1, 0, 0, 0]], [[0, 1, 0, 0]], [[0, 0, 1, 0]]], np.float32)
    with image.open(io.BytesIO(shares_png(shares))) as found:
        pixels = np.array(found)
    assert pixels.shape == (1, 4, 4)
    assert pixels[0, 0].tolist() == [0, 114, 178, 255] and pixels[0, 1].tolist() == [213, 94, 0, 255]
    assert 60 < pixels[0, 2, 3] < 120 and pixels[0, 3].tolist() == [0, 0, 0, 0]


def test_what_a_notebook_shows():
    words = [ScoredWord(1, "the", 2.0, False), ScoredWord(1, MARKUP, 30.0, True), ScoredWord(2, "end", 0.0, False)]
    shown = (
        surprisal_html(words) + facts_html(MARKUP, [(MARKUP, MARKUP)]) + charts_html([Chart(MARKUP, MARKUP, [LINE])])
    )
    found = Elements(shown)
    assert {tag for tag, _ in found.found}.isdisjoint({"script", "img", "b<"})
    assert not [name for _, attributes in found.found for name in attributes if name.startswith("on")]
    titles = [attributes["title"] for _, attributes in found.found if "title" in attributes]
    assert titles == ["2.00 bits", "30.00 bits, unknown to the model", "0.00 bits"]
    colours = re.findall(r"rgba\(213,94,0,([\d.]+)\)", shown)
    assert [float(each) for each in colours] == [pytest.approx(0.75 * 2 / 16, abs=0.01), 0.75, 0]
    assert "16.00 bits a word" in shown


def test_a_horizontal_line_beyond_the_values_is_inside_of_the_chart():
    svg = chart_svg(Chart("Perplexity", "", [LINE], logarithmic=True, levels=[("far", 4000.0), ("near", 0.01)]))
    drawing = xml.etree.ElementTree.fromstring(svg)
    paths = [each.get("d") for each in drawing.iter("path") if each.get("class") == "level"]
    heights = [float(path.split()[1].split("H")[0]) for path in paths]
    assert all(10 <= height <= 230 - 32 for height in heights) and heights[0] < heights[1]


@pytest.fixture
def axes():
    pytest.importorskip("matplotlib")
    return empty_figure(3.4, 2.6, constrained=True).subplots()


@pytest.mark.parametrize(("length", "columns"), [(10, 2), (30, 1)])
def test_a_long_legend_stands_above_the_axes(axes, length, columns):
    names = [str(place) * length for place in range(6)]
    _draw(axes, Chart("Speed", "", [LINE._replace(name=name) for name in names]))
    axes.figure.draw_without_rendering()
    found = axes.get_legend()
    assert [each.get_text() for each in found.get_texts()] == names
    entries = [each.get_window_extent() for each in found.get_texts()]
    assert min(each.y0 for each in entries) >= axes.get_window_extent().y1
    assert len({round(each.x0) for each in entries}) == columns


def test_a_horizontal_line_far_away_makes_the_scale_logarithmic(axes):
    narrow = LINE._replace(y=[5.0, 4.5, 4.0])
    _draw(axes, Chart("Perplexity", "", [narrow], logarithmic=True))
    assert axes.get_yscale() == "linear"
    _draw(axes, Chart("Perplexity", "", [narrow], logarithmic=True, levels=[("uniform", 10_000.0)]))
    assert axes.get_yscale() == "log" and axes.get_ylim()[1] >= 10_000


@pytest.mark.parametrize("values", [[100, 1e100], [1e-320, 1e100], [-1e100, 1e100], [0.0, 5e-324], [1e100, 1e100]])
@pytest.mark.parametrize("options", [{}, {"logarithmic": True}, {"from_zero": True}])
def test_the_axis_of_extreme_values(values, options):
    scale = scale_of(values, **options)
    assert scale.ticks and all(math.isfinite(scale.place(tick)) for tick in scale.ticks)
    assert all(math.isfinite(scale.place(value)) for value in values if value > 1e-300 or not scale.logarithmic)
