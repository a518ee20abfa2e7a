"""Tables of measured figures in Markdown pages, written by the command that measures them.

A page has a table between two marks, which the command replaces:

    <!-- measured: NAME -->
    | ... |

    <sub>`command`; settings; commit; weights; hardware; date</sub>
    <!-- end: NAME -->

The line in small type states the conditions of the figures: weights by the first digits of their SHA-256, the commit
with a `+` if the code has uncommitted changes. Importing this file does not import jax.
"""

import os
import platform
import re
import shlex
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from sorajax import __version__
from sorajax.errors import BadRequest
from sorajax.files import write_atomically

PACKAGE = Path(__file__).parents[1]
MARK = re.compile(r"<!-- measured: (?P<name>[\w-]+) -->\n(?P<text>.*?)<!-- end: (?P=name) -->", re.DOTALL)
OPEN = re.compile(r"<!-- measured: ([\w-]+) -->")
WEIGHTS = re.compile(r"^<sub>`python -m [^`]+`; .*; weights ([0-9a-f]{12}|random|none); .*</sub>$", re.MULTILINE)
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
"""Suffixes of files of weights."""
NO_WEIGHTS, RANDOM_WEIGHTS = "none", "random"
OUTPUTS = ("json", "markdown", "together")
"""Options that do not affect figures."""


@dataclass(frozen=True)
class Measured:
    """The result of a measuring command."""

    figures: Mapping[str, Any]
    """JSON values."""
    tables: Mapping[str, str]
    """Markdown tables by the name of their mark."""
    settings: str = ""
    """Settings that determine the figures, e.g. "num 128, seed 0, 30 steps"."""
    weights: Path | str = NO_WEIGHTS
    """The folder of the model, or "random" or "none"."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with a line break at its end."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def blocks(text: str) -> dict[str, str]:
    """The text between the marks of a page, by name."""
    return {found["name"]: found["text"] for found in MARK.finditer(text)}


def weights_of(block: str) -> str | None:
    """The fingerprint of weights in the small line of a marked table, "random" or "none"; None without such a line."""
    found = WEIGHTS.search(block)
    return found[1] if found else None


def check_pages(pages: Iterable[Path], names: Sequence[str]) -> None:
    """Raises BadRequest for a page that cannot be read, has none of the marks, or has a mark without an end."""
    for page in pages:
        text = read(page)
        whole = blocks(text)
        if cut := [name for name in OPEN.findall(text) if name not in whole]:
            raise BadRequest(f"--markdown {page}: the mark {cut[0]} has no end: write <!-- end: {cut[0]} --> below it")
        if not set(names) & set(whole):
            known = " or ".join(f"<!-- measured: {name} -->" for name in names) or "no table: leave --markdown out"
            raise BadRequest(f"--markdown {page} has no mark of this command, which writes {known}")


def read(page: Path) -> str:
    """The text of a page. Raises BadRequest if it cannot be read."""
    try:
        return page.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"--markdown {page} cannot be read ({type(error).__name__}): give a Markdown file") from error


def write_pages(pages: Iterable[Path], tables: Mapping[str, str], line: str) -> None:
    """Replaces the tables of these names in each page. A page is written completely or not at all."""
    for page in pages:
        text = replace_tables(read(page), tables, line)
        write_atomically(page.expanduser().resolve(), lambda path, text=text: path.write_text(text, encoding="utf-8"))


def replace_tables(text: str, tables: Mapping[str, str], line: str) -> str:
    """The text of a page with these tables, each followed by the line in small type."""

    def one(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in tables:
            return found[0]
        return f"<!-- measured: {name} -->\n{tables[name].rstrip()}\n\n{line}\n<!-- end: {name} -->"

    return MARK.sub(one, text)


def small_line(command: str, measured: Measured, source: str) -> str:
    """The line below a table; `source` is the result of `commit` when the command began."""
    weights = measured.weights if isinstance(measured.weights, str) else fingerprint(measured.weights)
    parts = [f"`{command}`", measured.settings, source, f"weights {weights}", hardware(), time.strftime("%F")]
    return f"<sub>{'; '.join(part for part in parts if part)}</sub>"


def command_line(start: str, options: Any) -> str:
    """The command with its options that differ from their defaults, without those that do not affect figures. A field
    without a default is a positional argument."""
    words = [start]
    for field in fields(options):
        value = getattr(options, field.name)
        default = field.default
        if field.name in OUTPUTS or value == default:
            continue
        name = f"--{field.name.replace('_', '-')}"
        values = value if isinstance(value, tuple) else (value,)
        named = [] if default is MISSING else [name]
        texts = (f"{one:g}" if isinstance(one, float) else str(one) for one in values)
        words += named if value is True else [*named, *map(shlex.quote, texts)]
    return " ".join(words)


def sampling_text(settings: Any) -> str:
    """The sampler's settings, of a `sampling.settings.Settings`, in words."""
    low, high = settings.guidance_interval
    interval = "" if (low, high) == (0, 1) else f" at times {low:g} to {high:g}"
    return (
        f"{settings.steps} steps, guidance {settings.requested_scale:g}{interval}, "
        f"temperature {settings.temperature:g}, "
        f"sampler {settings.sampler}"
    )


def fingerprint(folder: Path) -> str:
    """The first twelve digits of the SHA-256 of a model's files of weights. Raises BadRequest if it has none."""
    if (folder / "model" / "config.json").is_file():  # a training directory
        folder /= "model"
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    if not files:
        raise BadRequest(f"{folder} has no weights ({', '.join(SUFFIXES)}) for the page's fingerprint: give a model")
    total = sha256()
    for path in files:
        with path.open("rb") as file:
            while part := file.read(2**24):
                total.update(part)
    return total.hexdigest()[:12]


def folder_of(model: str) -> Path:
    """The folder of the model that `load` opens by this name."""
    from sorajax.models.folder import BUNDLED
    from sorajax.pretrained.hub import resolve_model

    return BUNDLED.get(model) or resolve_model(model)


def commit() -> str:
    """The code's commit, with a + if there are uncommitted changes; without git the release."""
    folder = str(PACKAGE.parent)
    code = ["sorajax", "configs", ":(exclude)*.md"]  # pages change with each table that is written
    try:
        if Path(git(folder, "rev-parse", "--show-toplevel")).resolve() != PACKAGE.parent.resolve():
            return f"released {__version__}"
        changed = git(folder, "status", "--porcelain", "--", *code)
        return f"commit {git(folder, 'rev-parse', '--short=7', 'HEAD')}{'+' if changed else ''}"
    except (OSError, subprocess.CalledProcessError):
        return f"released {__version__}"


def git(folder: str, *arguments: str) -> str:
    run = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def hardware() -> str:
    """Cores that this process may use, the processor's model, and the accelerator if there is one."""
    import jax

    device = jax.devices()[0].device_kind
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU cores ({processor()})" + ("" if device == "cpu" else f", {device}")


def processor() -> str:
    """The CPU's model, as the system reports it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file() and (found := re.search(r"^model name\s*:\s*(.+)$", listing.read_text(), re.MULTILINE)):
        return found[1].strip()
    return platform.processor() or platform.machine()
