"""A watermark is invisible, is read after what happens to files, and only by those who know its key."""

import numpy as np
import pytest

from sorajax.evaluation.watermark import CHANGES, psnr
from sorajax.safety import code, signal, watermark
from tests.safety.test_signal import scene

IDENTIFIER = 0xC0FFEE42


@pytest.fixture(scope="module")
def frames():
    return scene(112, 128, 9)


@pytest.fixture(scope="module")
def marked(frames):
    return watermark.embed(frames, IDENTIFIER)


def test_a_mark_is_read_and_is_hardly_seen(frames, marked):
    assert watermark.read(marked) == (IDENTIFIER,)
    assert min(psnr(*pair) for pair in zip(frames, marked, strict=True)) >= 42
    assert marked.dtype == np.uint8


def test_no_mark_is_read_where_none_is(frames):
    assert watermark.read(frames) == ()
    assert watermark.read(np.full_like(frames, 90)) == ()


@pytest.mark.parametrize("name", CHANGES)
def test_a_mark_outlives_changes(marked, name):
    assert watermark.read(CHANGES[name][0](marked, np.random.default_rng(0))) == (IDENTIFIER,)


def test_another_key_reads_nothing(frames, marked):
    assert watermark.read(marked, "another") == ()
    assert watermark.read(watermark.embed(frames, IDENTIFIER, "another"), "another") == (IDENTIFIER,)


def test_a_frame_is_marked_alone(frames, marked):
    """So a film that is generated in parts is marked as a whole one."""
    assert np.array_equal(watermark.embed(frames[5:9], IDENTIFIER), marked[5:9])


def test_joined_clips_keep_their_marks(frames, marked):
    frames = np.concatenate([frames[:8]] * 2)
    joined = np.concatenate([marked[:8]] * 2 + [watermark.embed(frames, 7)])
    assert set(watermark.read(joined)) == {IDENTIFIER, 7}


def test_small_frames_are_left_alone():
    frames = scene(32, 40, 2)
    assert watermark.embed(frames, 1) is frames
    assert not watermark.fits(32, 40)


def test_the_identifier_is_a_clips_own():
    one = watermark.identifier_of({"seed": 1, "model": "world"})
    assert one == watermark.identifier_of({"model": "world", "seed": 1})
    assert one != watermark.identifier_of({"model": "world", "seed": 2})
    assert 0 <= one < 2**32


def test_a_key_decides_order_signs_and_phases():
    one, other = watermark.layout("a"), watermark.layout("b")
    assert len(one.sync) + len(one.data) == signal.band().sum()
    assert set(one.order) == set(range(code.CHIPS))
    assert not np.array_equal(one.order, other.order)
    assert not np.allclose(one.phases, other.phases)
    # The same on every machine, for files that are read years later.
    assert one.order[:4].tolist() == [8, 75, 96, 27]
