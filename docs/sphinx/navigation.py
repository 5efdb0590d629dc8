"""The pages in the navigation of the site, in their order."""

import pathlib
import re
import shutil

GUIDES = [
    "docs/tour",
    "docs/models",
    "docs/own-cell",
    "docs/tagging",
    "docs/texts",
    "docs/surprisal",
    "docs/scoring",
    "docs/byte-corpora",
    "docs/units",
    "docs/import",
    "docs/settings",
    "docs/recipes",
    "docs/comparing",
    "docs/reports",
    "docs/sweeps",
    "docs/export",
    "docs/harness",
    "docs/serving",
    "docs/performance",
    "docs/reliability",
]
PROJECT = ["docs/decisions/README", "CONTRIBUTING", "CHANGELOG"]


def sections(root):
    """The captions of the navigation, each with its pages: `path` or `title <path>`, from `root`, without suffix."""
    coming_from = sorted((root / "docs" / "coming-from").glob("*.md"))
    others = [name_of(path, root) for path in sorted((root / "docs").glob("*.md"))]
    return {
        # a guide that has no place in the list yet comes last
        "Guides": list(dict.fromkeys([*GUIDES, *others])),
        "Coming from": [f"{short_title(path)} <{name_of(path, root)}>" for path in coming_from],
        "Reference": ["docs/api/index", "docs/methods/README"],
        "Project": PROJECT,
    }


def below(page):
    """The pages that an index lists, in its order; a page of another folder is none of its own."""
    listed = re.findall(r"\]\(([\w-]+)\.md\)", page.read_text(encoding="utf-8"))
    return list(dict.fromkeys(listed))


def short_title(page):
    """The title of a page without the words that its caption says already."""
    title = page.read_text(encoding="utf-8").splitlines()[0]
    return title.removeprefix("# ").removeprefix("Coming from ").removeprefix("the ")


def name_of(path, root):
    """The path of a page from `root`, without its suffix, as Sphinx names it."""
    return path.relative_to(root).with_suffix("").as_posix()


def add(app, name, source):
    """Append the navigation to the start page, and to an index of a folder the list of its pages."""
    root = pathlib.Path(app.srcdir)
    if name == app.config.root_doc:
        source[0] += "".join(toctree(pages, caption) for caption, pages in sections(root).items())
    elif name.endswith("/README"):
        source[0] += toctree(below(root / f"{name}.md"))


def toctree(pages, caption=None):
    """A hidden table of contents in the syntax of MyST."""
    options = ":hidden:\n" + (f":caption: {caption}\n" if caption else "")
    return f"\n```{{toctree}}\n{options}\n" + "\n".join(pages) + "\n```\n"


def add_start_page(app, error):
    """Give the start page the name that a server and a reader look for first."""
    if error is None and app.builder.format == "html":
        out = pathlib.Path(app.outdir)
        shutil.copyfile(out / f"{app.config.root_doc}.html", out / "index.html")
