"""A chat model lengthens prompts: each family has its words, pictures are shown, and what a prompt says is not lost."""

import json

import pytest

from sorajax.language.endpoint import BadAnswer
from sorajax.language.remote_expander import FAMILIES, SHOWN, RemoteExpander, lost
from tests.language.chat_server import completion


def prompted(text):
    return completion(json.dumps({"prompt": text}))


def test_a_prompt_becomes_longer_and_the_same_one_with_its_seed(endpoint, chat):
    chat.replies = [prompted("A large red ball\nbounces."), prompted("A small red ball bounces.")]
    expand = RemoteExpander(endpoint, "world")
    assert [expand("red ball"), expand("red ball", 1), expand("red ball")] == [
        "A large red ball bounces.",
        "A small red ball bounces.",
        "A large red ball bounces.",
    ]
    assert len(chat.bodies) == 2
    assert chat.bodies[0]["messages"][1]["content"][-1]["text"].endswith("\nred ball")


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_its_own_system_prompt(family, endpoint, chat):
    chat.usual = lambda body: prompted("a red ball")
    RemoteExpander(endpoint, family)("red ball")
    system = chat.bodies[0]["messages"][0]["content"]
    assert [text for text in FAMILIES.values() if text in system] == [FAMILIES[family]]
    assert ("triangle" in system) == (family == "world")


@pytest.mark.parametrize("shown", SHOWN)
def test_pictures_are_shown(shown, endpoint, chat, clip):
    chat.usual = lambda body: prompted("a red ball")
    RemoteExpander(endpoint, "wan", shown, () if shown == "text" else (clip,))("red ball")
    system, user = chat.bodies[0]["messages"]
    assert SHOWN[shown] in system["content"]
    pictures = [part for part in user["content"] if part["type"] == "image_url"]
    assert len(pictures) == (0 if shown == "text" else 4)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("I'm sorry, but I can't help with that.", "the model refuses"),
        ("A red ball. Cut to: a blue ball.", "the prompt has 0 cuts and the answer 1"),
        ("word " * 61, "'prompt' has 61 words, at most 60 were allowed"),
    ],
)
def test_refusals_and_bad_answers_are_errors_of_this_prompt(answer, problem, endpoint, chat):
    chat.usual = lambda body: prompted(answer)
    with pytest.raises(BadAnswer, match=problem):
        RemoteExpander(endpoint, "world")("red ball")


def test_words_in_quotation_marks_and_cuts_stay():
    assert lost('a sign "Open 24 h"', 'A red sign with the words "Open 24 h" at night.') == ""
    assert lost("a sign “Offen”", "A red sign.") == "the answer lost the words 'Offen'"
    assert lost("a ball. Cut to: a box", "A red ball. Cut to: a box on black.") == ""
    assert lost("a ball. Cut to: a box", "A red ball and a box.") == "the prompt has 1 cuts and the answer 0"
