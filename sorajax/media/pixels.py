"""Decoded video frames become upright RGB pixels: display matrices, display widths, colour spaces and transparency."""

from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from sorajax.media.decoding import is_transparent

UNTAGGED = 2  # code of the H.264 standard, table E-5: no colour space is stated


def pixels_of(
    frame: Any, aspect: Fraction | None, size: tuple[int, int] | None = None, behind: str = "white"
) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels of a decoded frame, upright, at its display width (`shown_width`), composited over the colour `behind`.

    With a `size`, (height, width), the frame is scaled to cover it and centre-cropped.
    """
    matrix, high, wide = display_matrix(frame), frame.height, shown_width(frame, aspect)
    turned = matrix is not None and is_turned(matrix)
    frame = composite(frame, behind) if is_transparent(frame) else frame
    if size is not None:
        height, width = (wide, high) if turned else (high, wide)
        scale = max(size[0] / height, size[1] / width)
        height, width = max(size[0], round(height * scale)), max(size[1], round(width * scale))
        high, wide = (width, height) if turned else (height, width)
    method = "AREA" if high < frame.height else "BICUBIC"
    resized = (
        {} if (high, wide) == (frame.height, frame.width) else {"height": high, "width": wide, "interpolation": method}
    )
    pixels = upright(frame.to_ndarray(format="rgb24", **resized, **colours_of(frame)), matrix)
    if size is None:
        return np.ascontiguousarray(pixels)
    top, left = (pixels.shape[0] - size[0]) // 2, (pixels.shape[1] - size[1]) // 2
    return np.ascontiguousarray(pixels[top : top + size[0], left : left + size[1]])


def composite(frame: Any, behind: str) -> Any:
    """A transparent frame composited over the colour `behind`, as an RGB frame."""
    import av
    from PIL import ImageColor

    # gbrap: FFmpeg's conversion to rgba corrupts some widths of yuva420p.
    pixels = frame.to_ndarray(format="gbrap", **colours_of(frame))
    alpha = pixels[..., 3:].astype(np.float32) / 255
    background = np.array(ImageColor.getrgb(behind)[:3], np.float32)
    rgb = (pixels[..., :3] * alpha + background * (1 - alpha)).round().astype(np.uint8)
    return av.VideoFrame.from_ndarray(rgb, format="rgb24")


def colours_of(frame: Any) -> dict[str, str]:
    """Arguments of `reformat` for the colour space of a frame without colour tags: BT.709 from 720 rows or 1280 columns
    on, as in video players; none for smaller ones, which are BT.601, the default of `reformat`."""
    large = frame.height >= 720 or frame.width >= 1280
    return {"src_colorspace": "ITU709"} if large and frame.colorspace == UNTAGGED and not frame.format.is_rgb else {}


def shown_width(frame: Any, aspect: Fraction | None) -> int:
    """Display width: columns of a decoded frame in square pixels, where `aspect` is its pixels' width over height."""
    return max(1, round(frame.width * float(aspect or 1)))


def display_matrix(frame: Any) -> Int[np.ndarray, "2 2"] | None:
    """The display matrix [[a, b], [c, d]] of x' = a x + c y and y' = b x + d y with y down (ISO/IEC 14496-12); None
    where the frame has none. PyAV's `rotation` ignores mirroring."""
    if (data := frame.side_data.get("DISPLAYMATRIX")) is None:
        return None
    return np.frombuffer(bytes(data), np.int32).reshape(3, 3)[:2, :2]


def is_turned(matrix: Int[np.ndarray, "2 2"]) -> bool:
    """Whether a display matrix, rounded to the nearest quarter turn, swaps rows and columns."""
    return bool(abs(matrix[0, 0]) < abs(matrix[0, 1]))


def upright(pixels: UInt8[np.ndarray, "h w 3"], matrix: Int[np.ndarray, "2 2"] | None) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Pixels rotated and mirrored by a display matrix, rounded to the nearest quarter turn."""
    if matrix is None:
        return pixels
    (a, b), (c, d) = matrix
    if turned := is_turned(matrix):
        pixels = pixels.swapaxes(0, 1)
    right, down = (c, b) if turned else (a, d)
    return pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
