"""The site: every page and every public name has its place, and nothing in it comes from elsewhere."""

import importlib
import importlib.util
import json
import pathlib
import re
from html.parser import HTMLParser

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SPHINX = ROOT / "docs" / "sphinx"
PUBLIC = json.loads((ROOT / "tests" / "golden" / "public_names.json").read_text(encoding="utf-8"))
# attributes that make a browser load something; a link that a reader clicks is none of them
LOADING = {"src", "srcset", "data", "poster", "action"}


def loaded(name):
    """A file of `docs/sphinx` as a module, whether or not Sphinx is installed."""
    spec = importlib.util.spec_from_file_location(f"site_{name}", SPHINX / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference():
    return loaded("reference")


@pytest.fixture(scope="module")
def navigation():
    return loaded("navigation")


def test_the_reference_has_the_public_names(reference):
    found = {package: sorted(names) for package, names in reference.packages(ROOT).items() if names}
    assert found == {package: names for package, names in PUBLIC.items() if names}


def test_every_public_name_has_one_entry_and_a_link_elsewhere(reference):
    pages = reference.pages(ROOT)
    entries = re.findall(r"^\.\. (?:auto\w+|py:data):: ([\w.]+)", "\n".join(pages.values()), re.MULTILINE)
    described = [entry for entry in entries if entry not in PUBLIC]
    objects = [getattr(importlib.import_module(path), name) for path, _, name in (d.rpartition(".") for d in described)]
    assert len(objects) == len({id(value) for value in objects}), "an object is described twice"
    for package, names in PUBLIC.items():
        alias = re.search(rf"^``{package}``\n   (.*)", pages["aliases.rst"], re.MULTILINE)
        text = alias[1] if alias else pages.get(f"{package}.rst", "")
        for name in names:
            linked = re.search(rf":py:obj:`{name} <([\w.]+)>`", text)
            assert (linked[1] if linked else f"{package}.{name}") in described, f"{package}.{name}"
    listed = re.findall(r"^   ([\w.]+)$", pages["index.rst"], re.MULTILINE)
    assert sorted(f"{page}.rst" for page in listed) == sorted(set(pages) - {"index.rst"})


def reached(navigation):
    """The pages that the navigation leads to: those of the start page, and those that its indexes list."""
    found = []
    for page in (page for pages in navigation.sections(ROOT).values() for page in pages):
        path = re.sub(r".*<(.*)>", r"\1", page)
        found.append(path)
        if path.endswith("/README"):
            folder = path.removesuffix("README")
            found += [folder + name for name in navigation.below(ROOT / f"{path}.md")]
    return found


def test_every_page_is_in_the_navigation_once(navigation):
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
    names = {navigation.name_of(page, ROOT) for page in pages} - {"README"}
    found = reached(navigation)
    assert sorted(found) == sorted({*names, "docs/api/index"})


def test_the_settings_of_the_site_name_no_other_host():
    for path in [*SPHINX.glob("*.py"), *SPHINX.rglob("*.css")]:
        assert not re.search(r"https?://|@import|url\(\s*['\"]?//", path.read_text(encoding="utf-8")), path
    settings = (SPHINX / "conf.py").read_text(encoding="utf-8")
    # these fetch: inventories of other projects, formulas from a content network, links to try
    assert not re.search(r"intersphinx|mathjax|linkcheck|analytics|html_baseurl", settings)


class Loads(HTMLParser):
    """Gathers the addresses that a browser fetches by itself when it shows a page."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in LOADING or (name == "href" and tag not in ("a", "area")):
                self.addresses.append(value or "")


def outside(text):
    """What a page loads from another host."""
    parser = Loads()
    parser.feed(text)
    return [address for address in parser.addresses if re.match(r"(\w+:)?//", address.strip())]


def test_what_comes_from_elsewhere_is_seen():
    page = '<link href="https://a.example/x.css"><img src="//b.example/y.png"><a href="https://c.example">z</a>'
    assert outside(page) == ["https://a.example/x.css", "//b.example/y.png"]


@pytest.mark.skipif(not (ROOT / "site" / "index.html").exists(), reason="the site is built by `make docs`")
def test_the_built_site_loads_nothing_from_elsewhere():
    site = ROOT / "site"
    pages = list(site.rglob("*.html"))
    assert len(pages) > 80
    for page in pages:
        assert not outside(page.read_text(encoding="utf-8")), page.relative_to(site)
    for style in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style.name
