"""Every task names its inputs as ingredients, and has them checked before anything is generated."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from sorajax.errors import Refused
from sorajax.media.video import Video
from sorajax.tasks.safeguards import ingredients_of, safeguarded

CLIP = Video(np.zeros((2, 4, 4, 3), np.uint8), 8.0, source=Path("clip.mp4"))
OTHER = Video(np.zeros((2, 4, 4, 3), np.uint8), 8.0)


@dataclass
class Watching:
    """A safety that remembers what it is asked, and refuses where it is told to."""

    refuses: bool = False
    asked: list = field(default_factory=list)

    def made_from(self, task, ingredients):
        self.asked.append((task, [(one.role, one.file) for one in ingredients]))
        return self

    def check_given(self, videos):
        self.asked.append(list(videos))
        if self.refuses:
            raise Refused("no", "violence")


@dataclass
class Pipeline:
    safety: Watching


def connect(pipeline, request, first, second, seconds=1.0):
    yield Video(first.frames, 8.0)


def test_clips_become_parts_and_pictures_lead_to_the_output():
    assert [(one.role, one.file) for one in ingredients_of(("clip", "clip"), (CLIP, OTHER))] == [
        ("parentOf", Path("clip.mp4")),
        ("componentOf", None),
    ]
    assert [one.role for one in ingredients_of(("image", "image"), (CLIP, OTHER))] == ["inputTo", "inputTo"]


def test_inputs_are_checked_by_position_or_name_and_outputs_carry_the_policy():
    task, safety = safeguarded("connect", ("clip", "clip"), connect), Watching()
    (made,) = task(Pipeline(safety), None, CLIP, second=OTHER)
    assert made.finishing is safety
    assert safety.asked == [("connect", [("parentOf", Path("clip.mp4")), ("componentOf", None)]), [CLIP, OTHER]]


def test_nothing_is_generated_from_a_refused_input():
    with pytest.raises(Refused):
        next(safeguarded("connect", ("clip", "clip"), connect)(Pipeline(Watching(True)), None, CLIP, OTHER))
