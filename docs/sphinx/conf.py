"""Settings of Sphinx: `make docs` builds the site from the pages as they are and the docstrings.

The source folder is the root of the repository, so that a link between pages is the same here and on a code host.
Nothing is fetched while the site is built, and nothing from elsewhere is named in what is built.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import navigation
import reference
import source_pages

import refrain

ROOT = pathlib.Path(__file__).parents[2]

project = "refrain"
version = release = refrain.__version__
project_copyright = "the authors of refrain, Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/*/*.md", "docs/api/*.rst"]
exclude_patterns = [".venv", "runs", "site", "src", "tests", "docs/sphinx", "**/.*"]
nitpicky = False

# headings have the anchors that a code host gives them
myst_heading_anchors = 4
myst_url_schemes = ("http", "https", source_pages.SCHEME)

# docstrings write code between single backticks, as Markdown does
default_role = "py:obj"
autosummary_generate = False
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# a property may also be named in the docstring of its class; it is described once
napoleon_use_ivar = True
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"refrain {release}"
html_static_path = ["static"]
html_css_files = ["refrain.css"]
html_copy_source = False
html_show_sphinx = False
html_use_index = True
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#1f5f8b", "color-brand-content": "#1f5f8b"},
    "dark_css_variables": {"color-brand-primary": "#8cc4ea", "color-brand-content": "#8cc4ea"},
}


def setup(app):
    """Connect what the pages of a repository lack: the reference, the navigation, the sources that they link to."""
    reference.write(ROOT)
    app.connect("autodoc-process-docstring", reference.as_restructured_text)
    app.connect("source-read", navigation.add)
    app.connect("source-read", source_pages.mark)
    app.connect("doctree-resolved", source_pages.link)
    app.connect("html-collect-pages", source_pages.pages)
    app.connect("build-finished", navigation.add_start_page)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
