"""The ledger in docs/recipes.md agrees with docs/ledger.json. Run as a program, this file writes the tables."""

import json
import pathlib
import re

from refrain.recipes import RECIPES

DOCS = pathlib.Path(__file__).parents[2] / "docs"
LEDGER, PAGE = DOCS / "ledger.json", DOCS / "recipes.md"
TABLES = re.compile(r"(?<=<!-- written by tests/docs/test_ledger\.py -->\n\n).*?(?=\n<!-- end -->)", re.DOTALL)
SECTION = re.compile(r"^## ", re.MULTILINE)


def deviation(figure):
    """What our figure is more than the published one, in percent of it."""
    return 100 * (figure["ours"] / figure["published"] - 1)


def judgement(figure):
    """Reproduced are figures that deviate by at most one percent, or are better."""
    if figure["ours"] is None:
        return "not attempted"
    worse = {"lower": deviation(figure), "higher": -deviation(figure), "equal": abs(deviation(figure))}
    return "reproduced" if worse[figure["better"]] <= 1 else "not reproduced"


def written(value):
    return f"{value:g}"


def ours(figure):
    """Our figure, with the standard deviation over seeds where there are several."""
    return written(figure["ours"]) + (f" ± {figure['sd']:g}" if "sd" in figure else "")


def in_deviations(figure):
    """The deviation in percent, and in standard deviations over our seeds where there are several."""
    # without the sign of a negative zero
    percent = f"{round(deviation(figure), 1) + 0.0:+.1f} %"
    if "sd" not in figure:
        return percent
    return f"{percent}, {(figure['ours'] - figure['published']) / figure['sd']:+.1f} sd"


def rows(ledger):
    yield "| recipe | published by | figure | published | ours | deviation | judgement |"
    yield "|---|---|---|---|---|---|---|"
    for figure in ledger["figures"]:
        measured = figure["ours"] is not None
        seeds = {None: [], 1: ["one seed"]}.get(figure["seeds"], [f"{figure['seeds']} seeds"])
        notes = "; ".join(each for each in (figure["note"], *seeds) if each)
        cells = [
            f"`{figure['recipe']}`",
            figure["source"],
            figure["figure"],
            written(figure["published"]),
            f"{ours(figure)}{f' ({notes})' if notes else ''}" if measured else "",
            in_deviations(figure) if measured else "",
            judgement(figure),
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "| recipe | published by | claim | ours | judgement |"
    yield "|---|---|---|---|---|"
    for claim in ledger["claims"]:
        cells = [f"`{claim['recipe']}`", claim["source"], claim["claim"], claim["ours"] or "", claim["judgement"]]
        yield f"| {' | '.join(cells)} |"


def tables():
    return "\n".join(rows(json.loads(LEDGER.read_text()))) + "\n"


def test_the_page_has_the_ledger():
    (found,) = TABLES.findall(PAGE.read_text())
    assert found == tables(), "run python tests/docs/test_ledger.py"


def test_its_figures_are_those_of_the_recipes():
    """Published figures and ours are in the section of their recipe, or in docs/performance.md."""
    sections = SECTION.split(PAGE.read_text())
    performance = (DOCS / "performance.md").read_text()
    for figure in json.loads(LEDGER.read_text())["figures"]:
        assert figure["recipe"] in RECIPES
        (section,) = (each for each in sections if each.startswith(f"{figure['recipe']}\n"))
        for value in (figure["published"], figure["ours"]):
            if value is not None and figure["better"] == "lower":
                assert re.search(rf"(?<![\d.]){value:.2f}".rstrip("0") + r"0?(?![\d])", section), (figure, value)
            elif value is not None and figure["better"] == "higher":
                assert f"{value:g}" in performance


def test_judgements():
    """Claims are judged by hand, figures by their deviation."""
    ledger = json.loads(LEDGER.read_text())
    known = {"reproduced", "not reproduced", "not attempted"}
    assert {claim["judgement"] for claim in ledger["claims"]} <= known
    assert all((claim["ours"] is None) == (claim["judgement"] == "not attempted") for claim in ledger["claims"])
    figure = {"published": 100.0, "better": "lower"}
    assert judgement(figure | {"ours": 100.9}) == judgement(figure | {"ours": 50.0}) == "reproduced"
    assert judgement(figure | {"ours": 101.5}) == "not reproduced"
    assert judgement(figure | {"ours": 98.0, "better": "higher"}) == "not reproduced"
    assert judgement(figure | {"ours": 98.0, "better": "equal"}) == "not reproduced"
    assert judgement(figure | {"ours": None}) == "not attempted"
    assert all(("sd" in each) == ((each["seeds"] or 1) > 1) for each in ledger["figures"])
    assert in_deviations(figure | {"ours": 102.0, "sd": 0.5}) == "+2.0 %, +4.0 sd"


if __name__ == "__main__":
    PAGE.write_text(TABLES.sub(lambda _: tables(), PAGE.read_text()))
