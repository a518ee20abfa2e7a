"""The measure of control reads the truth as perfect, and a world that does not obey as that."""

import numpy as np

from sorajax.evaluation.options import Play
from sorajax.evaluation.play import Played, judged, measure, random_plays
from sorajax.interactive.session import TrueWorld

WORLD = TrueWorld()


def test_the_simulator_obeys(capsys):
    figures = measure(Play(worlds=("true",), num=4, seconds=12.0)).figures["true"]
    assert figures["control"] == 1
    assert figures["lag"] == 0
    assert figures["inside"]["accuracy"] == figures["kept"]["accuracy"] == 1
    assert figures["height"] < 0.03
    assert figures["jumps"] > 3
    assert "| control: mean of left, right, jump | 100.0 % | at least 97 % |" in capsys.readouterr().out


def test_frames_of_other_actions_show_no_control():
    played = random_plays(WORLD, 4, 96, seed=1)
    other = random_plays(WORLD, 4, 96, seed=2).actions
    assert judged(Played(played.frames, other, played.prompts), 8.0)["control"] < 0.6


def test_effects_one_frame_late_are_a_lag_of_one():
    played = random_plays(WORLD, 4, 96, seed=3)
    late = np.concatenate([played.frames[:, :1], played.frames[:, :-1]], 1)
    figures = judged(Played(late, played.actions, played.prompts), 8.0)
    assert figures["lag"] >= 1
    assert figures["control"] < 0.9


def test_another_object_is_not_kept():
    played = random_plays(WORLD, 3, 40, seed=4)
    moved = played.prompts[1:] + played.prompts[:1]
    assert judged(Played(played.frames, played.actions, moved), 8.0)["kept"]["accuracy"] == 0
