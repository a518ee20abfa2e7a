"""A clip at another size and frame rate."""

import numpy as np

from sorajax.media.video import Frames, Video


def fit_clip(video: Video, width: int, height: int, fps: float) -> Frames:
    """Frames of a clip at another size and rate: scaled to cover the size, cropped at the centre; in time, the nearest
    frame."""
    from PIL import Image

    count = max(1, round(len(video.frames) * fps / video.fps))
    chosen = np.minimum(((np.arange(count) + 0.5) * video.fps / fps).astype(int), len(video.frames) - 1)
    _, y, x, _ = video.frames.shape
    if (x, y) == (width, height):
        return video.frames if np.array_equal(chosen, np.arange(len(video.frames))) else video.frames[chosen]
    scale = max(width / x, height / y)
    size = max(width, round(x * scale)), max(height, round(y * scale))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    clip = np.empty((count, height, width, 3), np.uint8)
    for place, number in enumerate(chosen):
        image = Image.fromarray(video.frames[number]).resize(size, Image.Resampling.LANCZOS)
        clip[place] = np.asarray(image)[top : top + height, left : left + width]
    return clip
