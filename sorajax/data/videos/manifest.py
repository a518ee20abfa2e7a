"""Manifests, the lists of videos that other programs write: .csv (commas, semicolons or tabs) with a header, .jsonl or
.parquet.

The columns are path, caption and optionally, for a part of a video, start and end in seconds, or the aliases in `NAMES`
(upper or lower case); short and detailed are captions that a captioner wrote. Paths are relative to the manifest.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from sorajax.data.videos.entry import Entry
from sorajax.data.videos.plaintext import decode_text

MANIFESTS = (".csv", ".tsv", ".jsonl", ".parquet")
NAMES = {
    "path": ("path", "file_name", "filename", "file", "video", "video_path", "file_path", "filepath"),
    "caption": ("caption", "text", "prompt", "description", "captions"),
    "start": ("start",),
    "end": ("end",),
    "short": ("short", "short_caption"),
    "detailed": ("detailed", "detailed_caption"),
}
"""Aliases of the columns."""
SEPARATORS = ",;\t|"
NOTHING = ("", "nan", "none", "null", "<na>")
"""Values that programs write for a missing value."""
MAX_FIELD = 2**31 - 1
"""Longest field of a .csv in characters."""


def read_manifest(path: Path) -> Iterator[Entry]:
    """The entries of a manifest, in its order. Raises ValueError, naming file and line, for rows that cannot be
    read."""
    for place, row in _rows(path):
        if (name := field(row, "path")) is None:
            raise ValueError(_without_path(path, place, row))
        start, end = (_seconds(row, which, f"{path}, {place}") for which in ("start", "end"))
        if (start or 0.0) < 0 or (end is not None and end <= (start or 0.0)):
            raise ValueError(f"{path}, {place}: start {start} and end {end} (seconds) are no interval")
        written = {name: str(field(row, name) or "").strip() for name in ("short", "detailed")}
        yield Entry(str(path.parent / Path(str(name)).expanduser()), caption_in(row), start, end, **written)


def has_paths(path: Path) -> bool:
    """Whether a manifest has a column of paths, or no rows at all."""
    return all(any(field({key: "x"}, "path") for key in row) for _, row in islice(_rows(path), 1))


def field(row: dict[str, Any], name: str) -> Any:
    """The value of a field under the first of its aliases that has one in this row; None where none has."""
    row = {str(key).strip().lower().replace(" ", "_").replace("-", "_"): value for key, value in row.items()}
    return next((row[key] for key in NAMES[name] if not _missing(row.get(key))), None)


def caption_in(row: Any) -> str:
    """The caption in a row or a JSON value, the first one of a list; empty where there is none."""
    if isinstance(row, dict):
        row = field(row, "caption")
    if isinstance(row, list | tuple):
        row = next((value for value in row if not _missing(value)), None)
    return "" if _missing(row) else str(row).strip()


def _missing(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip().lower() in NOTHING)


def _seconds(row: dict[str, Any], which: str, where: str) -> float | None:
    if (value := field(row, which)) is None:
        return None
    try:
        return float(str(value).replace(",", "."))  # a decimal comma comes with semicolons
    except ValueError as error:
        raise ValueError(f"{where}: {which} {value!r} is not a number of seconds") from error


def _without_path(path: Path, place: str, row: dict[str, Any]) -> str:
    columns = [str(key) for key in row]
    if any(field({key: "x"}, "path") for key in columns):
        return f"{path}, {place}: no path; the columns are path, caption, start, end"
    return (
        f"{path} has no column of paths: its columns are {', '.join(columns)[:200]}; name the column of files 'path' "
        "and that of captions 'caption'"
    )


def _rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    """(name of its place, for messages; row) of each row."""
    if path.suffix.lower() in (".csv", ".tsv"):
        yield from _csv_rows(path)
    elif path.suffix.lower() == ".parquet":
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ValueError(f'{path}: reading Parquet needs pyarrow: pip install "sorajax[data]"') from error
        try:
            table = pyarrow.parquet.read_table(path).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{path} is no Parquet file ({' '.join(str(error).split())}): write it again") from error
        yield from ((f"entry {number}", row) for number, row in enumerate(table, 1))
    else:
        for number, line in enumerate(decode_text(path.read_bytes()).split("\n"), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}, line {number} is no JSON: {error}") from error
                yield f"line {number}", row if isinstance(row, dict) else {"path": row}


def _csv_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    text = decode_text(path.read_bytes()).replace("\0", "")
    before, line = csv.field_size_limit(MAX_FIELD), 1
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
        columns = next(rows, [])
        while (line := rows.line_num + 1) and (row := next(rows, None)) is not None:
            if not any(value.strip() for value in row):
                continue
            if any(value.strip() for value in row[len(columns) :]):
                raise ValueError(
                    f"{path}, line {line} has {len(row)} columns and the header {len(columns)}: put "
                    "captions that contain the separator into quotation marks"
                )
            yield f"line {line}", dict(zip(columns, row))
    except csv.Error as error:
        raise ValueError(f"{path}, line {line} cannot be read ({error}): check its quotation marks") from error
    finally:
        csv.field_size_limit(before)


def _separator(text: str) -> str:
    """The separator of columns: one with which the header has a column of paths, else the one with most columns."""

    def columns(separator: str) -> list[str]:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])

    fitting = [separator for separator in SEPARATORS if any(field({name: "x"}, "path") for name in columns(separator))]
    return max(fitting or SEPARATORS, key=lambda separator: len(columns(separator)))
