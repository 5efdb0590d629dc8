"""Links from the pages to files that are no pages themselves: each such file is shown on a page of its own."""

import html
import pathlib
import posixpath
import re

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

SCHEME = "source"
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(?=\))")


def mark(app, name, source):
    """Put the scheme before links to files of the repository that the site does not hold as pages."""
    root = pathlib.Path(app.srcdir)

    def marked(match):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), match[1]))
        if path.endswith((".md", ".svg", ".png")) or not (root / path).exists():
            return match[0]
        return f"{SCHEME}:{path}"

    parts = re.split(r"(^```.*?^```)", source[0], flags=re.DOTALL | re.MULTILINE)
    parts[::2] = [LINK.sub(marked, part) for part in parts[::2]]
    source[0] = "".join(parts)


def link(app, tree, name):
    """Turn marked links into links to the pages of the files."""
    for node in tree.findall(nodes.reference):
        target = node.get("refuri", "")
        if target.startswith(f"{SCHEME}:"):
            path = target.removeprefix(f"{SCHEME}:")
            linked(app).add(path)
            node["refuri"] = app.builder.get_relative_uri(name, page_of(path))


def linked(app):
    """The paths that pages link to, kept over the runs of a builder that reads changed pages only."""
    if not hasattr(app.env, "refrain_sources"):
        app.env.refrain_sources = set()
    return app.env.refrain_sources


def page_of(path):
    """The name of the page that shows a file."""
    return f"{SCHEME}/{path}"


def pages(app):
    """Yield a page for each file that is linked to, and for each folder a list of its files, which have pages too."""
    root = pathlib.Path(app.srcdir)
    waiting, done = sorted(linked(app)), set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        if (root / path).is_dir():
            inside = sorted(one for one in (root / path).iterdir() if shown(one))
            waiting += [f"{path}/{one.name}" for one in inside]
            body = listing(app, path, [one.name for one in inside])
        else:
            body = code(root / path)
        title = html.escape(path)
        yield page_of(path), {"title": title, "body": f'<h1 class="source">{title}</h1>{body}'}, "page.html"


def shown(path):
    """Whether a file of a folder is worth a page."""
    return path.suffix in (".py", ".cpp", ".h", ".json") or (path.is_dir() and path.name != "__pycache__")


def listing(app, path, names):
    """The list of a folder's files, with links."""
    here = page_of(path)
    rows = [(app.builder.get_relative_uri(here, page_of(f"{path}/{name}")), name) for name in names]
    return (
        "<ul>"
        + "".join(f'<li><a href="{url}"><code>{html.escape(name)}</code></a></li>' for url, name in rows)
        + "</ul>"
    )


def code(path):
    """A file with its syntax coloured and its lines numbered."""
    text = path.read_text(encoding="utf-8")
    try:
        lexer = get_lexer_for_filename(path.name)
    except ClassNotFound:
        lexer = TextLexer()
    return highlight(text, lexer, HtmlFormatter(linenos="inline", lineanchors="line", wrapcode=True))
