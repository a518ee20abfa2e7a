"""Imports run one way: each room imports only from those above it (DESIGN.md), and no file grows beyond a sitting."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "sorajax"
ROOMS = (
    "__init__",
    "compilation",
    "distributed",
    "sharding",
    "checkpoint",
    "request",
    "decoding", "formats", "video",
    "models",
    "diffusion",
    "pretrained",
    "parts",
    "data",
    "training",
    "safety",
    "evaluation",
    "settings",
    "given",
    "film",
    "sampling",
    "stages",
    "pipeline",
    "shaping",
    "tasks",
    "arguments", "sample",
    "train",
    "plan",
    "encode",
    "convert",
    "average",
    "evaluate",
    "cases",
    "benchmark",
)
FILES = sorted(SOURCE.rglob("*.py"))
LAZY = {"__init__": {"pipeline", "video"}}  # `sorajax.load` and `sorajax.Video` are imported when asked for
LONGEST = 450


def room(parts: tuple[str, ...]) -> str:
    """The room of a module below sorajax: its folder, or its own name; the package itself is `__init__`."""
    return parts[0].removesuffix(".py") if parts else "__init__"


def imported(path: Path) -> set[str]:
    """Rooms that a file imports from, anywhere in it."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the room"
            names = [f"{node.module}.{alias.name}" if node.module == "sorajax" else node.module for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = (name or "").split(".")
            if first == "sorajax":
                found = room(tuple(rest))
                rooms.add("__init__" if found.startswith("__") else found)
    return rooms


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_one_way(path):
    here = room(path.relative_to(SOURCE).parts)
    assert here in ROOMS, f"room '{here}' has no place in the order: add it to ROOMS and to DESIGN.md"
    allowed = {*ROOMS[: ROOMS.index(here) + 1], *LAZY.get(here, ())}
    assert imported(path) <= allowed, f"{here} imports from a room below it: {sorted(imported(path) - allowed)}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_is_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_names_say_something(path):
    assert not {"utils", "util", "common", "helpers", "misc", "base"} & {
        part.removesuffix(".py") for part in path.parts
    }


def test_the_reader_of_imports_sees_them(tmp_path):
    file = tmp_path / "file.py"
    lines = ("import numpy", "import sorajax.video", "def f():", "    from sorajax.models.dit import DiT")
    file.write_text("\n".join((*lines, "from sorajax import pipeline", "from sorajax import __version__")))
    assert imported(file) == {"video", "models", "pipeline", "__init__"}
