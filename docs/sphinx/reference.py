"""The pages of the API reference: one for each package, with an entry for each name that it exports.

A name that several packages export has its entry in the first of them, which is the one with the shortest path; the
others link to it.
"""

import ast
import importlib
import inspect
import re

from pydantic import BaseModel

# packages in the order in which a reader meets them; any other follows by name
FIRST = ["refrain", "refrain.nn", "refrain.models", "refrain.data", "refrain.training", "refrain.evaluation"]
TITLES = {"refrain": "refrain: load, train, errors"}


def packages(root):
    """The packages of `src/refrain` by dotted name, each with the names that it exports, in reading order."""
    source = root / "src"
    found = {}
    for path in sorted(source.rglob("__init__.py")):
        name = ".".join(path.parent.relative_to(source).parts)
        found[name] = exports(path)
    order = sorted(found, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    return {name: found[name] for name in order}


def exports(path):
    """The names that a package lists as `from .x import Y as Y`."""
    return sorted(
        alias.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    )


def homes(found):
    """For each exported object, by package and name, the package whose page describes it."""
    described, home = {}, {}
    for package in sorted(found, key=lambda name: (name.count("."), list(found).index(name))):
        module = importlib.import_module(package)
        for name in found[package]:
            value = getattr(module, name)
            # strings and numbers may be one object under two names; classes and functions are not
            key = id(value) if callable(value) else (package, name)
            home[package, name] = described.setdefault(key, package)
    return home


def pages(root):
    """The text of each page by its file name: one for each package with names of its own, aliases, and an index."""
    found = packages(root)
    home = homes(found)
    made, aliases = {}, heading("Other import paths") + ALIASES
    for package, names in found.items():
        if any(home[package, name] == package for name in names):
            made[f"{package}.rst"] = page(package, names, home)
        elif names:
            aliases += f"\n``{package}``\n   {links(package, names, home)}\n"
    made["aliases.rst"] = aliases
    listed = "\n   ".join(name.removesuffix(".rst") for name in made)
    made["index.rst"] = f"{heading('API reference')}{INDEX}\n.. toctree::\n   :maxdepth: 1\n\n   {listed}\n"
    return made


def links(package, names, home):
    """Links to names that are described on the pages of other packages."""
    return ", ".join(f":py:obj:`{name} <{home[package, name]}.{name}>`" for name in names)


ALIASES = """
These packages export names that the pages of other packages describe.
"""

INDEX = """
Every public name, with its docstring. A name is public when a package exports it; what is not on these pages may change
at any time. The pages of :doc:`methods <../methods/README>` explain what the parts do and cite their sources, and
:doc:`the tour <../tour>` shows them in use.
"""


def page(package, names, home):
    """The page of a package: its docstring, a table of its names, and an entry for each that is described here."""
    own = [name for name in names if home[package, name] == package]
    others = [name for name in names if name not in own]
    text = heading(TITLES.get(package, package)) + f"\n.. automodule:: {package}\n"
    if others:
        text += f"\nAlso exported here: {links(package, others, home)}.\n"
    if documented := [name for name in own if callable(getattr(importlib.import_module(package), name))]:
        text += f"\n.. currentmodule:: {package}\n\n.. autosummary::\n   :nosignatures:\n\n   "
        text += "\n   ".join(documented) + "\n"
    return text + "".join(entry(package, name) for name in own)


def entry(package, name):
    """The directive that describes one name."""
    value = getattr(importlib.import_module(package), name)
    if not callable(value):
        return f"\n.. py:data:: {package}.{name}\n   :type: {type(value).__name__}\n"
    if not inspect.isclass(value):
        return f"\n.. autofunction:: {package}.{name}\n"
    if issubclass(value, BaseModel):
        return f"\n.. autoclass:: {package}.{name}(**settings)\n   :members:\n\n   {SETTINGS}\n"
    text = f"\n.. autoclass:: {package}.{name}\n   :members:\n"
    # methods in a base class of the package's own, which has no entry
    bases = [base for base in value.__bases__ if base.__module__.startswith(f"{value.__module__.rpartition('.')[0]}.")]
    if any(base.__bases__ == (object,) for base in bases):
        text += "   :inherited-members:\n"
    # the fields of a named tuple have no text of their own
    return text + (f"   :exclude-members: {', '.join(value._fields)}\n" if hasattr(value, "_fields") else "")


SETTINGS = "The page of :doc:`settings <../settings>` lists the fields with their values and defaults."


def heading(title):
    """A title in reStructuredText."""
    return f"{title}\n{'=' * len(title)}\n"


def write(root):
    """Write the pages that have changed below `docs/api`, and remove those that are no longer made."""
    folder = root / "docs" / "api"
    folder.mkdir(exist_ok=True)
    made = pages(root)
    for path in folder.glob("*.rst"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def as_restructured_text(app, kind, name, value, options, lines):
    """Turn what a docstring writes plainly into reStructuredText.

    Stars, bars and trailing underscores outside code are escaped; indented lines of a module's docstring are code.
    """
    made = []
    for index, line in enumerate(lines):
        if kind == "module" and line.startswith("    "):
            if not lines[index - 1].startswith("    "):
                made += ["::", ""]
            made.append(line)
        else:
            pieces = re.split(r"(`[^`]*`)", line)
            pieces[::2] = [re.sub(r"\*(?=\w)|\|(?=\w)|(?<=\w)_(?=\W|$)", r"\\\g<0>", piece) for piece in pieces[::2]]
            made.append("".join(pieces))
    lines[:] = made
