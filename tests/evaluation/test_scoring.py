"""The score of one clip and one prompt is that of the model."""

import numpy as np

from sorajax.evaluation import scoring
from sorajax.evaluation.options import Score
from sorajax.media.video import Video


def test_the_score_is_of_the_clips_frames_and_the_prompt(tmp_path, monkeypatch, capsys):
    def opened(model):
        return lambda video, prompt: video.frames.mean() / 255 + (prompt == "a white wall")

    monkeypatch.setattr(scoring, "open_any_score", opened)
    clip = Video(np.full((1, 16, 16, 3), 255, np.uint8), 8.0).save(tmp_path / "white.png")
    assert scoring.measure(Score(clip=clip, prompt="a white wall")).figures == {"score": 2.0}
    assert capsys.readouterr().out == "2.000\n"
    assert scoring.measure(Score(clip=clip, prompt="a red ball")).figures == {"score": 1.0}
