"""The site builds without a warning; what its pages load and link to is in it, and nothing comes from another host."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests import ROOT

for module in ("mkdocs", "material", "mkdocstrings"):
    pytest.importorskip(module, reason="the docs extra is not installed")
pytestmark = pytest.mark.slow

IN_CSS = re.compile(r"@import\s+['\"]([^'\"]+)|url\(\s*['\"]?([^'\")]+)")


class Addresses(HTMLParser):
    """What a page loads (scripts, styles, icons, pictures), what it links to, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.text = ""
        self.tag = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = tag
        said = {name: value or "" for name, value in attrs}
        if tag in ("a", "area"):
            self.linked += [said["href"]] if "href" in said else []
            return
        for name in ("src", "href", "xlink:href", "data", "poster"):
            self.loaded += [said[name]] if name in said else []
        self.loaded += [part.split()[0] for part in said.get("srcset", "").split(",") if part.strip()]
        self.loaded += in_css(said.get("style", ""))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.tag == "style":
            self.loaded += in_css(data)


def in_css(text: str) -> list[str]:
    """What a style sheet loads."""
    return [a or b for a, b in IN_CSS.findall(text)]


def elsewhere(addresses: list[str]) -> set[str]:
    """The addresses of other hosts."""
    return {one for one in addresses if urlsplit(one).netloc or urlsplit(one).scheme not in ("", "data")}


def missing(addresses: list[str], page: Path, site: Path) -> set[str]:
    """The addresses within the site at which no file is."""
    paths = {one: unquote(urlsplit(one).path) for one in addresses if one not in elsewhere([one])}
    paths = {one: path for one, path in paths.items() if path and urlsplit(one).scheme != "data"}
    at = {one: site / path[1:] if path.startswith("/") else page.parent / path for one, path in paths.items()}
    return {one for one, file in at.items() if not file.exists()}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return folder


def test_nothing_comes_from_another_host(site):
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    found = {str(page.relative_to(site)): elsewhere(Addresses(page.read_text()).loaded) for page in pages}
    found |= {str(style.relative_to(site)): elsewhere(in_css(style.read_text())) for style in styles}
    assert pages
    assert styles
    assert not {name: there for name, there in found.items() if there}


def test_what_pages_load_and_link_to_exists(site):
    found = {}
    for page in site.rglob("*.html"):
        addresses = Addresses(page.read_text())
        found[str(page.relative_to(site))] = missing(addresses.loaded + addresses.linked, page, site)
    assert not {name: gone for name, gone in found.items() if gone}


def test_every_page_and_every_room_is_in_the_site(site):
    names = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    assert {f"{page.stem}.html" for page in (ROOT / "docs").glob("*.md")} <= names
    assert {f"reference/{file.parent.name}.html" for file in (ROOT / "sorajax").glob("*/__init__.py")} <= names


def test_signatures_show_shapes(site):
    text = " ".join(Addresses((site / "reference" / "diffusion.html").read_text()).text.split())
    assert 'interpolate( data: Float[Array, "b t h w c"], noise: Float[Array, "b t h w c"]' in text


def test_addresses_of_every_form_are_found(tmp_path):
    html = """<link rel="preconnect" href="https://a.org"><script src="//b.org/x.js"></script><img src="c.png">
<img srcset="d.png 1x, https://e.org/e.png 2x"><style media="all">@import "https://f.org/f.css";
p {background: url(g.png)}</style><p style="background: url('https://h.org/h.png')"><a href="https://i.org">i</a>
<a href="j.html#k">j</a><img src="data:image/png;base64,AA=="><svg><use xlink:href="#l"/></svg>"""
    read = Addresses(html)
    assert {re.sub(r".*//(.)\.org.*", r"\1", one) for one in elsewhere(read.loaded)} == set("abefh")
    assert read.linked == ["https://i.org", "j.html#k"]
    (tmp_path / "c.png").touch()
    assert missing(read.loaded + read.linked, tmp_path / "page.html", tmp_path) == {"d.png", "g.png", "j.html#k"}
