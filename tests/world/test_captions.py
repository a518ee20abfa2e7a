"""Captions state what is visible, in words that a tokenizer can be trained on; writing them needs nothing held out."""

import numpy as np
import pytest

from sorajax.world.captions import CAMERA, STYLE, VERBS, WORDS, captions, corpus, describe
from sorajax.world.scenes import (
    BACKGROUNDS,
    CAMERAS,
    COLOURS,
    CORE,
    MOTIONS,
    PACES,
    RELATIONS,
    SHAPES,
    SIZES,
    STYLES,
    attributes,
    sample_scenes,
)

SYNONYMS = {**WORDS, **{name: tuple(form for pair in pairs for form in pair) for name, pairs in VERBS.items()}}


def says(text: str, name: str) -> bool:
    return any(synonym in text.lower() for synonym in SYNONYMS[name])


def test_every_word_of_the_world_has_a_canonical_form():
    assert all(WORDS[name][0] == name for name in COLOURS + SHAPES + SIZES + BACKGROUNDS)
    assert all(VERBS[name][0][0] == name for name in MOTIONS)
    assert set(CAMERA) == set(CAMERAS)
    assert set(STYLE) == set(STYLES)
    assert set(RELATIONS[1:]) | {PACES[0], PACES[2]} <= set(WORDS)


def test_detailed_captions_say_every_attribute():
    scene = sample_scenes(np.random.default_rng(0), 200, mix=CORE)
    for words, text in zip(attributes(scene), captions(scene, np.random.default_rng(1), "detailed"), strict=True):
        shot = words["shots"][0]
        thing = shot["objects"][0]
        assert all(says(text, thing[slot]) for slot in ("colour", "shape", "size", "motion")), text
        assert says(text, shot["background"]), text
        assert thing["pace"] == "normally" or says(text, thing["pace"]), text


def test_short_captions_omit_attributes_but_never_the_shape():
    scene = sample_scenes(np.random.default_rng(0), 400, mix=CORE)
    texts = captions(scene, np.random.default_rng(1), "short")
    things = [words["shots"][0]["objects"][0] for words in attributes(scene)]
    assert all(says(text, thing["shape"]) for text, thing in zip(texts, things, strict=True))
    sized = np.mean([says(text, thing["size"]) for text, thing in zip(texts, things, strict=True)])
    assert 0.4 < sized < 0.6


def test_a_caption_of_an_image_states_no_motion():
    scene = sample_scenes(np.random.default_rng(0), 300, mix=CORE)
    for words, text in zip(attributes(scene), captions(scene, np.random.default_rng(1), motion=0.0), strict=True):
        assert not says(text, words["shots"][0]["objects"][0]["motion"]), text


def test_canonical_words_are_more_common_than_their_synonyms():
    texts = " ".join(corpus(np.random.default_rng(0), 3000)).lower()
    for name in ("red", "box", "large"):
        assert texts.count(name) > sum(texts.count(synonym) for synonym in WORDS[name][1:] if name not in synonym)


def test_the_demo_prompt_uses_the_worlds_words():
    scene = sample_scenes(np.random.default_rng(0), 3000, mix=CORE)
    demo = [
        text
        for text, words in zip(captions(scene, np.random.default_rng(1)), attributes(scene), strict=True)
        if text.startswith("a ") and f" on a {words['shots'][0]['background']} floor" in text
    ]
    assert len(demo) > 150


def test_description_is_unique_to_the_attributes():
    words = attributes(sample_scenes(np.random.default_rng(0), 600))
    described = {}
    for clip in words:
        assert described.setdefault(describe(clip), clip) == clip


def test_unknown_register_is_named():
    with pytest.raises(ValueError, match=r"'long'.*choose from short, detailed, mixed, canonical"):
        captions(sample_scenes(np.random.default_rng(0), 1), np.random.default_rng(0), "long")
