"""Figures of the proof. A part's process sends each to the parent process as one line of JSON."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sorajax.evaluation.proof.sizes import Sizes


@dataclass(frozen=True)
class Figure:
    """One measured value. With `check`, a missed bar is an error; other bars are targets that are reported."""

    name: str
    value: float | None
    """None if it could not be measured; the note has the reason."""
    unit: str = ""
    bar: float | None = None
    most: bool = False
    """The bar is an upper bound; else a lower one."""
    check: bool = False
    note: str = ""
    detail: bool = False
    """Printed when it is measured, and left out of the table."""

    @property
    def met(self) -> bool | None:
        """Whether the value meets its bar; None without a bar. A check without a value, or with NaN, fails."""
        if self.value is None or self.bar is None:
            return False if self.check else None
        return self.value <= self.bar if self.most else self.value >= self.bar

    @property
    def failed(self) -> bool:
        return self.check and not self.met

    def to_json(self) -> dict[str, Any]:
        """JSON values; a value that is not finite, which JSON cannot store, becomes None and is named in the note."""
        found = asdict(self) | {"met": self.met}
        if self.value is not None and not math.isfinite(self.value):
            found |= {"value": None, "note": f"{self.value}; {self.note}".rstrip("; ")}
        return found


def figure_of(found: Mapping[str, Any]) -> Figure:
    """The figure in JSON values."""
    return Figure(**{name: value for name, value in found.items() if name != "met"})


def tolerance(name: str, error: float, most: float, note: str = "") -> Figure:
    """A numeric check: a relative RMS error and the largest that is allowed."""
    return Figure(name, error, "", most, most=True, check=True, note=note)


@dataclass(frozen=True)
class Setting:
    """Settings of a part."""

    sizes: Sizes
    seconds: float
    """Its time limit."""
    profile: Path | None = None
    """The folder for its traces."""


Piece = Callable[[], Iterator[Figure]]
"""One measurement of a part; if it fails, the next ones still run."""


def run_pieces(pieces: Mapping[str, Piece], lines: Path) -> None:
    """Runs a part's pieces and appends each figure to a file of JSON lines as soon as it exists."""
    with lines.open("a") as file:

        def write(figure: Figure) -> None:
            file.write(json.dumps(figure.to_json()) + "\n")
            file.flush()

        for name, piece in pieces.items():
            try:
                for figure in piece():
                    write(figure)
            except Exception as error:  # whatever a device or a library raises, the other pieces are measured
                write(Figure(name, None, check=True, note=one_line(error)))


def one_line(error: Exception) -> str:
    """An error's type and first words."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__
