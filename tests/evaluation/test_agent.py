"""The ratio to the policy trained in the simulator, with its interval, for any world."""

import numpy as np
import pytest

from sorajax.evaluation import agent
from sorajax.evaluation.agent import interval, measure, table
from sorajax.evaluation.options import Agent
from sorajax.interactive.session import TrueWorld


def test_an_interval_is_students():
    values = [1.0, 2.0, 3.0, 4.0, 5.0]
    mean, low, high = interval(values)
    assert mean == 3
    assert high - mean == pytest.approx(mean - low)
    assert high - mean == pytest.approx(2.776 * np.std(values, ddof=1) / 5**0.5, rel=1e-3)
    assert interval([2.0]) == (2, 2, 2)


def test_a_world_like_the_simulator_trains_as_well(monkeypatch, capsys):
    monkeypatch.setattr(agent, "open_player", lambda name: TrueWorld())
    figures = measure(Agent(worlds=("twin",), seeds=1, frames=320, num=16)).figures
    assert figures["twin"][0]["return"] == figures["true"][0]["return"]
    assert "| trained in `twin` |" in capsys.readouterr().out
    assert figures["random actions"][0]["side"] < 0.9


def test_ratios_are_taken_by_seed():
    def row(value):
        return {"return": value, "side": 1.0, "height": 0.5, "own": 0.6, "minutes": 1.0}

    text = table({"true": [row(0.5), row(0.8)], "play": [row(0.25), row(0.4)]})
    assert "| trained in `play` | 0.325 (-0.628-1.278) | 50.0 (50.0-50.0) % | 100.0 % | 50.0 % |" in text
