"""Spelling: tricks are undone, other writings of a letter are one, and plain text stays as it is."""

import pytest

from sorajax.safety.spelling import cleaned, joined, normal


@pytest.mark.parametrize("text", ["a red ball bounces", "il ne gere pas", "мяч падает", "सेब गिरता है", "赤いボール"])
def test_plain_text_stays_as_it_is_between_spaces(text):
    assert normal(text) == f" {text} "
    assert normal(normal(text)) == normal(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BALL, Ball; ball!", "ball ball ball"),
        ("b4ll", "ball"),
        ("bаll", "ball"),
        ("ba\u200bll", "ball"),
        ("ｂａｌｌ", "ball"),
        ("bäll", "ball"),
        ("baaaall", "ball"),
        ("bœuf", "boeuf"),
        ("مـلـك", "ملك"),
        ("學運", "学运"),
        ("м0локо", "молоко"),
    ],
    ids=["case", "a digit", "Cyrillic", "invisible", "wide", "an accent", "repeated", "joined", "Arabic", "han", "0"],
)
def test_other_writings_of_a_word_are_one(text, expected):
    assert normal(text) == f" {expected} "


def test_a_mask_stands_for_any_vowel():
    assert {"ball", "bell", "bill"} <= set(normal("b*ll").split())
    assert normal("5*4") == " 5 4 "


def test_letters_apart_are_a_word_and_stay_letters():
    assert normal("b a l l").split() == ["b", "a", "l", "l", "ball"]
    assert normal("a b") == " a b "


def test_three_equal_letters_may_be_a_word():
    assert normal("kkk") == " kkk "
    assert normal("kkkk") == " k "


@pytest.mark.parametrize("word", ["ball", "Köln", "學運", "مـلـك", "пряник"])
def test_entries_of_the_lists_are_written_as_texts_are(word):
    assert cleaned(word) == normal(word).strip()


def test_a_devanagari_letter_is_joined_to_the_next_word():
    assert joined(" क मल ") == "| कमल "
    assert joined(" a ball ") == ""
