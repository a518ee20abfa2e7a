"""Little films whose every frame says its own number: its grey level is `level(number)`."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def level(number: int) -> int:
    """The grey of frame `number`: 40 levels, 5 apart, that survive a codec."""
    return 20 + 5 * (number % 40)


def numbers(frames: np.ndarray) -> list[int]:
    """The numbers of frames [t h w 3], read from the middle of each."""
    h, w = frames.shape[1:3]
    grey = frames[:, h // 4 : -h // 4 or None, w // 4 : -w // 4 or None].astype(float).mean((1, 2, 3))
    return [int(x) for x in np.round((grey - 20) / 5)]


def film(
    path: Path,
    frames: np.ndarray | int = 24,
    fps: int = 8,
    size: tuple[int, int] = (32, 48),
    times: list[int] | None = None,
    codec: str = "libx264",
    gop: int = 12,
) -> Path:
    """Writes frames uint8 [t h w 3], or that many numbered ones of `size`; `times` are milliseconds of each."""
    if isinstance(frames, int):
        frames = np.stack([np.full((*size, 3), level(i), np.uint8) for i in range(frames)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"g": str(gop)})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def moving(seed: int, frames: int = 24, size: tuple[int, int] = (32, 48)) -> np.ndarray:
    """A square that moves over noise of its own: no two seeds look alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 220, (4, 6, 3)).astype(np.uint8)
    ground = coarse.repeat(-(-size[0] // 4), 0).repeat(-(-size[1] // 6), 1)[: size[0], : size[1]]
    clip = np.stack([ground] * frames)
    for number in range(frames):
        left = (number * 2 + seed) % (size[1] - 12)
        clip[number, 8:20, left : left + 12] = rng.integers(0, 255, 3) if number == 0 else clip[0, 10, (seed) % 36 + 2]
    return clip
