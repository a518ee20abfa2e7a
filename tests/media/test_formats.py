"""Each format is written as players and viewers expect it."""

import numpy as np
import pytest

from sorajax.errors import Note
from sorajax.media.formats import durations
from sorajax.media.video import Video
from tests.data.videos.films import smooth


@pytest.mark.parametrize("fps", [8, 7.5, 24, 30000 / 1001])
def test_mp4_keeps_the_frame_rate(tmp_path, fps):
    assert Video.load(Video(smooth(), fps).save(tmp_path / "clip.mp4")).fps == pytest.approx(fps, rel=1e-5)


def test_mp4_is_h264_420_bt709_with_its_index_first(tmp_path):
    """H.264, 4:2:0, BT.709 limited range, index in front of the pictures; flat colours come back within 2."""
    import av

    colour = np.broadcast_to(np.array([200, 40, 90], np.uint8), (5, 32, 32, 3)).copy()
    path = Video(colour, 8).save(tmp_path / "clip.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        assert (stream.codec_context.name, frame.format.name) == ("h264", "yuv420p")
        assert (int(frame.colorspace), int(frame.color_range)) == (1, 1)
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - colour[0]).max() <= 2
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_frame_durations_add_up_to_the_clips_length():
    assert sum(durations(8, 8, 10)) == 1000
    assert set(durations(8, 8, 10)) <= {120, 130}
    assert set(durations(120, 120, 1)) <= {8, 9}


def test_odd_sizes_are_refused_by_mp4_and_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="even sizes"):
        Video(smooth(2, 31, 48), 8).save(tmp_path / "clip.mp4")
    assert list(tmp_path.iterdir()) == []
    assert Video.load(Video(smooth(2, 31, 47), 8).save(tmp_path / "clip.webp")).frames.shape == (2, 31, 47, 3)


def test_a_gif_above_50_fps_is_reported(tmp_path):
    with pytest.warns(Note, match="a gif of 60 frames per second plays slowly in most viewers: use .mp4 or .webp"):
        Video(np.zeros((3, 8, 8, 3), np.uint8), 60.0).save(tmp_path / "a.gif")
