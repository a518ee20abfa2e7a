"""Frames of a clip as the parts of a chat message: a few pictures, each preceded by its time."""

import base64
import io
import math
from typing import Any

import numpy as np
from jaxtyping import UInt8

from sorajax.media.video import Video

PER_SECOND, FEWEST, MOST = 2.0, 4, 16
"""Frames for each second of a clip, and the fewest and the most of one clip."""
SMALLEST, LARGEST = 256, 512
"""Pixels of a picture's longer side. Smaller ones are enlarged, as vision models cut a picture into patches of 14 to
32."""
QUALITY = 90


def sampled_frames(video: Video) -> list[int]:
    """Indices of frames that are spread evenly over a clip, with the first and the last one."""
    count = len(video.frames)
    wanted = min(max(math.ceil(video.seconds * PER_SECOND), FEWEST), MOST, count)
    return [int(index) for index in np.linspace(0, count - 1, wanted).round()]


def picture_url(frame: UInt8[np.ndarray, "h w 3"]) -> str:
    """A frame as the data URL of a JPEG file, at most 512 pixels long."""
    from PIL import Image

    height, width = frame.shape[:2]
    scale = min(max(max(height, width), SMALLEST), LARGEST) / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    file = io.BytesIO()
    Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def clip_parts(video: Video) -> tuple[dict[str, Any], ...]:
    """The parts of a message that shows a clip: each frame preceded by its time in seconds; an image has none."""
    parts: list[dict[str, Any]] = []
    for index in sampled_frames(video):
        if len(video.frames) > 1:
            parts.append({"type": "text", "text": f"{index / video.fps:.2f} s:"})
        parts.append({"type": "image_url", "image_url": {"url": picture_url(video.frames[index])}})
    return tuple(parts)
