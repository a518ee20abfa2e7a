"""Word lists: each file is read for its script alone, and an entry is found wherever its kind allows."""

import pytest

from sorajax.safety.spelling import normal
from sorajax.safety.words import (
    SCRIPTS,
    Index,
    add,
    beginnings,
    indices,
    matches,
    places_in,
    scripts_of,
    without_ignored,
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_file_has_entries_of_its_script_only(script):
    """So that no entry is missed where the file is not read."""
    for index in indices(script):
        for heads in index:
            for entry in (entry for own in heads.values() for entry in own):
                texts = [part.plain or part.expression for part in (entry.first, *entry.others)]
                found = [name for name in SCRIPTS if SCRIPTS[name].search("".join(texts))]
                assert script in found
                assert script != "latin" or found == ["latin"]


@pytest.mark.parametrize(
    ("entry", "found", "others"),
    [
        ("cat", ["a cat sits"], ["a cats cradle", "concat"]),
        ("cat*", ["a cat sits", "two cats"], ["concat"]),
        ("*cat*", ["a cat sits", "two cats", "concat"], ["a dog"]),
        ("(cat|dog) food", ["cat food", "dog food"], ["cow food", "cat fur"]),
        ("ca[tp]", ["a cat", "a cap"], ["a car", "cats"]),
    ],
)
def test_an_entry_is_a_word_a_beginning_a_part_or_an_expression(entry, found, others):
    index = Index({}, {}, {})
    add(index, "pets", "en", entry)

    def is_in(text):
        text = f" {text} "
        words, parts = matches(index.words, text, beginnings(text)), matches(index.inside, text, range(len(text)))
        return any([*words, *parts])

    assert [text for text in (*found, *others) if is_in(text)] == found


def test_letters_choose_the_files_that_are_read():
    assert scripts_of("a ball") == ["latin"]
    assert scripts_of("мяч 3") == ["latin", "cyrillic"]
    assert scripts_of("!?") == []


def test_an_arabic_word_begins_after_its_article_too():
    assert beginnings(" ball box ") == [1, 6]
    assert {1, 3} <= set(beginnings(" الكرة "))


def test_a_harmless_use_is_taken_out_before_lists_are_searched():
    index = indices("latin")[0].words
    entry = next(own for head in index.values() for own in head if own.first.plain.count(" ") > 1)
    phrase = entry.first.plain.strip()
    text = f" before {phrase} after "
    assert phrase not in without_ignored(text, is_spaced=True)
    assert "before" in without_ignored(text, is_spaced=True)
    assert without_ignored(" a red ball ", is_spaced=True) == " a red ball "


def test_a_list_is_named_for_texts_that_have_its_words():
    spaced = normal("nazi propaganda")
    assert places_in(spaced, spaced.replace(" ", ""))
    assert not places_in(" a red ball ", "aredball")
