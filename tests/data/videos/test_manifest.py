"""Manifests as other programs write them are read; mistakes are named with file and line."""

import json

import numpy as np
import pytest

from sorajax.data.videos.listing import listing
from tests.data.videos.listed import captions


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_manifests_may_have_any_separator_long_fields_and_empty_values(tmp_path, separator):
    rows = [
        ("Path", "Caption", "Start", "End"),
        ("a.mp4", "x" * 200_000, "", ""),
        ("b.mp4", '"two, and; more"', "nan", '"2,5"'),
        ("c.mp4", "NaN", "", ""),
    ]
    (tmp_path / "list.csv").write_text("\n".join(map(separator.join, rows)))
    a, b, c = listing(tmp_path / "list.csv")
    assert len(a.caption) == 200_000
    assert b.caption == "two, and; more"
    assert (c.caption, c.start, c.end) == ("", None, None)
    assert (b.start, b.end) == (None, 2.5)


def test_nan_is_no_value_and_unicode_line_ends_stay_in_a_caption(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    table = {"path": ["a.mp4", "b.mp4"], "caption": [None, "b"], "start": [np.nan, 1.0], "end": [None, np.nan]}
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pydict(table), tmp_path / "list.parquet")
    a, b = listing(tmp_path / "list.parquet")
    assert (a.caption, a.start, a.end, b.start, b.end) == ("", None, None, 1.0, None)
    row = {"path": "a.mp4", "caption": "one\u2028two\u0085three"}
    (tmp_path / "list.jsonl").write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    assert captions(tmp_path / "list.jsonl") == {"a.mp4": "one\u2028two\u0085three"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name,caption\na.mp4,x\n", "has no column of paths: its columns are name, caption; name the column of files"),
        ("a.mp4,a red ball\nb.mp4,a blue one\n", "has no column of paths: its columns are a.mp4, a red ball; name"),
        ("path,caption\na.mp4,red, green\n", r"line 2 has 3 columns and the header 2.*quotation marks"),
        ('path,caption\na.mp4,x\nb.mp4,"open\nc.mp4,y\n', r"line 3 cannot be read .*quotation marks"),
    ],
)
def test_unreadable_text_is_named_with_file_and_line(tmp_path, content, said):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(ValueError, match=said):
        listing(tmp_path / "list.csv")
