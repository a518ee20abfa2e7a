"""Little films whose every frame says its own number: its grey level is `level(number)`."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from sorajax.data.videos.decode import probe, read_clip
from sorajax.media.video import Video

THOUSANDTHS = Fraction(1, 1000)
CODECS = {"libx264": {"crf": "8", "bf": "0"}, "libvpx": {"crf": "4", "b": "5M", "auto-alt-ref": "0"}}


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


def pictures(count, size=(32, 48)):
    """Numbered grey frames."""
    return [np.full((*size, 3), level(number), np.uint8) for number in range(count)]


def frame_of(pixels, pix_fmt, **settings):
    """A frame with these pixels, RGB or RGBA, and attributes."""
    frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[-1] == 4 else "rgb24")
    frame = frame.reformat(format=pix_fmt, dst_colorspace="ITU709") if settings.get("colorspace") == 1 else frame
    frame = frame.reformat(format=pix_fmt)
    for name, value in settings.items():
        setattr(frame, name, value)
    return frame


def track(path, frames, codec="ffv1", pix_fmt="yuv444p", moments=None, sound=0.0, options=None, container=None, rate=8):
    """A film of one encoded track: frames or pixels at `moments` (ms; every 125 without), and seconds of silence."""
    moments = range(0, 125 * len(frames), 125) if moments is None else moments
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or CODECS.get(codec, {}))
        first = frames[0]
        stream.height, stream.width = first.shape[:2] if isinstance(first, np.ndarray) else (first.height, first.width)
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = THOUSANDTHS
        if not isinstance(first, np.ndarray):
            for name in ("colorspace", "color_range", "color_trc", "color_primaries"):
                setattr(stream.codec_context, name, int(getattr(first, name)))
        silence = out.add_stream("libopus", rate=48000) if sound else None
        packets, increasing = list[av.Packet](), all(np.diff(moments) > 0)
        for number, picture in enumerate(frames):
            frame = frame_of(picture, pix_fmt) if isinstance(picture, np.ndarray) else picture
            frame.pts, frame.time_base = 125 * number, THOUSANDTHS
            packets += stream.encode(frame)
        for place, packet in enumerate([*packets, *stream.encode()]):
            packet.pts = moments[place]
            packet.dts = moments[place] if increasing else place - len(frames)
            out.mux(packet)
        for number in range(round(sound * 50) if silence else 0):
            heard = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
            heard.sample_rate, heard.pts = 48000, 960 * number
            out.mux(silence.encode(heard))
        if silence:
            out.mux(silence.encode())
    return path


def smooth(t=9, h=32, w=48):
    """A picture of few, slowly changing colours, with two equal frames in the middle."""
    time, row, column = np.meshgrid(np.arange(t), np.arange(h), np.arange(w), indexing="ij")
    frames = np.stack([40 + 10 * time, 60 + 2 * row, 80 + 2 * column], axis=-1).astype(np.uint8)
    if t > 4:
        frames[4] = frames[3]
    return frames


def corners(h=24, w=36):
    """A picture whose four quarters differ, so that it looks like none of its mirrors."""
    picture = np.zeros((h, w, 3), np.uint8)
    picture[: h // 2, : w // 2], picture[: h // 2, w // 2 :] = (220, 30, 30), (30, 200, 40)
    picture[h // 2 :, : w // 2], picture[h // 2 :, w // 2 :] = (40, 60, 210), (230, 230, 230)
    return picture


def seen_alike(path, expected, closeness=12, still=False):
    """Both doors show the expected picture, in full and in a bucket of half the size."""
    h, w = expected.shape[:2]
    facts = probe(str(path))
    assert (facts.height, facts.width) == (h, w)
    for clip in (Video.load(path).frames, read_clip(str(path), 0.0, 1, 8.0)):
        assert clip.shape[1:] == expected.shape
        assert np.abs(clip[0].astype(int) - expected).mean() <= closeness
    small = read_clip(str(path), 0.0, 1, 8.0, (h // 2, w // 2))
    assert np.abs(small[0].astype(int) - expected[::2, ::2]).mean() <= closeness + 6


def encoded_at(path, moments, **stream_settings):
    """An mp4 whose frames are shown at these moments, in thousandths."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "16"})
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for name, value in stream_settings.items():
            setattr(stream.codec_context, name, value)
        for pixels, moment in zip(smooth(len(moments)), moments, strict=True):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = moment, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
