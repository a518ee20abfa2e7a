"""The watermark: an identifier of 32 bits in the pixels of every frame, which survives the loss of the manifest.

`embed` adds the signal of `safety.signal`, whose phases carry the identifier under the code of `safety.code`; `read`
finds it in other sizes, crops and qualities. Both are keyed: the key chooses the order and the signs of the chips, and
the phases of a quarter of the waves, by which a reader finds place and size (`layout`).

False alarms: a reader tries at most ATTEMPTS = 216 places and sizes. With a random key the word that each of them
decodes to is uniform over all words, since the code is linear and the key's signs are independent of the frames; its
check is right with probability 2^-28. So a file without a mark is read as marked with a probability of at most
216 * 2^-28 = 8.0e-7.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Complex, Float, Int

from sorajax.media.frames import Frames
from sorajax.safety import code, signal

WEIGHTS = Path(__file__).parents[1] / "assets" / "watermark"
FILE = "model.safetensors"
KEY = "sorajax"
"""The default key, which is public."""
ALGORITHM = "org.sorajax.watermark.1"
"""Its name in manifests."""
DECIBELS = 42.15
"""Peak signal-to-noise ratio of marked frames before rounding, which takes 0.1 of it."""
SMALLEST = 48
"""Frames with a shorter side of fewer pixels are not marked: nothing could be read."""
SYNC = 0.25
"""Share of waves that are known to the reader."""
GROUP = 4
"""Frames whose mean is read at once."""
WINDOW = 4
"""Groups that are read together, beside all of them: of joined clips each has its own identifier."""
WINDOWS, TRIES = 8, 8
COARSE = 64
"""Shifts in each direction at which the scales are compared."""
ATTEMPTS = len(signal.SIZES) * (WINDOWS + 1) * TRIES
SCALES = np.exp(np.linspace(np.log(0.5), 0, 180))
"""Shares of the marked frame's shorter side that a reader supposes in a crop."""


@dataclass(frozen=True)
class Layout:
    """Everything that depends on the key. sync, data: places in the arrays of waves, those that a reader knows and
    those that carry chips, two each. phases: of all waves. order, signs: the chip of each slot, and what it is
    multiplied by."""

    sync: Int[np.ndarray, "n 2"]
    data: Int[np.ndarray, "m 2"]
    phases: Complex[np.ndarray, "y x"]
    order: Int[np.ndarray, " s"]
    signs: Float[np.ndarray, " s"]


@lru_cache(maxsize=8)
def layout(key: str) -> Layout:
    """The layout of a key, the same with every version of numpy."""
    places = np.argwhere(signal.band() > 0)
    count = len(places)
    slots = 2 * (count - int(SYNC * count))
    stream = hashlib.shake_256(b"sorajax watermark 1\0" + key.encode()).digest(8 * (2 * count + 2 * slots))
    draws = np.frombuffer(stream, "<u8")
    mixed = places[np.argsort(draws[:count], kind="stable")]
    phases = np.zeros(signal.SHAPE, np.complex64)
    phases[tuple(places.T)] = np.exp(2j * np.pi * (draws[count : 2 * count] / 2.0**64))
    order = np.argsort(draws[2 * count : 2 * count + slots], kind="stable") % code.CHIPS
    signs = 1.0 - 2.0 * (draws[2 * count + slots :] & 1)
    waves = count - slots // 2
    return Layout(mixed[:waves], mixed[waves:], phases, order, signs)


@lru_cache(maxsize=8)
def phases_of(identifier: int, key: str) -> Complex[np.ndarray, "y x"]:
    """C, the phases that carry an identifier."""
    found = layout(key)
    chips = code.encode(identifier)[found.order] * found.signs
    real, imaginary = np.split(chips, 2)
    phases = found.phases.copy()
    phases[tuple(found.data.T)] *= (real + 1j * imaginary) / np.sqrt(2)
    return phases


@lru_cache(maxsize=4)
def drawn(identifier: int, key: str, height: int, width: int) -> Float[np.ndarray, "h w"]:
    """q on the pixels of a frame."""
    size = signal.units(height, width) / min(height, width)
    y, x = ((np.arange(n, dtype=np.float32) + 0.5) * size for n in (height, width))
    found: np.ndarray = signal.signal(weights(), phases_of(identifier, key), y, x).astype(np.float32)
    return found


def fits(height: int, width: int) -> bool:
    """Whether frames of this size are marked."""
    return min(height, width) >= SMALLEST


def identifier_of(metadata: Mapping[str, Any]) -> int:
    """The identifier of a clip: the first 32 bits of a hash of its metadata."""
    text = json.dumps(metadata, sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def embed(frames: Frames, identifier: int, key: str = KEY) -> Frames:
    """Marked frames, of at least 42 dB PSNR; each depends on no other. identifier: 0 to 2^32 - 1."""
    _, h, w, _ = frames.shape
    if not fits(h, w):
        return frames
    q, at_once = drawn(identifier, key, h, w), max(1, 2**22 // (h * w))
    return np.concatenate([added(frames[i : i + at_once], q) for i in range(0, len(frames), at_once)])


def added(frames: Frames, q: Float[np.ndarray, "h w"]) -> Frames:
    """Frames with the signal q."""
    _, h, w, _ = frames.shape
    luma = frames @ np.array(signal.LUMA, np.float32)
    change = signal.gain(weights(), luma, signal.units(h, w) / min(h, w)) * q
    energy = np.einsum("thw,thw->t", change, change) / (h * w)
    change *= (peak_strength(DECIBELS) / np.sqrt(energy))[:, None, None]
    return np.clip(np.rint(frames + change[..., None]), 0, 255).astype(np.uint8)


def peak_strength(decibels: float) -> float:
    """The root mean square, in grey levels, of a change of this peak signal-to-noise ratio."""
    return float(255 / 10 ** (decibels / 20))


def read(frames: Frames, key: str = KEY) -> tuple[int, ...]:
    """The identifiers in frames, that of the whole clip first; usually one, of joined clips several, or none."""
    _, h, w, _ = frames.shape
    guess = signal.units(h, w)
    numbers = [guess, *(number for _, number in signal.SIZES if number != guess and number <= 4 * min(h, w))]
    for number in numbers:
        left = responses(frames, number)
        identifier = search(number, left.mean(0), key)
        found = ([] if identifier is None else [identifier]) + in_windows(number, left, key)
        if found:
            return tuple(dict.fromkeys(found))
    return ()


def in_windows(number: int, left: Float[np.ndarray, "g y x"], key: str) -> list[int]:
    """The identifiers in windows of a clip of many groups."""
    if len(left) < 2 * WINDOW:
        return []
    starts = np.unique(np.linspace(0, len(left) - WINDOW, min(WINDOWS, len(left) // WINDOW)).astype(int))
    found = (search(number, left[start : start + WINDOW].mean(0), key) for start in starts)
    return [one for one in found if one is not None]


def responses(frames: Frames, number: int) -> Float[np.ndarray, "g y x"]:
    """The reader's response to each group of frames, for marks of so many units on the shorter side."""
    t, h, w, _ = frames.shape
    step = min(h, w) * signal.PIXEL / number  # pixels of a frame on one of the reader
    rows, columns = (signal.resampling(np, n, 0.0, step, round(n / step)) for n in (h, w))
    left = []
    for start in groups(t):
        luma = (frames[start : start + GROUP] @ np.array(signal.LUMA, np.float32)).mean(0)
        left.append(signal.response(weights(), (rows @ luma @ columns.T)[None])[0])
    return np.stack(left)


def groups(count: int) -> list[int]:
    """First frames of the groups: all, or as many as are read, spread over the clip."""
    starts = list(range(0, max(1, count - count % GROUP), GROUP))
    if len(starts) <= WINDOWS * WINDOW:
        return starts
    chosen = np.linspace(0, len(starts) - WINDOW, WINDOWS).astype(int)
    return [starts[first + i] for first in chosen for i in range(WINDOW)]


def search(number: int, left: Float[np.ndarray, "y x"], key: str) -> int | None:
    """The identifier in a response, at the likeliest of all places and sizes; None where no word has a right check."""
    waves = at_scales(number, left)
    likeliest = np.argsort(-best_shifts(waves, key, COARSE)[0], kind="stable")[:TRIES]
    _, shifts = best_shifts(waves[likeliest], key, signal.TILE)
    soft = np.stack([soft_chips(*one, key) for one in zip(waves[likeliest], shifts, strict=True)])
    return next((one for one in code.decode(soft) if one is not None), None)


def at_scales(number: int, left: Float[np.ndarray, "y x"]) -> Complex[np.ndarray, "n y x"]:
    """The correlations with all waves, at each of the scales. Those of far more than the usual size are limited: they
    are the picture's, as of lines and grids."""
    rows, columns = analysis(number, *left.shape)
    mixed = (left @ columns).view(np.complex64).reshape(len(left), len(SCALES), -1).swapaxes(0, 1)
    waves = rows @ mixed * (signal.band() * np.exp(weights()["weight"]))
    size = np.abs(waves)
    usual = np.median(size[:, signal.band() > 0], 1)[:, None, None]
    return waves / (1 + size / (usual + 1e-12))


@lru_cache(maxsize=8)
def analysis(number: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The waves at each of the scales, for rows [n k height], and for columns as real numbers [width n*k*2]."""
    unit = number * SCALES[:, None] / min(height, width)
    rows, columns = (unit * (np.arange(n) + 0.5) for n in (height, width))
    across = np.ascontiguousarray(signal.waves(-columns, False).swapaxes(0, 1), np.complex64)
    down = signal.waves(-rows, True).swapaxes(1, 2).astype(np.complex64)
    return down, across.view(np.float32).reshape(width, -1)


def best_shifts(
    waves: Complex[np.ndarray, "n y x"], key: str, steps: int
) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, "n 2"]]:
    """How well the known waves agree, 1 if they all do, and the shift in units at which they do, on a grid of `steps`
    in each direction."""
    found = layout(key)
    y, x = found.sync.T
    known = waves[:, y, x] * found.phases[y, x].conj()
    spectrum = np.zeros((len(waves), steps, steps), np.complex64)
    spectrum[:, (y - signal.K) % steps, x] = known
    agreement = np.fft.ifft2(spectrum).real.reshape(len(waves), -1)
    best = agreement.argmax(1)
    size = np.abs(known).sum(1) / steps**2 + 1e-12
    shifts = np.stack(np.divmod(best, steps), 1) * (signal.TILE // steps)
    return agreement[np.arange(len(waves)), best] / size, shifts


def soft_chips(
    waves: Complex[np.ndarray, "y x"], shift: Int[np.ndarray, " 2"], key: str
) -> Float[np.ndarray, " chips"]:
    """The waves' evidence on each chip, summed over all slots that carry it."""
    found, (ky, kx) = layout(key), signal.wave_numbers()
    turned = waves * found.phases.conj() * np.exp(2j * np.pi / signal.TILE * (ky * shift[0] + kx * shift[1]))
    data = turned[tuple(found.data.T)]
    slots = np.concatenate([data.real, data.imag]) * found.signs
    soft = np.bincount(found.order, slots, code.CHIPS)
    return (soft / (np.abs(soft).mean() + 1e-12)).astype(np.float32)


@cache
def weights() -> Any:
    """The weights of the package."""
    return load_weights(WEIGHTS)


def load_weights(folder: Path) -> dict[str, Any]:
    """The weights in a folder, float32."""
    from safetensors.numpy import load_file

    params: dict[str, Any] = {}
    for name, value in load_file(folder / FILE).items():
        *parents, last = name.split(".")
        place = params
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value.astype(np.float32)
    return params


def export_weights(folder: Path, params: Any) -> None:
    """Writes the weights as float16."""
    from safetensors.numpy import save_file

    def flat(tree: Any, start: str = "") -> dict[str, np.ndarray]:
        if not isinstance(tree, dict):
            return {start[:-1]: np.ascontiguousarray(np.asarray(tree, np.float16))}
        return {name: leaf for key, part in tree.items() for name, leaf in flat(part, f"{start}{key}.").items()}

    folder.mkdir(parents=True, exist_ok=True)
    save_file(flat(params), folder / FILE)
