"""The other parts of a report: settings, data, machine, what happened to the run, and its samples."""

from typing import Any

from refrain.config.schema import differences, settings_of
from refrain.pictures.report.blocks import Block, Fold, Pairs, Paragraph, Table, Text
from refrain.recipes import RECIPES

from ..outline import changed_lines, planned_end, started_from
from ..table_cells import value_cell
from .folder import MOST_SAMPLES, RunData

_SPLIT_COLUMNS = ("tokens", "lines", "unseen", "bytes", "files")


def notes(run: RunData) -> list[Block]:
    """What a reader of the figures has to know: warnings, an early end, changes, and the run that it started from."""
    given: Any = run.summary.get("warnings", [])
    found: list[Block] = [Paragraph(f"{line[:1].upper()}{line[1:]}.", warning=True) for line in given]
    if failed := run.summary.get("failed_kernels"):
        found.append(Paragraph(f"Kernels that failed, and were replaced by slower ones: {failed}.", warning=True))
    lines = [*planned_end(run.summary.get("plans", []))]
    if run.manifest:
        lines += [*started_from(run.manifest), *(line for line in changed_lines(run.manifest) if line)]
    if methods := run.summary.get("methods"):
        lines.append(f"Methods besides the settings: {', '.join(methods)}.")
    return found + [Paragraph(line) for line in lines]


def other_settings(run: RunData) -> tuple[str, list[list[str]]]:
    """The settings in which a run differs from its recipe, or from the defaults if its recipe is not built in.

    Args:
        run: the run.

    Returns:
        What it is compared with, in words, and for each setting its name, the value there and the value of the run.
    """
    given = run.experiment
    base = RECIPES[given.name]() if given.name in RECIPES else None
    if base is None or type(base) is not type(given):
        base, origin = type(given)(), "the defaults"
    else:
        origin = f"the recipe {given.name}"
    found = [each for each in differences(base, given) if "." in each[0]]
    return origin, [[name, value_cell(before), value_cell(after)] for name, before, after in found]


def setting_blocks(run: RunData) -> list[Block]:
    """The settings that differ from those of the recipe, and all of them."""
    origin, rows = other_settings(run)
    short = origin.removeprefix("the ")
    differing: Block = (
        Table(["setting", short, "this run"], rows, texts=3)
        if rows
        else Paragraph(f"All settings are those of {origin}.")
    )
    everything = [[name, value_cell(value)] for name, value in settings_of(run.experiment).items() if "." in name]
    blocks: list[Block] = [
        Paragraph(f"Settings that differ from {origin}:") if rows else differing,
        *([differing] if rows else []),
        Fold(f"All {len(everything)} settings", [Table(["setting", "value"], everything, texts=2)]),
    ]
    if run.recipe_text:
        blocks.append(Fold("What was asked for", [Text("recipe.toml", run.recipe_text)]))
    return blocks


def data_blocks(run: RunData) -> list[Block]:
    """The corpus: its splits, its vocabulary and its hashes."""
    data = run.manifest.get("data")
    if not isinstance(data, dict):
        return []
    splits: dict[str, Any] = data.get("splits", {})
    columns = [name for name in _SPLIT_COLUMNS if any(name in each for each in splits.values())]
    rows = [
        [name, *(_count(each.get(column)) for column in columns), str(each.get("sha256") or "")[:12]]
        for name, each in splits.items()
    ]
    facts = [(name, _count(data[name])) for name in ("corpus", "unit", "vocabulary", "tags", "column") if name in data]
    whole = [[name, str(each.get("file", "")), str(each.get("sha256") or "")] for name, each in splits.items()]
    return [
        Pairs(facts),
        Table(["split", *columns, "sha256"], rows),
        Fold("Files and hashes", [Table(["split", "file", "sha256"], whole, texts=3)]),
    ]


def _count(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)


def machine_blocks(run: RunData) -> list[Block]:
    """The machine, the versions, the command and the times."""
    found = run.manifest
    names = (
        "refrain", "torch", "python", "platform", "cpu_capability", "device", "cores", "threads", "ranks", "host",
        "seed", "started",
    )  # fmt: skip
    rows = [(name.replace("_", " "), str(found[name])) for name in names if found.get(name) not in (None, "")]
    if "finished" in run.summary:
        rows.append(("finished", str(run.summary["finished"])))
    if peak := run.summary.get("peak_memory_bytes"):
        rows.append(("peak memory", f"{peak / 1e6:,.0f} MB"))
    rows.append(("size of the run folder", f"{run.compared.entry.bytes / 1e6:,.1f} MB"))
    backends = found.get("backend")
    parts = [f"{name}: {each}" for name, each in backends.items()] if isinstance(backends, dict) else []
    blocks: list[Block] = [Pairs(rows)]
    if parts:
        blocks.append(Fold("Backends of the parts of the model", [Text("", "\n".join(parts))]))
    if command := found.get("command"):
        blocks.append(Text("Command", str(command)))
    return blocks


def sample_blocks(run: RunData) -> list[Block]:
    """The samples that were drawn while the run trained: the last one first, the others folded."""
    if not run.samples:
        return []
    texts = [Text(name, text) for name, text in reversed(run.samples)]
    more = f"Earlier samples ({len(texts) - 1})" if len(texts) < MOST_SAMPLES else "Some earlier samples"
    return [texts[0], *([Fold(more, texts[1:])] if texts[1:] else [])]
