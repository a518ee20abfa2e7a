"""Laws of tables in pages: what is not between the marks stays, and the line says what changes figures."""

import subprocess
from pathlib import Path

import pytest

from sorajax import __version__
from sorajax.errors import BadRequest
from sorajax.evaluation import markdown
from sorajax.evaluation.benchmark_options import Benchmark
from sorajax.evaluation.markdown import (
    Measured,
    blocks,
    command_line,
    replace_tables,
    small_line,
    weights_of,
    write_pages,
)
from sorajax.evaluation.options import Tasks, World

PAGE = "a\n<!-- measured: one -->\nold\n<!-- end: one -->\nb\n<!-- measured: two -->\nkept\n<!-- end: two -->\n"


def test_only_tables_of_the_command_are_replaced():
    made = replace_tables(PAGE, {"one": "| new \\1 |\n", "three": "| none |\n"}, "line")
    assert made == PAGE.replace("old", "| new \\1 |\n\nline")
    assert replace_tables(made, {"one": "| new \\1 |\n"}, "line") == made
    assert blocks(made)["two"] == "kept\n"


def test_a_page_is_written_whole_through_a_link(tmp_path):
    page, link = tmp_path / "page.md", tmp_path / "link.md"
    page.write_text(PAGE)
    link.symlink_to(page)
    write_pages([link], {"one": "| new |\n"}, "line")
    assert link.is_symlink()
    assert "| new |" in page.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"page.md", "link.md"}


@pytest.mark.parametrize(
    ("start", "options", "line"),
    [
        ("evaluate world", World(), "evaluate world"),
        (
            "evaluate world",
            World(num=8, guidance_scale=3.0, json=Path("a.json"), markdown=(Path("README.md"),)),
            "evaluate world --num 8 --guidance-scale 3",
        ),
        ("evaluate tasks", Tasks(rows=("cut to", "edit")), "evaluate tasks --rows 'cut to' edit"),
        ("benchmark", Benchmark("configs/a.py", remat=True, repeats=5), "benchmark configs/a.py --repeats 5 --remat"),
    ],
)
def test_the_printed_command_has_every_option_that_changes_figures(start, options, line):
    assert command_line(start, options) == line


def test_the_commit_says_whether_the_code_has_changes(tmp_path, monkeypatch):
    package = tmp_path / "sorajax"
    package.mkdir()
    monkeypatch.setattr(markdown, "PACKAGE", package)
    assert markdown.commit() == f"released {__version__}"

    def git(*words: str) -> None:
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *author, *words], check=True, capture_output=True)

    (package / "code.py").write_text("x = 1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    clean = markdown.commit()
    assert clean.startswith("commit ")
    (package / "CARD.md").write_text("figures\n")
    assert markdown.commit() == clean
    (package / "code.py").write_text("x = 2\n")
    assert markdown.commit() == f"{clean}+"


def test_the_line_has_settings_commit_weights_and_hardware(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    line = small_line("python -m sorajax.evaluate world", Measured({}, {}, "seed 0", tmp_path), "commit abc")
    assert weights_of(line) == markdown.fingerprint(tmp_path)
    assert line.startswith("<sub>`python -m sorajax.evaluate world`; seed 0; commit abc; weights ")
    assert " CPU cores (" in line
    (tmp_path / "model.safetensors").rename(tmp_path / "renamed")
    with pytest.raises(BadRequest, match="has no weights"):
        markdown.fingerprint(tmp_path)
