"""Precision and recall of captions: right ones have 1, and the order of two objects does not count."""

import numpy as np
import pytest

from sorajax.evaluation.captions import counted, sampled, summary, swapped
from sorajax.media.video import Video
from sorajax.world.captions import captions, describe
from sorajax.world.draw import render
from sorajax.world.grammar import facts
from sorajax.world.scenes import WorldMix, attributes, sample_scenes

SCENES = sample_scenes(np.random.default_rng(0), 60, "all", WorldMix(two_objects=0.5, collides=0.3))
TRUTHS = [facts(words) for words in attributes(SCENES)]


@pytest.mark.parametrize("register", ["short", "detailed", "canonical"])
def test_captions_of_the_grammar_are_entirely_right(register):
    counts = summary(register, captions(SCENES, np.random.default_rng(1), register), TRUTHS)
    assert counts["right"] == counts["stated"]
    assert counts["whole"] == counts["captions"] == 60
    assert register == "short" or counts["right"] == counts["true"]


def test_the_order_of_two_objects_does_not_count():
    counts = summary("canonical", list(map(describe, attributes(SCENES))), [swapped(truth) for truth in TRUTHS])
    assert counts["whole"] == 60


def test_a_wrong_word_lowers_precision_and_recall_by_one():
    text, truth = "a small red ball falls on a grey floor", "a small blue ball falls on a grey floor"
    from sorajax.world.prompts import attributes_of

    counts = summary("canonical", [text], [facts(attributes_of(truth))])
    assert counts["stated"] - counts["right"] == counts["true"] - counts["right"] == 1
    assert counts["whole"] == 0
    assert counts["wrong"] == {"colour": 1}


def test_no_words_are_no_right_caption():
    counts = summary("short", ["a dog"], TRUTHS[:1])
    assert counts["right"] == counts["stated"] == counts["whole"] == 0


def test_a_reading_is_whole_where_nothing_is_wrong_or_missing():
    truth = TRUTHS[0]
    other = {**truth, ("style",): "another"}
    fewer = {name: value for name, value in truth.items() if name != ("style",)}
    counts = counted([truth, other, fewer], [truth] * 3)
    assert counts["whole"] == 1
    assert counts["stated"] - counts["right"] == 1
    assert counts["true"] - counts["right"] == 2
    assert counts["wrong"] == {"style": 2}


def test_clips_of_prompts_and_of_expansions_are_judged_by_what_was_typed():
    scene = sample_scenes(np.random.default_rng([0, 36]), 4, "train")
    clips = np.round((np.asarray(render(scene, 17, 64, 64)[0]) + 1) * 127.5).astype(np.uint8)

    def pipeline(prompt, seed):
        number = 3 - seed if prompt.endswith("!") else seed
        return [Video(clips[number], 8.0)]

    found = sampled(pipeline, lambda prompt, seed: f"{prompt}!", 4, 0)
    assert found["as typed"]["whole"] == found["as typed"]["captions"] == 4
    assert found["as typed"]["right"] == found["as typed"]["stated"] == found["expanded"]["stated"]
    assert found["expanded"]["whole"] < 4
