"""A watermark is invisible, is read after what happens to files, and only by those who know its key."""

import jax
import numpy as np
import pytest

from sorajax.evaluation.watermark import CHANGES, psnr
from sorajax.safety import code, signal, watermark

IDENTIFIER = 0xC0FFEE42


def scene(height, width, frames=17):
    """A picture of gradients and shapes that moves."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ball = [np.hypot(y - height / 2, x - 10 - 2 * number) < height / 6 for number in range(frames)]
    plain = 90 + 40 * np.sin(x / width * 3) + 20 * y / height
    grey = np.where(ball, 180, plain)
    return np.stack([grey, grey * 0.9, grey * 0.7], -1).astype(np.uint8)


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


def test_training_and_use_are_one_signal(frames):
    """The functions give the same with arrays of numpy and of jax."""
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(np.float32), signal.init(rng))
    luma = frames[:2] @ np.array(signal.LUMA, np.float32)
    phases, y, x = watermark.phases_of(3, "k"), np.arange(0, 20, 0.5), np.arange(0, 30, 0.5)
    for function, inputs in (
        (lambda params, luma: signal.gain(params, luma, 1.0), (params, luma)),
        (signal.response, (params, luma)),
        (signal.signal, (params, phases, y, x)),
        (signal.correlations, (luma[0, :40, :60], y, x)),
    ):
        ours, traced = function(*inputs), jax.jit(function)(*inputs)
        np.testing.assert_allclose(ours, traced, rtol=2e-3, atol=2e-3 * np.abs(ours).max())


def test_a_shift_turns_each_wave(frames):
    """What `best_shifts` undoes."""
    y, x = np.arange(128.0), np.arange(192.0)
    found = signal.correlations(np.ones((128, 192), np.float32) * np.sin(y)[:, None], y, x)
    moved = signal.correlations(np.ones((128, 192), np.float32) * np.sin(y)[:, None], y + 5, x + 9)
    ky, kx = signal.wave_numbers()
    np.testing.assert_allclose(moved, found * np.exp(-2j * np.pi * (ky * 5 + kx * 9) / signal.TILE), atol=0.05)
