"""Two readers are compared clip by clip, and by words that each finds without the other."""

import numpy as np
import pytest

from sorajax.evaluation import readers
from sorajax.evaluation.options import Readers
from sorajax.evaluation.readers import Pair, columns, compare, differences, measure
from sorajax.evaluation.world import Sampling, prompts
from sorajax.world.draw import render
from sorajax.world.reader.fitting import ATTRIBUTES

WISH = dict(zip(ATTRIBUTES, ("navy", "red", "star", "small", "spins", "slowly"), strict=True))


def test_accuracy_and_agreement_are_counted_by_attribute_and_for_the_whole_prompt():
    wrong = WISH | {"shape": "triangle"}
    other = WISH | {"shape": "ball"}
    found = compare([Pair(WISH, WISH, WISH), Pair(WISH, WISH, wrong), Pair(WISH, other, wrong), Pair(WISH, WISH, WISH)])
    assert found["shape"] == {"reader": 0.75, "fitting": 0.5, "same": 0.5, "num": 4}
    assert found["prompt"] == {"reader": 0.75, "fitting": 0.5, "same": 0.75, "num": 4}  # both say no of the third
    assert all(found[name]["same"] == 1 for name in ATTRIBUTES if name != "shape")
    header, rows = columns({"rendered": found, "held_out": found})
    assert header[1].startswith("held out")
    assert header[4].startswith("rendered")
    assert rows[2] == ["shape", *["75.0%", "50.0%", "50.0%"] * 2]


def test_differences_name_the_clip_and_the_words():
    found = differences([Pair(WISH, WISH, WISH), Pair(WISH, WISH, WISH | {"pace": None})])
    assert [(one["clip"], one["words"]) for one in found] == [(1, ["pace"])]


@pytest.mark.slow
def test_a_model_that_does_as_asked_is_right_for_both(monkeypatch, capsys):
    def generate(texts):
        scene = prompts("seen", len(texts))[0]
        return np.round((np.asarray(render(scene, 17, 64, 64)[0]) + 1) * 127.5).astype(np.uint8)

    monkeypatch.setattr(readers, "sampling", lambda options: Sampling(generate, 8.0, "num 2"))
    measured = measure(Readers(model="world", num=2, splits=("seen",)))
    perfect = {"reader": 1, "fitting": 1, "same": 1, "num": 2}
    assert measured.figures["accuracy"] == {
        split: dict.fromkeys((*ATTRIBUTES, "prompt"), perfect) for split in ("seen", "rendered")
    }
    assert "rendered: fitting" in capsys.readouterr().out
    assert measured.tables["world-readers"].count("100.0%") == 42
