"""An HTML page with the report of a sparse model and its pictures."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from .canvas import escaped, page_lines
from .sparsity import Part, png


def sparsity_page_html(
    title: str, found: Mapping[str, Any], sizes_shown: Mapping[str, str], shown: Sequence[Part]
) -> str:
    """Return the page; the pictures are embedded in it.

    Args:
        title: the heading of the page.
        found: the report, from `refrain.sparsity.report.report`.
        sizes_shown: the sizes in the table: for each key of the report, its label.
        shown: the parts of the picture.

    Raises:
        UserError: when matplotlib is not installed.
    """
    sizes = [
        [label, f"{found[name]:,}", f"{found[f'compact_{name}']:,}", _percent(found[f"compact_{name}"] / found[name])]
        for name, label in sizes_shown.items()
    ]
    widths = [[name, *(f"{row[key]:,}" for key in ("units", "dead", "left"))] for name, row in found["widths"].items()]
    tensors = [
        [
            name,
            " × ".join(f"{length:,}" for length in row["shape"]),
            _percent(row["zeros"]),
            *("" if row[key] is None else f"{row[key]:,}" for key in ("zero_rows", "zero_columns")),
        ]
        for name, row in found["tensors"].items()
    ]
    pictures = [
        f"<h2>{escaped(part.title)}</h2><p>{escaped(part.note)}</p>"
        f'<img alt="{escaped(part.title)}" src="data:image/png;base64,{base64.b64encode(png([part])).decode()}">'
        for part in shown
    ]
    body = [
        _table(["", "now", "compacted", "share"], sizes),
        "<h2>Widths</h2><p>Without its dead units, the model computes the same.</p>",
        _table(["width", "units", "dead", "left"], widths),
        *pictures,
        "<h2>Tensors</h2>",
        _table(["tensor", "shape", "zeros", "rows of zeros", "columns of zeros"], tensors),
    ]
    return page_lines(title, _STYLE, body)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{escaped(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


_STYLE = """
main { max-width: 66rem }
h1 { font-size: 1.4rem; margin: 0 0 1rem }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem }
p { margin: .1rem 0 .6rem; color: var(--soft) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--soft); font-weight: 600 }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
img { display: block; width: 100%; height: auto; border-radius: .3rem }
"""
