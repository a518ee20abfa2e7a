"""mkdocs hook: pages from outside docs/, one reference page per room, and links that hold on the site and on disk.

Pages link to files as they lie in the repository. On the site a page's links lead to the page of the same file.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "LICENSE": "license.txt",
    "launch/README.md": "launch.md",
    "sorajax/assets/world/MODEL_CARD.md": "model_card.md",
    "sorajax/assets/world_fast/MODEL_CARD.md": "fast_model_card.md",
    "sorajax/assets/world/loss.png": "loss.png",
}
"""File of the repository -> file of the site. Files of docs/ keep their names."""
LINK = re.compile(r"(\]\(|src=['\"])([^)#'\"\s]+)")


def reference() -> dict[str, str]:
    """The reference's pages: the package itself, then one per room, with the modules in it."""
    rooms = sorted(path.parent.name for path in (ROOT / "sorajax").glob("*/__init__.py"))
    files = "".join(f"::: sorajax.{name}\n    options: {{heading_level: 2}}\n" for name in ("errors", "files"))
    names = "`sorajax.load` is [`sorajax.sampling.loading.load`][], `sorajax.Video` is [`sorajax.media.video.Video`][]."
    first = f"::: sorajax\n    options: {{members: false}}\n\n{names}\n\n{files}"
    return {"sorajax": first, **{room: f"::: sorajax.{room}\n" for room in rooms}}


def on_config(config: MkDocsConfig) -> None:
    """Adds the reference to the navigation."""
    config.nav.append({"Reference": [{name: f"reference/{name}.md"} for name in reference()]})


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Adds what lies outside docs/."""
    for source, name in OUTSIDE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    for name, text in reference().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links between files of the site."""
    here = page.file.src_uri
    if here == "index.md":
        page.meta["hide"] = ["navigation"]  # a list of one page
    source = next((source for source, name in OUTSIDE.items() if name == here), f"docs/{here}")

    def linked(found: re.Match) -> str:
        before, link = found.groups()
        if re.match(r"\w+:", link):  # another host, or mail
            return found[0]
        target = normpath(join(dirname(source), link))
        name = OUTSIDE.get(target, target.removeprefix("docs/"))
        return before + relpath(name, dirname(here) or ".")

    return LINK.sub(linked, markdown)
