"""`refrain report` and `refrain plot`, and the page in a headless browser."""

import json
import re
import shutil

import pytest

MARKUP = "<script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"


@pytest.fixture(scope="module")
def page_of(tmp_path_factory, tiny_run, byte_run):
    """The address of a report of two runs."""
    from refrain.cli.app import main

    out = tmp_path_factory.mktemp("pages") / "two.html"
    assert main(["report", str(tiny_run), str(byte_run), "--out", str(out)]) == 0
    return out


def test_report(refrain, tiny_run, tmp_path, tree):
    before = tree(tiny_run)
    out = tmp_path / "x.html"
    found = refrain("report", tiny_run, "--out", out, "--json").json
    assert found == {"out": str(out), "runs": [str(tiny_run)], "bytes": out.stat().st_size}
    assert tree(tiny_run) == before
    # the same page as that of the run, but for the time
    times = re.compile(r"Written by .* UTC|size of the run folder</dt><dd>[^<]*")
    assert times.sub("", out.read_text()) == times.sub("", (tiny_run / "report.html").read_text())


def test_the_report_in_a_run_can_be_renewed(refrain, mistake, run_copy):
    out = run_copy / "report.html"
    out.write_text("old")
    mistake(4, ["report", run_copy, "--out", out], "exists; choose another path, or replace it with --force")
    assert refrain("report", run_copy, "--out", out, "--force").status == 0
    assert out.read_text().startswith("<!doctype html>")


def test_folders_of_runs(refrain, tiny_run, byte_run, tmp_path):
    words = [tiny_run.parent, byte_run, tiny_run, "--out", tmp_path / "x.html"]
    assert refrain("report", *words, "--json").json["runs"] == [str(tiny_run), str(byte_run)]


@pytest.mark.parametrize("command", ["report", "plot"])
def test_a_damaged_run_below_a_folder_is_left_out(refrain, mistake, tiny_run, tmp_path, command):
    if command == "plot":
        pytest.importorskip("matplotlib")
    out = tmp_path / ("x.html" if command == "report" else "x.svg")
    folder = tmp_path / "runs"
    good, bad = (shutil.copytree(tiny_run, folder / name, symlinks=True) for name in ("good", "bad"))
    (bad / "config.json").write_text("{")
    done = refrain(command, folder, "--out", out, "--json")
    assert done.json["runs"] == [str(good)] and f"note: left out: {bad / 'config.json'}: cannot be read" in done.err
    out.unlink()
    # as for compare, a run that is named itself is not passed over
    mistake(4, [command, folder, bad, "--out", out], f"{bad / 'config.json'}: cannot be read")
    shutil.rmtree(good)
    mistake(4, [command, folder, "--out", out], f"{folder}: no run here can be read; see what they are with")
    assert not out.exists()


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plot(refrain, tiny_run, tmp_path, ending, start):
    pytest.importorskip("matplotlib")
    out = tmp_path / f"x.{ending}"
    found = refrain("plot", tiny_run, "--out", out, "--json").json
    assert found == {"out": str(out), "runs": [str(tiny_run)], "charts": ["Perplexity"]}
    drawn = out.read_bytes()
    assert drawn.startswith(start)
    refrain("plot", tiny_run, "--out", out, "--force")
    assert out.read_bytes() == drawn


def test_plot_of_several_runs_and_all_curves(refrain, tiny_run, byte_run, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "x.svg"
    found = refrain("plot", tiny_run, byte_run, "--curves", "all", "--out", out, "--json").json
    assert found["charts"] == [
        "Perplexity, validation", "Bits per byte, validation", "Perplexity, training", "Bits per byte, training",
        "Learning rate", "Gradient norm", "Speed",
    ]  # fmt: skip
    text = out.read_text()
    assert ">tiny<" in text and ">bytes<" in text
    speed = refrain("plot", tiny_run, byte_run, "--curves", "speed", "--out", out, "--force", "--json").json
    assert speed["charts"] == ["Speed"]


def test_runs_that_are_not_drawn_are_named(refrain, tiny_run, byte_run, run_copy, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    for module in ("drawing", "writing"):
        monkeypatch.setattr(f"refrain.runs.reports.{module}.MOST_RUNS", 2)
    done = refrain("plot", tiny_run, byte_run, run_copy, "--out", tmp_path / "x.svg", "--json")
    assert done.json["runs"] == [str(tiny_run), str(byte_run)]
    assert f"note: not drawn: {run_copy}: a picture has 2 runs at most; name fewer runs" in done.err
    assert ">run<" not in (tmp_path / "x.svg").read_text()
    # a run without curves leaves its place to another one
    (run_copy / "metrics.jsonl").write_text("")
    done = refrain("plot", run_copy, tiny_run, byte_run, "--out", tmp_path / "y.svg", "--json")
    assert done.json["runs"] == [str(tiny_run), str(byte_run)]
    assert f"note: not drawn: {run_copy}: has no curves of this kind (main); nothing was recorded" in done.err
    assert "note" not in refrain("plot", tiny_run, byte_run, "--out", tmp_path / "z.svg").err


@pytest.mark.parametrize("by", ["epoch", "step", "minutes"])
@pytest.mark.parametrize("several", [False, True])
def test_what_the_axis_counts(tiny_run, byte_run, by, several):
    from refrain.runs.reports.drawing import drawing_of
    from refrain.runs.reports.folder import read_run

    lines = [json.loads(each) for each in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    valid = [each for each in lines if each["event"] == "valid"]
    right = [(each["epoch"], each["step"], each["wall_seconds"] / 60) for each in valid]
    runs = [read_run(path) for path in ([tiny_run, byte_run] if several else [tiny_run])]
    chart, *others = drawing_of(runs, "main", by, [("paper", 80.0)]).charts
    (line,) = [each for each in chart.lines if each.name in ("validation", "tiny")]
    place = ("epoch", "step", "minutes").index(by)
    assert list(line.x) == pytest.approx([each[place] for each in right])
    assert list(line.y) == pytest.approx([each["perplexity"] for each in valid])
    assert chart.across == by and chart.until >= max(line.x)
    assert list(chart.levels) == [("paper", 80.0)] and not any(each.levels for each in others)


def test_a_run_without_the_length_of_epochs_makes_all_count_steps(tiny_run, run_copy):
    from refrain.runs.reports.drawing import drawing_of
    from refrain.runs.reports.folder import read_run

    file = run_copy / "metrics.jsonl"
    lines = [json.loads(each) for each in file.read_text().splitlines()]
    # as in a run that has not ended its first epoch
    kept = [{**each, "epoch_ended": False} for each in lines if each["epoch"] == 1]
    for each in kept:
        each.pop("windows", None)
    file.write_text("".join(json.dumps(each) + "\n" for each in kept))
    chart = drawing_of([read_run(tiny_run), read_run(run_copy)], "main").charts[0]
    assert chart.across == "step"
    steps = [[each["step"] for each in found if each["event"] == "valid"] for found in (lines, kept)]
    assert [list(line.x) for line in chart.lines] == steps
    assert chart.until == max(each["step"] for each in lines)


def test_plot_by_time_beside_published_figures(refrain, tiny_run, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "x.svg"
    refrain("plot", tiny_run, "--by", "minutes", "--reference", "paper=82.7", "--reference", "a=b=1e4", "--out", out)
    text = out.read_text()
    assert ">minutes<" in text and ">paper<" in text and ">a=b<" in text


def test_a_long_legend_is_above_the_chart(refrain, tiny_run, tmp_path):
    pytest.importorskip("matplotlib")
    heights = []
    for count in (0, 2, 3):
        out = tmp_path / f"{count}.svg"
        words = [word for place in range(count) for word in ("--reference", f"line {place}={80 + place}")]
        refrain("plot", tiny_run, *words, "--out", out)
        text = out.read_text()
        heights.append(float(re.search(r'height="([\d.]+)pt"', text)[1]))
        assert all(f">line {place}<" in text for place in range(count))
    # training, validation and two lines fit into the chart
    assert heights[0] == heights[1] < heights[2]


def test_plot_of_lines_without_a_time(mistake, refrain, run_copy, tmp_path):
    pytest.importorskip("matplotlib")
    file = run_copy / "metrics.jsonl"
    lines = [json.loads(each) for each in file.read_text().splitlines()]
    lines[-1].pop("wall_seconds")
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    out = tmp_path / "x.svg"
    mistake(
        4, ["plot", run_copy, "--by", "minutes", "--out", out], "metrics.jsonl: a line of metrics has no time; draw"
    )
    assert not out.exists()
    refrain("plot", run_copy, "--by", "step", "--out", out)


@pytest.mark.parametrize(
    ("words", "status", "parts"),
    [
        (["report", "--out", "x.html"], 2, ["which runs?", "refrain report runs --out"]),
        (["plot", "--out", "x.png"], 2, ["which runs?", "refrain plot runs --out"]),
        (["report", "{run}", "--out", "x.pdf"], 2, ["--out must end in .html (got 'x.pdf')"]),
        (["plot", "{run}", "--out", "x.gif"], 2, ["--out must end in .png or .svg or .pdf (got 'x.gif')"]),
        (["report", "gone", "--out", "x.html"], 4, ["gone: no run is here"]),
        *(
            (["plot", "{run}", "--reference", word, "--out", "x.png"], 2, ["--reference takes NAME=VALUE", repr(word)])
            for word in ("82.7", "=82.7", "paper=", "paper=nan", "paper=x")
        ),
        (
            ["plot", "{run}", "--reference", "a=0", "--out", "x.png"],
            2,
            ["the line a=0 is below the scale of Perplexity; give a value above 0"],
        ),
        (["plot", "{run}", "--curves", "sparsity", "--out", "x.png"], 4, ["has no curves of this kind (sparsity)"]),
    ],
)
def test_mistakes(mistake, tiny_run, tmp_path, monkeypatch, words, status, parts):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    mistake(status, [word.format(run=tiny_run) for word in words], *parts)
    assert not list(tmp_path.iterdir())


@pytest.mark.browser
def test_the_page_in_a_browser(browser_page, page_of, tiny_run):
    """No error, no request but for the page, and the exact value under the pointer and by the arrow keys."""
    browser_page.size(1000, 800)
    browser_page.visit(page_of.as_uri())
    assert browser_page.errors == []
    assert {each for each in browser_page.requests if not each.startswith("data:")} == {page_of.as_uri()}
    assert browser_page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    # validation comes first
    chart = "document.querySelector('svg.plot')"
    browser_page.run(f"{chart}.scrollIntoView({{block: 'center'}})")
    x, y, width, height = browser_page.run(f"(b => [b.x, b.y, b.width, b.height])({chart}.getBoundingClientRect())")
    valid = [
        line
        for line in map(json.loads, (tiny_run / "metrics.jsonl").read_text().splitlines())
        if line["event"] == "valid"
    ]
    tip = "document.querySelector('.tip')"
    for epoch, line in enumerate(valid, 1):
        browser_page.move(x + width * (52 + 376 * epoch / 2) / 440, y + height / 2)
        shown = browser_page.run(f"{tip}.innerText").split("\n")
        assert shown == [f"epoch {epoch}", "tiny", f"{line['perplexity']:.6g}"]
    browser_page.move(1, 1)
    assert browser_page.run(f"{tip}.hidden")
    browser_page.run(f"{chart}.focus()")
    for key, epoch in (("End", 2), ("ArrowLeft", 1), ("ArrowLeft", 1), ("ArrowRight", 2)):
        browser_page.press(key)
        assert browser_page.run(f"{tip}.firstChild.textContent") == f"epoch {epoch}"
    browser_page.press("Escape")
    assert browser_page.run(f"{tip}.hidden") and browser_page.errors == []


@pytest.mark.browser
def test_a_phone_and_the_dark(browser_page, page_of):
    browser_page.size(390, 800, dark=True)
    browser_page.visit(page_of.as_uri())
    assert browser_page.run("document.documentElement.scrollWidth") == 390
    assert browser_page.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 27)"
    # texts differ from the ground as WCAG 2 asks, 4.5 to 1
    script = """(() => {
      const channel = c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      const light = text => text.match(/[\\d.]+/g).slice(0, 3).map(c => channel(c / 255))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const ground = light(getComputedStyle(document.body).backgroundColor);
      return [...document.querySelectorAll("h1, p, td, th, a, figcaption span, dt, summary, .tick")].map(each => {
        const style = getComputedStyle(each), own = light(each.matches(".tick") ? style.fill : style.color);
        return (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
      }).reduce((a, b) => Math.min(a, b));
    })()"""
    assert browser_page.run(script) > 4.5
    browser_page.size(1000, 800)
    browser_page.visit(page_of.as_uri())
    assert browser_page.run(script) > 4.5


@pytest.mark.browser
def test_markup_in_a_run_is_not_executed(browser_page, refrain, run_copy, tmp_path):
    (run_copy / "samples" / "epoch-002.txt").write_text(MARKUP)
    (run_copy / "recipe.toml").write_text(MARKUP)
    moved = run_copy.rename(run_copy.with_name("<script>window.broken = 3<"))
    assert refrain("report", moved, "--out", tmp_path / "x.html").status == 0
    browser_page.visit((tmp_path / "x.html").as_uri())
    assert browser_page.run("typeof window.broken") == "undefined" and browser_page.errors == []
    assert browser_page.run(f"document.body.innerText.includes({json.dumps(MARKUP)})")
    # even if markup got in, the policy would refuse it
    browser_page.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.broken = 4\">')")
    browser_page.run("new Promise(done => setTimeout(done, 50))")
    assert browser_page.run("typeof window.broken") == "undefined"
    assert any("Content Security Policy" in each for each in browser_page.errors)
