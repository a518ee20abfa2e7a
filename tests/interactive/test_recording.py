"""A play that becomes a clip: every frame that was seen, and the actions that repeat it."""

import numpy as np
import pytest

from sorajax.interactive.recording import begin
from sorajax.interactive.session import TrueWorld
from sorajax.safety.finishing import Safety
from sorajax.safety.policy import Policy
from sorajax.world.actions import JUMPS, NOTHING, TO_RIGHT

PROMPT = "a red ball on a grey floor"


def test_a_clip_has_the_frames_and_its_actions_repeat_them():
    recording = begin(TrueWorld(), "true", PROMPT, seed=5)
    seen = [recording.frames[0], *(recording.step(action) for action in (JUMPS, TO_RIGHT))]
    video = recording.video(Safety(Policy()))
    assert np.array_equal(video.frames, seen)
    assert not np.array_equal(video.frames[0], video.frames[2])
    assert video.fps == TrueWorld().fps
    assert video.metadata["actions"] == [NOTHING, JUMPS, TO_RIGHT]
    assert {"prompt": PROMPT, "seed": 5, "task": "play", "world": "true"}.items() <= video.metadata.items()
    session = TrueWorld().begin([video.metadata["prompt"]], video.metadata["seed"])
    assert np.array_equal(np.concatenate([session.step([one]) for one in video.metadata["actions"]]), video.frames)


def test_an_unknown_action_is_refused_and_not_recorded():
    recording = begin(TrueWorld(), "true", PROMPT, seed=5)
    with pytest.raises(ValueError, match="action 9 is not allowed"):
        recording.step(9)
    assert recording.actions == [NOTHING]
    assert len(recording.frames) == 1


def test_a_prompt_without_an_object_begins_no_play():
    with pytest.raises(ValueError, match="object"):
        begin(TrueWorld(), "true", "rain", seed=0)
