"""Imports run one way: each room imports only from those above it (docs/architecture.md), no room has a circle inside,
the package's root holds doors, and no file grows beyond a sitting."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT

SOURCE = ROOT / "sorajax"
ROOMS = (
    "errors",
    "files",
    "copies",
    "devices",
    "media",
    "diffusion",
    "models",
    "pretrained",
    "world",
    "data",
    "language",
    "safety",
    "sampling",
    "tasks",
    "interactive",
    "training",
    "evaluation",
    "server",
    "commands",
)
"""In import order."""
SHORT = {"errors": 60, "files": 205, "copies": 120}
"""Files at the root that are rooms by themselves, and their most lines; all others are doors."""
DOOR, LONGEST = 40, 450
OBJECTIVE = 150
"""Lines of a file in training/objectives."""
LAZY = {"sorajax": {"sorajax.sampling.loading", "sorajax.media.video", "sorajax.server.studio.notebook"}}
"""`sorajax.load`, `sorajax.Video` and `sorajax.studio` are imported when asked for."""


def modules(source: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of the package in the folder `source`."""
    found = {}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module or "")
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in known}


def room(module: str) -> str:
    """The part of a dotted name after the package's; the package itself is ""."""
    return (*module.split("."), "")[1]


MODULES = modules(SOURCE)
DOORS = [path for path in sorted(SOURCE.glob("*.py")) if path.stem not in SHORT]


@cache
def imports(name: str) -> set[str]:
    return imported(MODULES[name], MODULES)


def wrong_way(name: str, others: set[str]) -> set[str]:
    """Which of its imports run back."""
    if room(name) not in ROOMS:  # a door opens every room
        return {other for other in others if not room(other)} - {"sorajax"}
    allowed = {"", *ROOMS[: ROOMS.index(room(name)) + 1]}
    return {other for other in others if room(other) not in allowed}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle in a graph, or nothing."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return []
        for after in sorted(graph.get(node, ())):
            if found := walk(after, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in sorted(graph) if (found := walk(node, []))), [])


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name):
    others = imports(name) - LAZY.get(name, set())
    assert not wrong_way(name, others), f"{name} imports from a room below its own"


def test_every_room_has_a_place_in_the_order():
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert folders <= set(ROOMS), "add the room to ROOMS and to docs/architecture.md"


def test_no_room_has_a_circle():
    assert not circle({name: imports(name) - LAZY.get(name, set()) for name in MODULES})


@pytest.mark.parametrize("path", DOORS, ids=lambda path: path.name)
def test_files_at_the_root_are_short_entry_points(path):
    assert len(path.read_text().splitlines()) <= DOOR
    assert path.stem not in ROOMS


@pytest.mark.parametrize("name", MODULES)
def test_no_file_is_longer_than_450_lines(name):
    most = SHORT.get(room(name), LONGEST) if name.count(".") == 1 else LONGEST
    assert len(MODULES[name].read_text().splitlines()) <= most


OBJECTIVES = sorted((SOURCE / "training" / "objectives").glob("*.py"))


@pytest.mark.parametrize("path", OBJECTIVES, ids=lambda path: path.name)
def test_an_objective_is_one_short_file(path):
    """It holds `init` and `loss`, knows no experiment, and what several share is elsewhere."""
    assert len(path.read_text().splitlines()) <= OBJECTIVE
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    assert not {other for other in imports(name) if other.startswith("sorajax.training.experiments")}


@pytest.mark.parametrize("name", MODULES)
def test_no_file_is_called_utils(name):
    assert not {"utils", "util", "common", "helpers", "misc", "base"} & set(name.split("."))


def test_every_source_file_has_a_test_file_of_its_own():
    """But for doors, which the tests of their commands go through, and the steps of a database's migration."""
    source = [path for path in MODULES.values() if path not in DOORS and not path.name.startswith("__")]
    mirrored = [path.relative_to(SOURCE) for path in source if "migrations" not in path.parts]
    missing = [path for path in mirrored if not (ROOT / "tests" / path.parent / f"test_{path.name}").exists()]
    assert not missing


def test_imports_of_every_form_are_found(tmp_path):
    """In a package of any name and place."""
    package = tmp_path / "package"
    for name in ("media/__init__", "media/video", "models/__init__", "models/dit", "pipeline", "__init__"):
        (package / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").touch()
    (package / "pipeline.py").write_text("""
import numpy
import package.media.video
from package import __version__, pipeline
def f():
    from package.models import dit
    from package.models.dit import DiT
""")
    known = modules(package)
    assert set(known) == {
        "package",
        "package.media",
        "package.media.video",
        "package.models",
        "package.models.dit",
        "package.pipeline",
    }
    assert imported(package / "pipeline.py", known) == {
        "package",
        "package.media.video",
        "package.models.dit",
        "package.pipeline",
    }


def test_imports_that_run_back_and_circles_are_found():
    assert wrong_way("sorajax.models.dit", {"sorajax.devices.sharding", "sorajax.models", "sorajax"}) == set()
    assert wrong_way("sorajax.models.dit", {"sorajax.data.loader"}) == {"sorajax.data.loader"}
    assert wrong_way("sorajax.train", {"sorajax.commands.train"}) == set()
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]


def test_the_page_shows_every_room():
    page = (ROOT / "docs" / "architecture.md").read_text()
    here = {name for name in ROOMS if (SOURCE / name).is_dir()}
    assert not {name for name in here if f"`{name}/`" not in page}


def test_the_pipeline_composes_and_is_short():
    """Prompts, denoiser and codec do the work: the class that puts them together stays within 150 lines."""
    body = parsed(MODULES["sorajax.sampling.pipeline"]).body
    (pipeline,) = (node for node in body if isinstance(node, ast.ClassDef))
    assert pipeline.end_lineno - pipeline.lineno < 150


def test_no_code_compares_the_name_of_a_conditioning():
    names = {"clock", "channels", "replaced"}
    for module, path in MODULES.items():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Compare) and any(
                "conditioning" in ast.unparse(part) for part in (node.left, *node.comparators)
            ):
                assert not names & {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}, module


def private_names(text: str) -> list[str]:
    """Names with an underscore in front that a file takes from others: by attribute, or by import."""
    public = {"_replace", "_asdict", "_make", "_fields", "_repr_html_", "_cache_size"}
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            found += [node.attr] * (ast.unparse(node.value) not in ("self", "cls", "jax"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sorajax"):
            found += [alias.name for alias in node.names]
    return [name for name in found if re.match("_[a-z]", name) and name not in public]


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: path.stem)
def test_no_test_reads_a_private_name(path):
    assert not private_names(path.read_text())


def test_private_names_are_found():
    assert private_names("from sorajax.a import _b\nc._d = self._e\nf._replace(g=1)._h") == ["_b", "_d", "_h"]
