"""The common parts of all pictures: the import of matplotlib and its error message, colours, and file output."""

import html
import io
import re
import warnings
from typing import Any, Literal

from refrain.errors import UserError

# blue and vermilion of Okabe & Ito, which people with colour blindness can distinguish; each also as an RGB triple
BLUE, VERMILION = "#0072b2", "#d55e00"
BLUE_RGB, VERMILION_RGB = (0, 114, 178), (213, 94, 0)
CURVES = (BLUE, VERMILION, "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
PALE_BLUES = ("#c6dbef", "#6baed6")
GREY, PALE_GREY = "#9aa5b1", "#d5dae0"
INK, SOFT, LINE = "#1b1f24", "#5b6470", "#9aa3ad"

# the lengths in characters at which titles and names in pictures are cut
LONGEST_TITLE, LONGEST_NAME = 160, 40
# control characters except the newline, separators of lines, marks that change the direction of the text after them,
# surrogates and code points that are no characters
_INVISIBLE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
# a character that is missing from the font is drawn as a box, and a part without space is left out
_HARMLESS = r"Glyph|constrained_layout not applied|Tight layout not applied"

PAGE_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1f24; --soft: #5b6470; --line: #d9dde2 }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171b; --ink: #eceff3; --soft: #a0a8b3; --line: #343a42 }
}
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif }
main { margin: 0 auto; padding: 2rem 1.25rem 4rem }
"""
"""The style sheet that all pages have in common: light and dark colours, font and margins."""


def check_matplotlib() -> None:
    """Check that matplotlib is installed, so that a command can fail before it measures anything.

    Raises:
        UserError: when matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: F401
    except ImportError:
        raise UserError("pictures need matplotlib: pip install 'refrain-lm[plot]'") from None


def empty_figure(width: float, height: float, *, constrained: bool = False) -> Any:
    """Create a matplotlib figure with a white background.

    Args:
        width: the width in inches.
        height: the height in inches.
        constrained: let matplotlib fit the parts of the figure into it.

    Raises:
        UserError: when matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), facecolor="white", layout="constrained" if constrained else None)


def image_bytes(figure: Any, file_format: Literal["png", "svg", "pdf"] = "png", *, dpi: int = 150) -> bytes:
    """Return the bytes of an image file. The SVG and the PDF of a figure are the same in every run.

    Args:
        figure: a figure from `empty_figure`.
        file_format: png, svg or pdf.
        dpi: the pixels per inch of a PNG.
    """
    import matplotlib

    buffer = io.BytesIO()
    # fonts of type 42, which editors can change and journals take
    style = matplotlib.rc_context({"svg.hashsalt": "refrain", "svg.fonttype": "none", "pdf.fonttype": 42})
    with style, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=_HARMLESS)
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(file_format)
        figure.savefig(buffer, format=file_format, dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def printable(text: str) -> str:
    """Replace control characters except the newline by dots, and other characters that pages and fonts cannot have."""
    return _INVISIBLE.sub("·", text)


def plain_text(text: str, longest: int = LONGEST_TITLE) -> str:
    """Return a text of one line for matplotlib, which would read a formula between dollar signs.

    Args:
        text: any text.
        longest: the number of characters at which it is cut.
    """
    line = printable(text[:longest] + ("…" if len(text) > longest else "")).replace("\n", "·")
    return line.replace("$", r"\$")


def escaped(text: str) -> str:
    """Return a text for an HTML page."""
    return html.escape(printable(text))


def page_lines(title: str, style: str, body: list[str]) -> str:
    """Return an HTML page that loads no external resources.

    Args:
        title: the title and first heading, as plain text.
        style: CSS in addition to `PAGE_STYLE`.
        body: the lines of HTML of the body.
    """
    heading = escaped(title)
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{heading}</title>",
        f"<style>{PAGE_STYLE}{style}</style></head><body><main>",
        f"<h1>{heading}</h1>",
        *body,
        "</main></body></html>",
    ]
    return "\n".join(lines) + "\n"
