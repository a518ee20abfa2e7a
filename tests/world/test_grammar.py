"""The grammar read back: any caption states nothing wrong, and a detailed one states everything."""

import numpy as np
import pytest

from sorajax.world.captions import captions
from sorajax.world.grammar import completed, facts, stated
from sorajax.world.scenes import WorldMix, attributes, sample_scenes

MIX = WorldMix(two_objects=0.5, wall=0.3, two_shots=0.3, camera=0.5, style=0.5)


@pytest.fixture(scope="module")
def scenes():
    return sample_scenes(np.random.default_rng(0), 300, "all", MIX)


@pytest.mark.parametrize("register", ["short", "detailed", "canonical"])
def test_a_caption_states_nothing_that_its_clip_does_not_show(scenes, register):
    texts = captions(scenes, np.random.default_rng(1), register)
    for text, words in zip(texts, attributes(scenes), strict=True):
        said = stated(text)
        assert said is not None, text
        assert facts(said).items() <= facts(words).items(), text


@pytest.mark.parametrize("register", ["detailed", "canonical"])
def test_a_detailed_caption_means_every_attribute(scenes, register):
    texts = captions(scenes, np.random.default_rng(2), register)
    for text, words in zip(texts, attributes(scenes), strict=True):
        assert facts(completed(stated(text))) == facts(words), text


@pytest.mark.parametrize(
    "text", ["a dog runs", "red", "", "a red spaceship", "a red ball, a blue box and a white ring"]
)
def test_other_texts_are_outside_the_grammar(text):
    assert stated(text) is None


def test_what_is_not_said_stays_open():
    assert facts(stated("Crimson sphere hopping")) == {
        (0, 0, "colour"): "red",
        (0, 0, "shape"): "ball",
        (0, 0, "motion"): "bounces",
    }
