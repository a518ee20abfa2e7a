"""Tables of measured figures in Markdown pages, written by the command that measures them.

A page has a table between two marks, which the command replaces:

    <!-- measured: NAME -->
    | ... |

    <sub>`command`; settings; commit; weights; hardware; date</sub>
    <!-- end: NAME -->

The line in small type says what the figures hold for: weights by the first digits of their SHA-256, the commit with a
`+` where the code has changes that are not committed. Importing this file is light.
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
"""Of files that hold weights."""
NO_WEIGHTS, RANDOM_WEIGHTS = "none", "random"
OUTPUTS = ("json", "markdown")
"""Options that change no figure."""


@dataclass(frozen=True)
class Measured:
    """What a command has measured."""

    figures: Mapping[str, Any]
    """As JSON values."""
    tables: Mapping[str, str]
    """Markdown by the name of the mark."""
    settings: str = ""
    """What decides the figures, e.g. "num 128, seed 0, 30 steps"."""
    weights: Path | str = NO_WEIGHTS
    """The folder of the model, or "random" or "none"."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with a line break at its end."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def blocks(text: str) -> dict[str, str]:
    """What stands between the marks of a page, by name."""
    return {found["name"]: found["text"] for found in MARK.finditer(text)}


def weights_of(block: str) -> str | None:
    """The fingerprint in the small line of a marked table, "random" or "none"; None where there is no such line."""
    found = WEIGHTS.search(block)
    return found[1] if found else None


def check_pages(pages: Iterable[Path], names: Sequence[str]) -> None:
    """Raises BadRequest for a page that is not there, or has none of the marks, or one that does not end."""
    for page in pages:
        text = read(page)
        whole = blocks(text)
        if cut := [name for name in OPEN.findall(text) if name not in whole]:
            raise BadRequest(f"--markdown {page}: the mark {cut[0]} has no end: write <!-- end: {cut[0]} --> below it")
        if not set(names) & set(whole):
            known = " or ".join(f"<!-- measured: {name} -->" for name in names) or "no table: leave --markdown out"
            raise BadRequest(f"--markdown {page} has no mark of this command, which writes {known}")


def read(page: Path) -> str:
    """The text of a page. Raises BadRequest where it cannot be read."""
    try:
        return page.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"--markdown {page} cannot be read ({type(error).__name__}): name a Markdown file") from error


def write_pages(pages: Iterable[Path], tables: Mapping[str, str], line: str) -> None:
    """Replaces the tables of these names in each page, which appears whole or not at all."""
    for page in pages:
        text = replaced(read(page), tables, line)
        write_atomically(page.expanduser().resolve(), lambda path, text=text: path.write_text(text, encoding="utf-8"))


def replaced(text: str, tables: Mapping[str, str], line: str) -> str:
    """The text of a page with these tables, each above the line in small type."""

    def one(found: re.Match[str]) -> str:
        name = found["name"]
        if name not in tables:
            return found[0]
        return f"<!-- measured: {name} -->\n{tables[name].rstrip()}\n\n{line}\n<!-- end: {name} -->"

    return MARK.sub(one, text)


def small_line(command: str, measured: Measured, source: str) -> str:
    """The line below a table; `source` is what `commit` said when the command began."""
    weights = measured.weights if isinstance(measured.weights, str) else fingerprint(measured.weights)
    parts = [f"`{command}`", measured.settings, source, f"weights {weights}", hardware(), time.strftime("%F")]
    return f"<sub>{'; '.join(part for part in parts if part)}</sub>"


def command_line(start: str, options: Any) -> str:
    """The command with those of its options that differ from their defaults; options that change no figure are left
    out. A field without a default is an argument without a name."""
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


def sampled_with(settings: Any) -> str:
    """What decides how a model answers a prompt, of its `sampling.settings.Settings`, in words."""
    return (
        f"{settings.steps} steps, guidance {settings.guidance_scale:g}, temperature {settings.temperature:g}, "
        f"sampler {settings.sampler}"
    )


def fingerprint(folder: Path) -> str:
    """The first twelve digits of the SHA-256 of a model's files of weights. Raises BadRequest where it has none."""
    if (folder / "model" / "config.json").is_file():  # a training directory
        folder /= "model"
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    if not files:
        raise BadRequest(f"{folder} holds no weights ({', '.join(SUFFIXES)}), of which a page says the fingerprint")
    total = sha256()
    for path in files:
        with path.open("rb") as file:
            while part := file.read(2**24):
                total.update(part)
    return total.hexdigest()[:12]


def folder_of(model: str) -> Path:
    """Where the files of a model lie that was loaded by this name."""
    from sorajax.models.folder import WORLD
    from sorajax.pretrained.hub import resolve_model

    return WORLD if model == "world" else resolve_model(model)


def commit() -> str:
    """The commit that the code stands at, with a + where the code has changes; the release where there is no git."""
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
    """Cores that this process may use, the processor's model, and the accelerator where there is one."""
    import jax

    device = jax.devices()[0].device_kind
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} CPU cores ({processor()})" + ("" if device == "cpu" else f", {device}")


def processor() -> str:
    """The model of the CPU, as the system says it."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file() and (found := re.search(r"^model name\s*:\s*(.+)$", listing.read_text(), re.MULTILINE)):
        return found[1].strip()
    return platform.processor() or platform.machine()
