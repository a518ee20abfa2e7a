"""The policy is one typed config; a refusal is logged without what was refused."""

import json
from dataclasses import fields

import pytest

from sorajax.errors import BadRequest, Note
from sorajax.safety.policy import FILE, LOG, Policy, read_policy, refuse


def test_every_part_is_on_by_default():
    switches = {field.name: field.default for field in fields(Policy) if isinstance(field.default, bool)}
    assert switches
    assert all(switches.values())


def test_a_file_switches_parts_off(settings):
    assert read_policy() == Policy()
    (settings / FILE).write_text("provenance = false\nthreshold = 1\n")
    assert read_policy() == Policy(provenance=False, threshold=1)


def test_another_file_can_be_named(tmp_path):
    (tmp_path / "mine.toml").write_text("frames = false\n")
    assert read_policy(tmp_path / "mine.toml") == Policy(frames=False)
    with pytest.raises(BadRequest, match="cannot be read"):
        read_policy(tmp_path / "other.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("watermarks = false", "watermarks is not a setting: use provenance"),
        ("prompts = 1", "prompts = 1 is not allowed: write e.g. true"),
        ("prompts =", "is not TOML"),
        ("threshold = 2", "threshold = 2 is not allowed"),
        ('certificate = "a.pem"', "certificate is set and key is not"),
        ('certificate = "a.pem"\nkey = "b.pem"', "a.pem does not exist"),
        ('moderator = "localhost"', "is no address"),
    ],
)
def test_a_mistake_is_one_line_with_its_file(settings, text, message):
    (settings / FILE).write_text(text)
    with pytest.raises(BadRequest, match=message) as found:
        read_policy()
    assert str(settings / FILE) in str(found.value)
    assert "\n" not in str(found.value)


def test_a_classifier_is_a_function_or_its_name():
    assert Policy(classifier=len).own_classifier() is len
    assert Policy(classifier="json:dumps").own_classifier() is json.dumps
    assert Policy().own_classifier() is None
    with pytest.raises(BadRequest, match="write MODULE:FUNCTION"):
        Policy(classifier="json:nothing").own_classifier()


def test_a_refusal_is_logged_without_words(settings):
    error = refuse(Policy(), "the prompt", "hate", "describe something else")
    assert (str(error), error.category) == ("the prompt is refused (hate): describe something else", "hate")
    (line,) = map(json.loads, (settings / LOG).read_text().splitlines())
    assert line.keys() == {"time", "refused", "category"}
    assert (line["refused"], line["category"]) == ("the prompt", "hate")


def test_a_log_that_cannot_be_written_does_not_hide_the_refusal(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(Note, match="the refusal is not logged"):
        error = refuse(Policy(refusals=str(tmp_path / "file" / "log")), "the prompt", "hate", "")
    assert error.category == "hate"
