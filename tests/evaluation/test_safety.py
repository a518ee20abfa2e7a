"""The measurement counts what the filter finds, and a list that is none is one line."""

import pytest

from sorajax.errors import BadRequest
from sorajax.evaluation.options import Safety
from sorajax.evaluation.safety import measure, read_lines

LIST = "# a comment\nen\thate\tnazi propaganda\nen\thate\ta red ball\nen\tok\ta blue ball\nde\tok\tein Kinderporno\n"


def test_errors_are_counted_by_language_and_category(tmp_path):
    (tmp_path / "list.tsv").write_text(LIST)
    found = measure(Safety(part=("filters",), num=20, list=(tmp_path / "list.tsv",))).figures
    assert found["languages"]["list"] == {
        "en": {"recall": (1, 2), "alarms": (0, 1)},
        "de": {"recall": (0, 0), "alarms": (1, 1)},
    }
    assert found["categories"]["list"]["hate"] == {"recall": (1, 2), "alarms": (0, 2)}
    assert found["categories"]["list"]["minors"] == {"recall": (0, 0), "alarms": (1, 2)}
    assert found["world"] == [0, 20]


def test_each_list_has_columns_and_at_its_first_run_tables(tmp_path):
    (tmp_path / "list.tsv").write_text(LIST)
    (tmp_path / "its_own.tsv").write_text("fr\tok\tun ballon rouge\n")
    options = Safety(part=("unseen",), list=(tmp_path / "list.tsv", tmp_path / "its_own.tsv"))
    found = measure(options)
    assert tuple(found.tables) == options.tables
    text = found.tables["safety-unseen-languages"]
    assert "| language | list: recall | list: false alarms | its_own: recall | its_own: false alarms |" in text
    assert "| fr | 0.0% (0 of 0) | 0.0% (0 of 0) | 0.0% (0 of 0) | 0.0% (0 of 1) |" in text


def test_a_file_that_is_no_list_is_named(tmp_path):
    with pytest.raises(BadRequest, match="cannot be read"):
        read_lines(tmp_path / "gone.tsv")
    (tmp_path / "list.tsv").write_text("en hate nazi propaganda\n")
    with pytest.raises(BadRequest, match="1 columns or another category"):
        read_lines(tmp_path / "list.tsv")
