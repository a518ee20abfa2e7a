"""The scores count what they claim to count, and nothing of the prompt leaks into the reading."""

from sorajax.evaluation.world import summarise
from sorajax.world.reader.instrument import read
from sorajax.world.reader.scores import score
from sorajax.world.scenes import CORE
from tests.world.reader.rendered import clips


def test_a_wrong_video_has_a_low_score():
    """Prompts of one seed against videos of another: nothing of the prompt leaks into the reading."""
    wishes, _ = clips(12, CORE, seed=4)
    _, videos = clips(12, CORE, seed=5)
    summary = summarise(score(wish, read(video)) for wish, video in zip(wishes, videos, strict=True))
    assert summary["colour"]["accuracy"] < 0.4
    assert summary["motion"]["accuracy"] < 0.4
    assert summary["prompt"]["accuracy"] == 0


def test_a_reversed_motion_counts_as_left_right_confusion():
    wishes, videos = clips(24, CORE, seed=6)
    wish, video = next(
        (wish, video)
        for wish, video in zip(wishes, videos, strict=True)
        if wish["shots"][0]["objects"][0]["motion"] == "moves left"
    )
    assert score(wish, read(video))["left-right"].right
    assert not score(wish, read(video[:, :, ::-1]))["left-right"].right
