"""The table of a bench of speed."""

from typing import Any


def table_of(rows: list[dict[str, Any]]) -> str:
    """The table of a bench whose candidates are timed in turns.

    Args:
        rows: what the bench returns.
    """
    from refrain.pictures.bench import SHARES

    from .output import table

    shares = {key: title for key, title in SHARES.items() if any(key in row for row in rows)}
    sized = any(row.get("megabytes") for row in rows)
    lines = [["", "median", "low", "high", "", "ratio", *shares.values(), *["MB"] * sized]]
    for row in rows:
        figures = [f"{row[key]:,.0f}" for key in ("median", "low", "high")]
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        parts = [f"{row[key]:.0%}" if key in row else "" for key in shares]
        if sized:
            parts.append(f"{row['megabytes']:,.1f}" if row["megabytes"] else "")
        lines.append([row["name"], *figures, row["unit"], ratio, *parts])
    return table(lines)
