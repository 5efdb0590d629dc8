"""What a notebook shows: charts, the words of a scored text with their surprisal, and the sizes of a model.

The colours are in the elements themselves, because a notebook may leave out style sheets, and fit light and dark pages.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .canvas import VERMILION_RGB, escaped
from .report.chart import Chart, chart_svg, swatch

# the surprisal in bits that has the strongest colour
STRONGEST_BITS = 16.0


class ScoredWord(NamedTuple):
    """A word of a text.

    Attributes:
        sentence: the number of its sentence.
        text: the word.
        bits: its surprisal.
        unknown: whether the model reads it as unknown.
    """

    sentence: int
    text: str
    bits: float
    unknown: bool


def charts_html(charts: Sequence[Chart]) -> str:
    """Return charts as HTML, side by side where there is room."""
    parts = []
    for chart in charts:
        legend = "".join(
            f'<span style="margin-right:1em">{swatch(line)} {escaped(line.name)}</span>' for line in chart.lines
        )
        note = f' <span style="opacity:.7">{escaped(chart.note)}</span>' if chart.note else ""
        below = f"<div>{legend if len(chart.lines) > 1 else ''}</div>{chart_svg(chart)}"
        style = "flex:1 1 24em;max-width:34em;font:13px/1.4 sans-serif"
        parts.append(f'<div style="{style}"><b>{escaped(chart.title)}</b>{note}{below}</div>')
    return f'<div style="display:flex;flex-wrap:wrap;gap:1em 1.5em">{"".join(parts)}</div>'


def surprisal_html(words: Iterable[ScoredWord]) -> str:
    """Return a text in which the colour of each word shows its surprisal, with the number below it.

    Args:
        words: the words of one sentence after another.
    """
    lines: dict[int, list[ScoredWord]] = {}
    for word in words:
        lines.setdefault(word.sentence, []).append(word)
    red, green, blue = VERMILION_RGB
    parts = []
    for line in lines.values():
        cells = []
        for word in line:
            strength = max(0.0, min(1.0, word.bits / STRONGEST_BITS))
            style = f"background:rgba({red},{green},{blue},{0.75 * strength:.2f})"
            title = f"{word.bits:.2f} bits{', unknown to the model' if word.unknown else ''}"
            mark = "border-bottom:2px dotted currentColor;" if word.unknown else ""
            cells.append(
                f'<span title="{title}" style="display:inline-block;text-align:center;margin:0 .15em .3em 0;'
                f'padding:.1em .25em;border-radius:.2em;{mark}{style}">{escaped(word.text)}'
                f'<br><small style="opacity:.75">{word.bits:.1f}</small></span>'
            )
        bits = sum(word.bits for word in line)
        mean = f'<small style="opacity:.75;margin-left:.6em">{bits / len(line):.2f} bits a word</small>'
        parts.append(f'<div style="line-height:1.35">{"".join(cells)}{mean}</div>')
    return f'<div style="font:14px/1.4 sans-serif">{"".join(parts)}</div>'


def facts_html(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a small table of names and values as HTML.

    Args:
        title: its caption.
        rows: the names and values, as plain text.
    """
    cells = "".join(
        f'<tr><th style="text-align:left">{escaped(name)}</th><td style="text-align:right">{escaped(value)}</td></tr>'
        for name, value in rows
    )
    return f"<table><caption style='text-align:left'><b>{escaped(title)}</b></caption><tbody>{cells}</tbody></table>"
