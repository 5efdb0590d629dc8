"""How the command `refrain evaluate` prints the figures of a language model."""

from typing import Any

FIGURES = ("nats_per_token", "bits_per_token", "bits_per_byte", "perplexity")


def report_all(about: dict[str, Any], unseen: dict[str, int], figures: dict[str, dict[str, Any]], json: bool) -> None:
    """Print the figures of a language model.

    Args:
        about: what was measured.
        unseen: the number of unknown words.
        figures: the figures by method; several methods are printed as a table.
        json: whether one JSON object is printed.
    """
    if len(figures) > 1:
        _report_several(about | unseen, figures, json)
        return
    ((name, figure),) = figures.items()
    _report(about | {"method": name} | unseen | figure, json)


def _report(found: dict[str, Any], json: bool) -> None:
    from .output import print_json, print_line

    if json:
        print_json(found)
        return
    for key, value in found.items():
        print_line(f"{key:{max(map(len, found))}}  {_formatted(key, value)}")


def _report_several(about: dict[str, Any], figures: dict[str, dict[str, Any]], json: bool) -> None:
    """Print a table with a row for each method; its last column lists the settings of the method."""
    from .output import print_json, table

    if json:
        print_json(about | {"figures": figures})
        return
    same = ("split", "protocol")
    _report({key: value for key, value in about.items() if key not in same}, json)
    columns = ["tokens", *(key for key in FIGURES if key in next(iter(figures.values()))), "tokens_per_second"]
    rows = [["method", *same, *columns, "settings"]]
    for name, figure in figures.items():
        settings = ", ".join(f"{key} {value:g}" for key, value in figure.items() if key not in columns)
        rows.append([name, *(about[key] for key in same), *(_formatted(key, figure[key]) for key in columns), settings])
    print()
    print(table(rows))


def _formatted(key: str, value: Any) -> str:
    return f"{value:,.4f}" if key in FIGURES else f"{value:,}" if isinstance(value, int) else f"{value}"
