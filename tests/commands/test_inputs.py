"""From options to a task: its files, its settings or their defaults, and what contradicts it."""

from pathlib import Path

import numpy as np
import pytest

from sorajax.commands.arguments import Arguments
from sorajax.commands.failures import Failure
from sorajax.commands.inputs import (
    files_of,
    metadata_of,
    options_of,
    read,
    read_mask_for,
    read_options,
    scenes_of,
    task_of,
)
from sorajax.errors import BadRequest, Note
from sorajax.media.video import Video


@pytest.fixture
def clip(tmp_path):
    """A clip of 8 frames, one second."""
    frames = np.broadcast_to(np.arange(8, dtype=np.uint8)[:, None, None, None] * 30, (8, 16, 24, 3))
    return Video(frames, 8.0).save(tmp_path / "clip.png")


def test_a_task_has_its_files_and_its_options_or_their_defaults(clip):
    arguments = Arguments(("a ball",), extend=clip, direction="both")
    task = task_of(arguments)
    assert (task.name, files_of(arguments, task)) == ("extend", (clip,))
    assert options_of(arguments, task) == {"direction": "both"}
    blend = Arguments(("a ball",), blend=(clip, clip))
    assert options_of(blend, task_of(blend)) == dict(task_of(blend).options)
    assert files_of(Arguments(("a ball",)), task_of(Arguments(("a ball",)))) == ()


def test_the_metadata_name_the_files_and_what_was_asked_for(clip):
    arguments = Arguments(("a ball",), extend=clip, trim="0:0.5", seconds=1.0)
    found = metadata_of(arguments, task_of(arguments))
    assert found == {"extend": str(clip), "direction": "forward", "trim": "0:0.5", "seconds_asked": 1.0}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"loop": True, "image": Path("a.png")}, "--image and --loop are different tasks: give one of them"),
        ({"image": Path("a.png")}, "a.png does not exist: give the path of a picture or clip"),
        ({"trim": "1:2"}, "--trim needs a clip: give one with --extend FILE"),
        ({"fill": Path("a.mp4")}, "--fill FILE and --gap go together: give both, as in "),
    ],
)
def test_what_contradicts_a_task_is_named(options, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadRequest, match=line):
        task_of(Arguments(("a ball",), **options))


def test_a_clip_that_ends_before_its_span_is_used_to_its_end(clip):
    assert len(read(clip, "0.25:0.75").frames) == 4
    with pytest.warns(Note, match=r"clip.png ends before 3 s: it is used from 0.5 s to its end"):
        assert len(read(clip, "0.5:3").frames) == 4


def test_a_mask_has_the_size_of_its_clip(clip, tmp_path):
    mask = Video(np.full((1, 8, 12, 3), 255, np.uint8), 8.0).save(tmp_path / "mask.png")
    with pytest.warns(Note, match=r"mask.png is 12x8 and is resized to the clip's 24x16"):
        found = read_mask_for(mask, Video.load(clip))
    assert np.asarray(found).shape[:2] == (16, 24)
    arguments = Arguments(("a ball",), fill=clip, gap="0.25:0.5")
    assert read_options(arguments, task_of(arguments), []) == {"gap": (0.25, 0.5)}


def test_a_picture_of_a_storyboard_that_cannot_be_read_is_named_by_its_entry(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    board = tmp_path / "board.json"
    board.write_text('[{"prompt": "a", "seconds": 1}, {"prompt": "b", "seconds": 1, "image": "broken.png"}]')
    scenes = scenes_of(Arguments(storyboard=board, style="film"))
    assert next(scenes).prompt == "a. The style is film."
    with pytest.raises(Failure, match=r"board.json, entry 2: .*broken.png"):
        next(scenes)
