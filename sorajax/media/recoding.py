"""Frames as other programs store them: compressed by a video codec or as JPEG, and decoded again."""

import io
from typing import Literal

import numpy as np

from sorajax.media.formats import BT709, LIMITED_RANGE
from sorajax.media.frames import Frames

Codec = Literal["libx264", "libx265", "jpeg"]


def recoded(frames: Frames, codec: Codec, quality: int, preset: str = "medium", fps: int = 8) -> Frames:
    """The decoded frames. quality: the constant rate factor of a video codec, 0 to 51, or JPEG's, 1 to 95.

    Odd sizes lose their last row or column, as H.264 has none.
    """
    if codec == "jpeg":
        return np.stack([as_jpeg(frame, quality) for frame in frames])
    import av

    h, w = (size // 2 * 2 for size in frames.shape[1:3])
    options = {"crf": str(quality), "preset": preset}
    if codec == "libx265":
        options["x265-params"] = "log-level=none:pools=1:frame-threads=1"
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range, context.thread_count = BT709, LIMITED_RANGE, 1
        for pixels in frames[:, :h, :w]:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer, "r") as source:
        decoded = [
            frame.reformat(format="rgb24", src_colorspace="ITU709", src_color_range="MPEG")
            for frame in source.decode(video=0)
        ]
    return np.stack([frame.to_ndarray() for frame in decoded])


def as_jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    """A frame that was stored as JPEG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))
