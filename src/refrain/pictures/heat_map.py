"""An HTML page of texts in which the colour of each character shows the value of a unit."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .canvas import BLUE_RGB, VERMILION_RGB, escaped, page_lines

# low values are vermilion, high ones blue; both are blended into a white or a dark background
LOW, HIGH = VERMILION_RGB, BLUE_RGB
LOW_ON_DARK, HIGH_ON_DARK = (222, 102, 16), (30, 132, 208)
STRONGEST = 0.75


class Piece(NamedTuple):
    """A part of a text (a character, or a word with the blank after it) and the value of the unit after it."""

    text: str
    value: float


class Passage(NamedTuple):
    """A text with its values and a caption."""

    caption: str
    pieces: list[Piece]


class Scale(NamedTuple):
    """The map from values to colours: no colour at the centre, full colour at a distance of `limit` and beyond."""

    centre: float
    limit: float
    below: str  # the label of values below the centre
    above: str

    def strength(self, value: float) -> float:
        """Return the strength of the colour of a value, from -1 to 1."""
        return max(-1.0, min(1.0, (value - self.centre) / self.limit))


def pieces(texts: Iterable[str], values: Iterable[float]) -> list[Piece]:
    """Pair the pieces of a text with their values.

    Args:
        texts: the text of each token, from the vocabulary; empty ones are left out.
        values: the value after each token.

    Raises:
        ValueError: when the numbers of values and texts differ.
    """
    return [Piece(text, value) for text, value in zip(texts, values, strict=True) if text]


def scale_of(passages: Sequence[Passage], centre: float, below: str, above: str) -> Scale:
    """Return a scale whose limit 2 % of the pieces exceed, so that a few extreme values do not make the rest pale."""
    distances = sorted(abs(piece.value - centre) for passage in passages for piece in passage.pieces)
    limit = distances[min(len(distances) * 98 // 100, len(distances) - 1)] if distances else 0.0
    return Scale(centre, limit or 1.0, below, above)


def page(title: str, notes: Sequence[str], passages: Sequence[Passage], scale: Scale) -> str:
    """Return the page as HTML: a legend, then each passage. The value of a piece is shown under the mouse pointer.

    Args:
        title: the heading of the page.
        notes: lines under the heading.
        passages: the texts.
        scale: the scale of the colours.
    """
    ticks = (scale.centre - scale.limit, scale.centre, scale.centre + scale.limit)
    low, centre, high = (f"{tick:.3g}" for tick in ticks)
    body = [
        *(f"<p>{escaped(note)}</p>" for note in notes),
        '<div class="legend"><div class="bar"></div>',
        f'<div class="ticks"><span>{low}</span><span>{centre}</span><span>{high}</span></div>',
        f'<div class="ticks"><span>◀ {escaped(scale.below)}</span>',
        f"<span>{escaped(scale.above)} ▶</span></div></div>",
        *(
            f"<figure><figcaption>{escaped(passage.caption)}</figcaption>"
            f'<p class="text">{"".join(_span(piece, scale) for piece in passage.pieces)}</p></figure>'
            for passage in passages
        ),
    ]
    return page_lines(title, _STYLE, body)


def _span(piece: Piece, scale: Scale) -> str:
    strength = scale.strength(piece.value)
    side = "h" if strength >= 0 else "l"
    text = escaped(piece.text)
    return f'<span class={side} style="--s:{abs(strength):.2f}" data-v="{piece.value:.3f}">{text}</span>'


def _channels(colour: tuple[int, int, int]) -> str:
    return " ".join(map(str, colour))


_STYLE = f"""
:root {{ --low: {_channels(LOW)}; --high: {_channels(HIGH)} }}
@media (prefers-color-scheme: dark) {{
  :root {{ --low: {_channels(LOW_ON_DARK)}; --high: {_channels(HIGH_ON_DARK)} }}
}}
main {{ max-width: 56rem }}
h1 {{ font-size: 1.4rem; margin: 0 0 .4rem }}
main > p {{ margin: .1rem 0; color: var(--soft) }}
.legend {{ max-width: 26rem; margin: 1.4rem 0 2rem; font-size: .85rem; color: var(--soft) }}
.bar {{ height: .9rem; border-radius: .2rem; background: linear-gradient(to right,
  rgb(var(--low) / {STRONGEST}), rgb(var(--low) / 0) 50%,
  rgb(var(--high) / 0) 50%, rgb(var(--high) / {STRONGEST})); border: 1px solid var(--line) }}
.ticks {{ display: flex; justify-content: space-between; font-variant-numeric: tabular-nums }}
figure {{ margin: 0 0 1.6rem }}
figcaption {{ font-size: .85rem; color: var(--soft); margin-bottom: .25rem }}
.text {{ margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.9;
  font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .95rem }}
.text span {{ padding: .22em 0; position: relative }}
.l {{ background: rgb(var(--low) / calc({STRONGEST} * var(--s))) }}
.h {{ background: rgb(var(--high) / calc({STRONGEST} * var(--s))) }}
.text span:hover {{ outline: 1px solid var(--ink) }}
.text span:hover::after {{ content: attr(data-v); position: absolute; left: 50%; bottom: 120%; z-index: 1;
  transform: translateX(-50%); padding: .1rem .4rem; border-radius: .25rem; white-space: nowrap;
  font: .8rem/1.4 system-ui, sans-serif; background: var(--ink); color: var(--ground) }}
"""
