"""The page of a report: one file that asks no address for anything, and executes no text that it shows.

A content security policy allows one style sheet and one script, by their hashes, and pictures that are in the page.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from refrain.pictures.canvas import escaped

from .blocks import (
    Block,
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
from .chart import Chart, chart_svg, swatch

# the fractions of a row of a confusion matrix above which a cell is shaded more strongly
SHADES = (0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
# a bar of a unit, in the coordinates of its picture
BAR_WIDTH, BAR_HEIGHT = 4, 60


def report_html(page: Page) -> str:
    """Return the page of a report as HTML.

    Args:
        page: the report.
    """
    here = Path(__file__).parent
    style = (here / "report.css").read_text(encoding="utf-8")
    script = (here / "report.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    links = "".join(f'<a href="#{_anchor(section)}">{escaped(section.title)}</a>' for section in page.sections)
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escaped(page.title)}</title>",
        # an icon that is in the page, because browsers ask for one otherwise
        '<link rel="icon" href="data:,">',
        f"<style>{style}</style></head><body><main>",
        f'<header><h1>{escaped(page.title)}</h1><p class="soft">{escaped(page.subtitle)}</p></header>',
        _tiles(page.tiles),
        f'<nav aria-label="Sections">{links}</nav>',
        *(_section(section) for section in page.sections),
        f'<footer class="soft">{escaped(page.foot)}</footer>',
        f"</main><script>{script}</script></body></html>",
    ]
    return "\n".join(lines) + "\n"


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _anchor(section: Section) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in section.title.lower())


def _tiles(tiles: Sequence[Tile]) -> str:
    if not tiles:
        return ""
    parts = [
        f"<div><dt>{escaped(tile.name)}</dt><dd><b>{escaped(tile.value)}</b>"
        f"{f'<span>{escaped(tile.note)}</span>' if tile.note else ''}</dd></div>"
        for tile in tiles
    ]
    return f'<dl class="tiles">{"".join(parts)}</dl>'


def _section(section: Section) -> str:
    parts = "\n".join(_block(block) for block in section.blocks)
    return f'<section id="{_anchor(section)}"><h2>{escaped(section.title)}</h2>\n{parts}</section>'


def _block(block: Block) -> str:
    match block:
        case Paragraph(text, warning):
            return f'<p class="{"warning" if warning else "soft"}">{escaped(text)}</p>'
        case Pairs(rows):
            return _pairs(rows)
        case Table():
            return table_html(block)
        case Text(title, text):
            return f'<figure class="text"><figcaption>{escaped(title)}</figcaption><pre>{escaped(text)}</pre></figure>'
        case Charts(charts):
            return f'<div class="charts">{"".join(_chart(chart) for chart in charts)}</div>'
        case Pictures(pictures):
            return f'<div class="pictures">{"".join(_picture(picture) for picture in pictures)}</div>'
        case Units():
            return _units(block)
        case Confusion():
            return _confusion(block)
        case Fold(title, blocks):
            parts = "".join(_block(inner) for inner in blocks)
            return f"<details><summary>{escaped(title)}</summary>{parts}</details>"


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    parts = [f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in rows]
    return f'<dl class="pairs">{"".join(parts)}</dl>'


def table_html(table: Table) -> str:
    """Return a table as HTML, in a box that scrolls where the page is narrower."""
    cells = [f'<th scope="col"{_side(table, place)}>{escaped(name)}</th>' for place, name in enumerate(table.head)]
    rows = []
    for number, row in enumerate(table.rows):
        strong = ' class="strong"' if number == table.strong else ""
        rows.append(
            f"<tr{strong}>"
            + "".join(f"<td{_side(table, place)}>{escaped(cell)}</td>" for place, cell in enumerate(row))
            + "</tr>"
        )
    identity = f' id="{escaped(table.identity)}"' if table.identity else ""
    return (
        f'<div class="wide" tabindex="0"><table{identity}><thead><tr>{"".join(cells)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _side(table: Table, place: int) -> str:
    return ' class="t"' if place < table.texts else ""


def _chart(chart: Chart) -> str:
    names = [*(f"<li>{swatch(line)}{escaped(line.name)}</li>" for line in chart.lines)]
    legend = f"<ul>{''.join(names)}</ul>" if len(names) > 1 else ""
    note = f" <span>{escaped(chart.note)}</span>" if chart.note else ""
    return (
        f'<figure class="chart"><figcaption>{escaped(chart.title)}{note}{legend}</figcaption>'
        f"{chart_svg(chart)}</figure>"
    )


def _picture(picture: Picture) -> str:
    rows, columns = picture.shape
    encoded = base64.b64encode(picture.png).decode()
    return (
        f"<figure><figcaption>{escaped(picture.title)} <span>{escaped(picture.note)}</span></figcaption>"
        f'<img alt="{escaped(picture.title)}: {escaped(picture.note)}" width="{columns}" height="{rows}" '
        f'src="data:image/png;base64,{encoded}"></figure>'
    )


def _units(units: Units) -> str:
    """A bar for each unit, those that are dead in another colour at the bottom."""
    most = max(units.norms, default=0.0) or 1.0
    paths: dict[bool, list[str]] = {False: [], True: []}
    for place, (norm, dead) in enumerate(zip(units.norms, units.dead, strict=True)):
        height = 2.0 if dead else max(2.0, BAR_HEIGHT * norm / most)
        paths[dead].append(f"M{BAR_WIDTH * place + BAR_WIDTH / 2:g} {BAR_HEIGHT}v-{height:.1f}")
    kept = len(units.dead) - sum(units.dead)
    words = f"{units.name}: {kept:,} of {len(units.dead):,} units are kept"
    width = max(BAR_WIDTH * len(units.dead), 1)
    bars = "".join(
        f'<path d="{"".join(path)}" class="{name}" stroke="{colour}" stroke-width="{BAR_WIDTH - 1}"/>'
        for (path, name, colour) in ((paths[False], "s0", "#0072b2"), (paths[True], "s1", "#d55e00"))
        if path
    )
    return (
        f'<figure class="units"><figcaption>{escaped(words)}</figcaption><svg viewBox="0 0 {width} {BAR_HEIGHT}" '
        f'preserveAspectRatio="none" role="img" aria-label="{escaped(words)}">{bars}</svg></figure>'
    )


def _confusion(found: Confusion) -> str:
    head = "".join(f'<th scope="col"><span>{escaped(tag)}</span></th>' for tag in found.tags)
    rows = []
    for place, (tag, counts, total) in enumerate(zip(found.tags, found.counts, found.words, strict=True)):
        cells = []
        for column, count in enumerate(counts):
            share = count / total if total else 0.0
            shade = sum(share >= limit for limit in SHADES)
            side = "r" if place == column else "e"
            name = f' class="{side}{shade}"' if shade else ""
            cells.append(f"<td{name}>{count or ''}</td>")
        rows.append(f'<tr><th scope="row" class="t">{escaped(tag)}</th>{"".join(cells)}<td>{total:,}</td></tr>')
    return (
        '<div class="wide" tabindex="0"><table class="confusion"><thead><tr><th scope="col" class="t">true \\ predicted'
        f'</th>{head}<th scope="col"><span>words</span></th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
