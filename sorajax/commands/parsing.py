"""Parses command lines into options; a mistake is reported on one line.

tyro explains a mistake in a box of several lines. Here the line names what was typed, what is allowed or the nearest
option, and the command whose help lists the rest.
"""

import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from difflib import get_close_matches
from typing import Any

import tyro

from sorajax.errors import BadRequest

WIDE = "10000"
"""Columns of the terminal for tyro's text that is read here, so that nothing is wrapped."""
ANSI = re.compile(r"\x1b\[[0-9;]*m")
FRAME, RULE = "│|╭╮╰╯+ ", frozenset("─-")
"""The characters of tyro's boxes, and those of the line between two sections."""
OWN = re.compile(r"Error parsing [^:]*: (?!no type matching )(.*)")
"""The message of a config's own check."""
CHOICE = re.compile(r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)\.")
TYPED = r"Error parsing (\S+): no type matching (?:\{None\}\|)?%s could be instantiated from \['(.*?)'\]\..*"
WORDINGS = (
    (TYPED % "INT", r"\1 \2 is not a whole number"),
    (TYPED % "FLOAT", r"\1 \2 is not a number"),
    (TYPED % "(?:.*)", r"\1 \2 is not allowed"),
    (r"Error parsing (\S+): invalid literal for int\(\) with base 10: '(.*)'", r"\1 \2 is not a whole number"),
    (r"Error parsing (\S+): could not convert string to float: '(.*)'", r"\1 \2 is not a number"),
    (r"Missing value for argument '(-.*)'\. Expected 1 values\.", r"\1 has no value"),
    (r"Missing value for argument '(-.*)'\. Expected (\d+) values\.", r"\1 needs \2 values"),
    (r"Missing value for argument '(.*)'\. Expected .*", r"\1 is missing"),
    (r"Expected one of \{(.*)\}\.", r"a subcommand is missing: use \1"),
)
"""tyro's messages, and ours for them."""


def parse_options(
    kind: Any,
    prog: str,
    arguments: Sequence[str] | None,
    description: str | None = None,
    config: Sequence[Any] = (),
    default: Any = tyro.MISSING_NONPROP,
) -> Any:
    """An instance of `kind`, a dataclass or a union of them, from the words of a command line (None: the process's
    own). Raises BadRequest on one line; SystemExit with code 0 after help was printed."""
    words = sys.argv[1:] if arguments is None else list(arguments)

    def cli(words: Sequence[str], description: str | None = None) -> Any:
        return tyro.cli(kind, prog=prog, description=description, args=words, config=config, default=default)

    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            options = cli(words, description)
    except SystemExit as exit:
        if not exit.code:
            raise
        raise mistake(cli, prog, words) from None
    print(printed.getvalue(), end="", file=sys.stderr)
    return options


def mistake(cli: Any, prog: str, words: Sequence[str]) -> BadRequest:
    """The error for words that tyro did not accept."""
    said = sections(printed_by(cli, words))
    subcommand = words[:1] if words and not words[0].startswith("-") else []  # it has options of its own
    help_text = printed_by(cli, [*subcommand, "--help"])
    known, usage = options_in(help_text), re.match(r"usage: (.*?) \[", help_text)
    remedy = f"see `{usage[1] if usage else prog} --help`"
    named = [word.partition("=")[0].replace("_", "-") for word in words if re.match(r"--\w", word)]
    if known and (unknown := [name for name in named if name not in known]):
        longer = sorted(name for name in known if name.startswith(unknown[0]))
        near = [*longer, *get_close_matches(unknown[0], sorted(known), n=1)]
        return BadRequest(f"{unknown[0]} is not an option: {f'did you mean {near[0]}? ' if near else ''}{remedy}")
    text = " ".join(said[0]) if said else "the command line is wrong"
    if not reworded(text) and (own := OWN.fullmatch(text)):
        return BadRequest(own[1])
    return BadRequest(f"{message(text, said)}; {remedy}")


def message(text: str, said: Sequence[Sequence[str]]) -> str:
    """What tyro said, in our words. text: the first of its sections `said`."""
    if found := re.fullmatch(r"Unrecognized options: (.*)", text):
        word, lines = found[1].split(", ")[0], [line for lines in said for line in lines]
        names = next((line for line in lines if line.startswith("Available subcommands: ")), "").partition(": ")[2]
        return f"{word} is unknown: use {names}" if names else f"{word} is not expected here"
    if text.startswith("Missing from "):  # below it, each name and its help in turns
        explained = [line.removesuffix(" (required)").rstrip(".") for line in said[0][2::2]]
        named = zip(said[0][1::2], explained, strict=False)
        return "missing: " + ", ".join(name if name.startswith("-") else f'"{help}"' for name, help in named)
    return reworded(text) or text


def reworded(text: str) -> str:
    """tyro's message in our words; empty where there are none for it."""
    if found := CHOICE.fullmatch(text):
        allowed = sorted(set(re.findall(r"'([^']*)'", found[3])) - {"None"})
        return f"{found[2]} {found[1]} is not allowed: use {', '.join(allowed)}"
    return next((found.expand(words) for pattern, words in WORDINGS if (found := re.fullmatch(pattern, text))), "")


def printed_by(cli: Any, words: Sequence[str]) -> str:
    """What tyro prints before it exits, without line wrapping."""
    printed = io.StringIO()
    try:
        with wide(), redirect_stdout(printed), redirect_stderr(printed):
            cli(words)
    except SystemExit:
        pass
    return ANSI.sub("", printed.getvalue())


@contextmanager
def wide() -> Iterator[None]:
    """A terminal of many columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDE
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def sections(box: str) -> list[list[str]]:
    """The lines of each section of a box, without its title."""
    found: list[list[str]] = [[]]
    for line in box.splitlines()[1:-1]:
        text = line.strip(FRAME)
        if set(text) <= RULE:
            found.append([])
        else:
            found[-1].append(text)
    return [lines for lines in found if lines]


def options_in(help_text: str) -> set[str]:
    """The options that a help text names."""
    return {name.rstrip(".-") for name in re.findall(r"(?<!\S)--\w[\w.-]*", help_text)}
