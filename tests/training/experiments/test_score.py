"""The experiment of the score reads the clips that were encoded for captions."""

from pathlib import Path

import pytest

from sorajax.training.experiments.score import ScoreTraining


def test_clips_that_were_not_encoded_are_named(tmp_path):
    with pytest.raises((FileNotFoundError, ValueError), match="nothing_here"):
        ScoreTraining(latents=tmp_path / "nothing_here").build(Path())
