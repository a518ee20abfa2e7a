"""Decoding of a video track: progressive frames of standard dynamic range, in order, each with its presentation time.

Files contradict themselves, and the source closest to the frames takes precedence: for the duration the last packets,
then the track's tags, then the container; for the order of frames the decoder, then their time stamps.
"""

import os
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from threading import local
from typing import IO, Any

import numpy as np

from sorajax.errors import note
from sorajax.media import MAX_FPS

MAX_FRAME_SECONDS = 10  # longest duration of one frame of a video or an animation
LOOKAHEAD = 8  # frames searched for the next increasing time stamp
END = 2**62  # a time stamp beyond the end of any video
HDR = (16, 18)  # ITU-T H.273, table 3: the transfer functions PQ and HLG
BT2020 = 9  # table 2: primaries of a wider gamut
LIBVPX = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # decoders with transparency, which FFmpeg's own ones drop
DEINTERLACE = ("yadif", "deint=interlaced")  # passes frames that are not marked as interlaced
FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")  # of an mp4 or mov
TONE_MAP = ("scale", "out_transfer=iec61966-2-1:out_primaries=bt709:intent=perceptual")


def check_index(file: IO[bytes]) -> None:
    """Raises ValueError where an mp4 or mov ends within its index (its box `moov`, ISO/IEC 14496-12). FFmpeg reads a
    part of such an index, and may crash when it decodes by it. Other formats pass. The file's position is as before."""
    begin = file.tell()
    length, start = file.seek(0, os.SEEK_END), 0
    try:
        while start + 8 <= length:
            file.seek(start)
            size, kind = struct.unpack(">I4s", file.read(8))
            if start == 0 and kind not in FIRST_BOXES:
                return
            if size == 1:  # a size of 64 bits follows
                size = int.from_bytes(file.read(8), "big")
            if kind == b"moov" and start + size > length:
                raise ValueError(f"its index needs {start + size} bytes, and it has {length}")
            if kind == b"moov" or size < 8:  # 0: until the end of the file
                return
            start += size
    finally:
        file.seek(begin)


def decode_track(container: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    """(seconds, frame) of a track from the container's position on, in the order and at the times of `in_order`.

    Interlaced frames are deinterlaced; PQ, HLG and BT.2020 are tone-mapped to sRGB, which compresses highlights instead
    of clipping them; VP8 and VP9 keep their transparency.
    """
    return in_order(to_standard(frames_of(container, stream)), 1 / (stated_rate(stream) or 25.0))


def frames_of(container: Any, stream: Any) -> Iterator[Any]:
    """The frames of a track, as the decoder returns them."""
    import av

    name = getattr(stream.codec_context, "name", "")  # "": unknown codec; decoding fails below
    if name in LIBVPX and "1" in (stream.metadata.get("alpha_mode"), stream.metadata.get("ALPHA_MODE")):
        context: Any = av.CodecContext.create(LIBVPX[name], "r")
        for packet in container.demux(stream):
            yield from context.decode(packet)
    elif name == "rawvideo" and container.format.name == "avi":  # in AVI the fourth byte is unused
        for frame in container.decode(stream):
            yield frame.reformat(format="rgb24") if frame.format.name == "bgra" else frame
    else:
        yield from container.decode(stream)


def to_standard(frames: Iterable[Any]) -> Iterator[Any]:
    """Deinterlaces and tone-maps frames to standard dynamic range, where they need it."""
    graph, graph_format, interlaced = None, None, False
    for frame in frames:
        interlaced = interlaced or frame.interlaced_frame
        wide = frame.color_trc in HDR or frame.color_primaries == BT2020
        if not interlaced:
            yield TONE_MAPS.apply(frame) if wide else frame
            continue
        format_now = wide, frame.width, frame.height, frame.format.name
        if graph is not None and format_now != graph_format:
            yield from apply_filters(graph, None)
            graph = None
        if graph is None:
            graph, graph_format = filters_for(frame, True, wide), format_now
        yield from apply_filters(graph, frame)
    if graph is not None:
        yield from apply_filters(graph, None)


class ToneMaps(local):
    """Each thread's filter graphs that tone-map. They are kept from clip to clip, because the table of colours that a
    new graph makes takes a second."""

    LIMIT = 4

    def __init__(self) -> None:
        self.graphs: dict[Any, Any] = {}

    def apply(self, frame: Any) -> Any:
        """The frame in sRGB."""
        colours = frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries
        key = frame.width, frame.height, frame.format.name, frame.time_base, *map(int, colours)
        graph = self.graphs.pop(key, None) or filters_for(frame, False, True)
        graph.push(frame)
        mapped = graph.pull()
        self.graphs[key] = graph  # the last one used; a graph that failed is not kept
        if len(self.graphs) > self.LIMIT:
            del self.graphs[next(iter(self.graphs))]
        return mapped


TONE_MAPS = ToneMaps()


def filters_for(frame: Any, interlaced: bool, wide: bool) -> Any:
    """A graph of FFmpeg filters for frames of this one's format."""
    from av.filter import Graph

    base = frame.time_base
    source = {
        "video_size": f"{frame.width}x{frame.height}",
        "pix_fmt": frame.format.name,
        "time_base": f"{base.numerator}/{base.denominator}",
        "colorspace": int(frame.colorspace),
        "range": int(frame.color_range),
    }
    rgb = ("format", "gbrap" if is_transparent(frame) else "rgb24")
    graph = Graph()
    last = graph.add("buffer", ":".join(f"{name}={value}" for name, value in source.items()))
    for name, settings in [*[DEINTERLACE] * interlaced, *[TONE_MAP, rgb] * wide, ("buffersink", "")]:
        added = graph.add(name, settings)
        last.link_to(added)
        last = added
    graph.configure()
    return graph


def apply_filters(graph: Any, frame: Any) -> Iterator[Any]:
    """The output frames of a filter graph for one input frame, or for the end of the input (None)."""
    import av

    graph.push(frame)
    with suppress(av.error.BlockingIOError, av.error.EOFError):  # the graph needs another frame, or is exhausted
        while True:
            yield graph.pull()


def in_order(frames: Iterable[Any], step: float) -> Iterator[tuple[float, Any]]:
    """(seconds, frame) in decoder order, at strictly increasing times.

    A time stamp is replaced by one between its neighbours where it is missing, does not increase, or jumps ahead of all
    the next ones. Where time stamps restart, all later ones are shifted behind the last.
    `step`: seconds between frames without time stamps.
    """
    source = iter(frames)
    queue = deque(islice(source, 2))
    before, shift = None, 0.0
    while queue:
        frame = queue.popleft()
        if not queue:
            queue.extend(islice(source, 1))
        own = None if frame.time is None else frame.time + shift
        next_time = None if not queue or queue[0].time is None else queue[0].time + shift
        if before is None:
            now = own or 0.0
        elif (
            own is not None
            and own > before
            and not (
                next_time is not None and before < next_time < own and next_after(own - shift, queue, source) is None
            )
        ):
            now, step = own, own - before
        elif later := next_after(before - shift, queue, source):
            now = before + min(step, (later[1] + shift - before) / (later[0] + 1))
        else:
            now = before + step
            shift += 0.0 if own is None else now - own
        yield now, frame
        before = now


def next_after(moment: float, queue: deque[Any], source: Iterator[Any]) -> tuple[int, float] | None:
    """(frames ahead, time) of the first of the next `LOOKAHEAD` frames that is later than `moment`, or None."""
    for distance in range(LOOKAHEAD):
        if distance == len(queue):
            queue.extend(islice(source, 1))
        if distance == len(queue):
            return None
        if (time := queue[distance].time) is not None and time > moment:
            return distance + 1, time
    return None


def limit_durations(frames: Iterable[tuple[float, Any]], path: Any) -> Iterator[tuple[float, Any]]:
    """(seconds, frame) with the duration of each frame capped at `MAX_FRAME_SECONDS`, and a note where it is longer."""
    before, cut = None, 0.0
    for moment, frame in frames:
        if before is not None and (duration := moment - before) > MAX_FRAME_SECONDS:
            note(f"{path} shows one frame for {duration:g} s: it is shortened to {MAX_FRAME_SECONDS} s")
            cut += duration - MAX_FRAME_SECONDS
        yield moment - cut, frame
        before = moment


def stated_rate(stream: Any) -> float:
    """Frames per second as the file states, 0 where it does not."""
    return float(stream.average_rate or stream.guessed_rate or 0)


def rate_of(container: Any, stream: Any, path: Any) -> float:
    """Frames per second: as the file states or, where that is off by more than a factor of two from its packets, from
    the usual distance of packets. At most `MAX_FPS`, with a note where it is more. Reads the container to its end."""
    import av

    rate, stamps = stated_rate(stream), list[int]()
    with suppress(av.error.FFmpegError):  # where the file is cut short
        stamps.extend(packet.pts for packet in container.demux(stream) if packet.pts is not None)
    steps = np.diff(np.sort(stamps)) * float(stream.time_base)
    if (positive := steps[steps > 0]).size:
        mean = float(np.minimum(positive, MAX_FRAME_SECONDS).sum()) / len(steps)
        if not 0.5 <= rate * mean <= 2:
            usual = float(np.median(positive))
            rate = 1 / min(float(positive[np.abs(positive - usual) <= usual / 2].mean()), MAX_FRAME_SECONDS)
    if rate > MAX_FPS:
        note(f"{path} has {rate:.4g} frames per second: it is read at {MAX_FPS}")
    return min(rate, float(MAX_FPS))


def seconds_of(container: Any, stream: Any) -> float:
    """Duration of a track in seconds, from its first frame to the end of its last one; 0 where it is unknown.

    From the track's last packets or, where seeking them fails, from the duration that the file states, or else from all
    packets. Leaves the container at its end.
    """
    import av

    with suppress(av.error.FFmpegError):  # some files cannot be read from the end
        container.seek(END, stream=stream, backward=True)
        if (end := packets_end(container, stream)) > 0:
            return end
    if (stated := stated_seconds(container, stream)) > 0:
        return stated
    container.seek(0)
    return packets_end(container, stream)


def packets_end(container: Any, stream: Any) -> float:
    """Seconds from the track's start to the end of the last of the remaining packets, 0 where there is none.

    A single time stamp far behind all others is ignored.
    """
    import av

    intervals, start = list[tuple[float, float]](), start_of(stream)
    with suppress(av.error.FFmpegError):  # where the file is cut short
        for packet in container.demux(stream):
            if packet.pts is not None and not packet.is_discard:
                moment = float(packet.pts * packet.time_base) - start
                intervals.append((moment, moment + duration_of(packet, stream)))
    intervals.sort()
    if len(intervals) > 2:
        before, jump = (intervals[index][0] - intervals[index - 1][0] for index in (-2, -1))
        intervals = intervals[:-1] if jump > max(MAX_FRAME_SECONDS, 2 * before) else intervals
    return max([0.0, *(end for _, end in intervals)])


def stated_seconds(container: Any, stream: Any) -> float:
    """Duration of the track in seconds as the file states, 0 where it does not."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    start = start_of(stream)
    for name in ("DURATION", "DURATION-eng"):  # Matroska's end of the track
        hours, _, rest = stream.metadata.get(name, "").partition(":")
        minutes, _, seconds = rest.partition(":")
        with suppress(ValueError):
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - start
    is_only_stream = len(container.streams) == 1
    return float(container.duration) / 1_000_000 - start if is_only_stream and container.duration else 0.0


def start_of(stream: Any) -> float:
    """Presentation time of a track's first frame in seconds."""
    return float((stream.start_time or 0) * stream.time_base)


def duration_of(item: Any, stream: Any) -> float:
    """Duration of a frame or packet in seconds: its own where it is plausible, else that of the stated frame rate."""
    own = float((item.duration or 0) * item.time_base)
    usual = 1 / (stated_rate(stream) or 25.0)
    return own if 0 < own <= max(MAX_FRAME_SECONDS, usual) else usual


def is_transparent(frame: Any) -> bool:
    """Whether a frame has an alpha channel, or a palette, which may have one."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
