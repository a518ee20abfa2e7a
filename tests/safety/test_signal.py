"""The watermark's signal: one in numpy and in jax, and waves that a shift only turns."""

import jax
import numpy as np

from sorajax.safety import signal, watermark


def scene(height, width, frames=17):
    """A picture of gradients and shapes that moves."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    ball = [np.hypot(y - height / 2, x - 10 - 2 * number) < height / 6 for number in range(frames)]
    plain = 90 + 40 * np.sin(x / width * 3) + 20 * y / height
    grey = np.where(ball, 180, plain)
    return np.stack([grey, grey * 0.9, grey * 0.7], -1).astype(np.uint8)


def test_training_and_use_are_one_signal():
    """The functions give the same with arrays of numpy and of jax."""
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype(np.float32), signal.init(rng))
    luma = scene(112, 128, 9)[:2] @ np.array(signal.LUMA, np.float32)
    phases, y, x = watermark.phases_of(3, "k"), np.arange(0, 20, 0.5), np.arange(0, 30, 0.5)
    for function, inputs in (
        (lambda params, luma: signal.gain(params, luma, 1.0), (params, luma)),
        (signal.response, (params, luma)),
        (signal.signal, (params, phases, y, x)),
        (signal.correlations, (luma[0, :40, :60], y, x)),
    ):
        ours, traced = function(*inputs), jax.jit(function)(*inputs)
        np.testing.assert_allclose(ours, traced, rtol=2e-3, atol=2e-3 * np.abs(ours).max())


def test_a_shift_turns_each_wave():
    """What `watermark` undoes when it reads."""
    y, x = np.arange(128.0), np.arange(192.0)
    found = signal.correlations(np.ones((128, 192), np.float32) * np.sin(y)[:, None], y, x)
    moved = signal.correlations(np.ones((128, 192), np.float32) * np.sin(y)[:, None], y + 5, x + 9)
    ky, kx = signal.wave_numbers()
    np.testing.assert_allclose(moved, found * np.exp(-2j * np.pi * (ky * 5 + kx * 9) / signal.TILE), atol=0.05)


def test_each_wave_is_there_once():
    """Of k and -k, which are the same real wave, one is in use; all lengths are within the band."""
    ky, kx = signal.wave_numbers()
    in_use = signal.band() == 1
    used = list(zip(ky[in_use].tolist(), kx[in_use].tolist(), strict=True))
    assert not {(-y, -x) for y, x in used} & set(used)
    lengths = np.hypot(*np.transpose(used))
    assert signal.LOW <= lengths.min() < lengths.max() <= signal.HIGH
    every = np.hypot(*np.mgrid[-20:21, -20:21])
    assert 2 * len(used) == ((every >= signal.LOW) & (every <= signal.HIGH)).sum()


def test_a_wave_is_read_back_from_a_tile_and_no_other():
    """The waves are orthogonal over a tile."""
    params = signal.init(np.random.default_rng(0))
    positions, ky, kx = np.arange(float(signal.TILE)), *signal.wave_numbers()
    here = (ky == 3) & (kx == 9)
    phases = np.where(here, np.exp(0.7j), 0).astype(np.complex64)
    found = signal.correlations(signal.signal(params, phases, positions, positions), positions, positions)
    assert np.abs(found[~here]).max() < 1e-3 * np.abs(found[here])
    np.testing.assert_allclose(np.angle(found[here]), 0.7, atol=1e-3)
