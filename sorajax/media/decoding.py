"""A film's track, decoded: whole pictures of standard range, in order, each with the time at which it is shown.

Files contradict themselves, and what is nearest to the pictures counts: for how long a film lasts its last packets,
before its track's tags, before the container; for the order of frames the decoder, before their time stamps.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from sorajax.errors import note
from sorajax.media import MOST_FPS

LONGEST_HELD = 10  # seconds of a frame of a film or an animation
AHEAD = 8  # frames that are looked at for the next time stamp in order
END = 2**62  # a time after every film's
HDR = (16, 18)  # ITU-T H.273, table 3: the transfer functions PQ and HLG
BT2020 = 9  # table 2: primaries of a wider gamut
LIBVPX = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # which decode transparency; FFmpeg's own decoders leave it out
DEINTERLACED = ("yadif", "deint=interlaced")  # frames that are not marked as interlaced stay as they are
STANDARD = ("scale", "out_transfer=iec61966-2-1:out_primaries=bt709:intent=perceptual")


def decoded(container: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    """(seconds, frame) of a track from where the container stands, in the order and at the times of `in_order`.

    Interlaced frames are made whole, PQ, HLG and BT.2020 are mapped to sRGB (brighter than the screen is compressed,
    not cut), and VP8 and VP9 keep their transparency.
    """
    return in_order(standard(frames_of(container, stream)), 1 / (stated_rate(stream) or 25.0))


def frames_of(container: Any, stream: Any) -> Iterator[Any]:
    """Frames as the decoder gives them."""
    import av

    name = getattr(stream.codec_context, "name", "")  # "": unknown, so that decoding fails
    if name in LIBVPX and "1" in (stream.metadata.get("alpha_mode"), stream.metadata.get("ALPHA_MODE")):
        context: Any = av.CodecContext.create(LIBVPX[name], "r")
        for packet in container.demux(stream):
            yield from context.decode(packet)
    elif name == "rawvideo" and container.format.name == "avi":  # whose fourth byte is not used
        for frame in container.decode(stream):
            yield frame.reformat(format="rgb24") if frame.format.name == "bgra" else frame
    else:
        yield from container.decode(stream)


def standard(frames: Iterable[Any]) -> Iterator[Any]:
    """Frames without interlacing and of standard range; those that are so already pass."""
    graph, made, interlaced = None, None, False
    for frame in frames:
        interlaced = interlaced or frame.interlaced_frame
        wide = frame.color_trc in HDR or frame.color_primaries == BT2020
        needed = interlaced, wide, frame.width, frame.height, frame.format.name
        if graph is not None and needed != made:
            yield from filtered(graph, None)
            graph = None
        if not (interlaced or wide):
            yield frame
            continue
        if graph is None:
            graph, made = filters_for(frame, interlaced, wide), needed
        yield from filtered(graph, frame)
    if graph is not None:
        yield from filtered(graph, None)


def filters_for(frame: Any, interlaced: bool, wide: bool) -> Any:
    """A chain of FFmpeg's filters for frames like this one."""
    from av.filter import Graph

    base = frame.time_base
    said = {
        "video_size": f"{frame.width}x{frame.height}",
        "pix_fmt": frame.format.name,
        "time_base": f"{base.numerator}/{base.denominator}",
        "colorspace": int(frame.colorspace),
        "range": int(frame.color_range),
    }
    rgb = ("format", "gbrap" if is_transparent(frame) else "rgb24")
    graph = Graph()
    last = graph.add("buffer", ":".join(f"{name}={value}" for name, value in said.items()))
    for name, settings in [*[DEINTERLACED] * interlaced, *[STANDARD, rgb] * wide, ("buffersink", "")]:
        following = graph.add(name, settings)
        last.link_to(following)
        last = following
    graph.configure()
    return graph


def filtered(graph: Any, frame: Any) -> Iterator[Any]:
    """What comes out of a chain when a frame, or the end (None), goes in."""
    import av

    graph.push(frame)
    with suppress(av.error.BlockingIOError, av.error.EOFError):  # it needs another frame, or has given all
        while True:
            yield graph.pull()


def in_order(frames: Iterable[Any], step: float) -> Iterator[tuple[float, Any]]:
    """(seconds, frame) in the order in which they come, at times that always grow.

    A time stamp that is missing, that is not after the one before, or that jumps ahead of all the next ones, gives way
    to one between its neighbours. Where the stamps begin anew, all that follow are moved behind the last.
    `step`: seconds between frames where no stamp says it.
    """
    source = iter(frames)
    queue = deque(islice(source, 2))
    before, shift = None, 0.0
    while queue:
        frame = queue.popleft()
        if not queue:
            queue.extend(islice(source, 1))
        own = None if frame.time is None else frame.time + shift
        following = None if not queue or queue[0].time is None else queue[0].time + shift
        if before is None:
            now = own or 0.0
        elif (
            own is not None
            and own > before
            and not (
                following is not None and before < following < own and next_after(own - shift, queue, source) is None
            )
        ):
            now, step = own, own - before
        elif found := next_after(before - shift, queue, source):
            now = before + min(step, (found[1] + shift - before) / (found[0] + 1))
        else:
            now = before + step
            shift += 0.0 if own is None else now - own
        yield now, frame
        before = now


def next_after(moment: float, queue: deque[Any], source: Iterator[Any]) -> tuple[int, float] | None:
    """How many frames ahead the first is that is shown after `moment`, and its time; None where no near one is."""
    for distance in range(AHEAD):
        if distance == len(queue):
            queue.extend(islice(source, 1))
        if distance == len(queue):
            return None
        if (time := queue[distance].time) is not None and time > moment:
            return distance + 1, time
    return None


def shortened(frames: Iterable[tuple[float, Any]], path: Any) -> Iterator[tuple[float, Any]]:
    """The same with no frame shown for longer than `LONGEST_HELD` seconds; a note says where one was."""
    before, cut = None, 0.0
    for moment, frame in frames:
        if before is not None and (held := moment - before) > LONGEST_HELD:
            note(f"{path} holds a frame for {held:g} s: it is made {LONGEST_HELD} s")
            cut += held - LONGEST_HELD
        yield moment - cut, frame
        before = moment


def stated_rate(stream: Any) -> float:
    """Frames a second as the file says, 0 where it says nothing."""
    return float(stream.average_rate or stream.guessed_rate or 0)


def rate_of(container: Any, stream: Any, path: Any) -> float:
    """Frames a second: as the file says or, where its packets are less or more than half as many, as most of them
    follow each other; at most `MOST_FPS`, and a note where they are more. Reads the container to its end."""
    import av

    rate, stamps = stated_rate(stream), list[int]()
    with suppress(av.error.FFmpegError):  # where the file is cut short
        stamps.extend(packet.pts for packet in container.demux(stream) if packet.pts is not None)
    steps = np.diff(np.sort(stamps)) * float(stream.time_base)
    if (moved := steps[steps > 0]).size:
        mean = float(np.minimum(moved, LONGEST_HELD).sum()) / len(steps)
        if not 0.5 <= rate * mean <= 2:
            usual = float(np.median(moved))
            rate = 1 / min(float(moved[np.abs(moved - usual) <= usual / 2].mean()), LONGEST_HELD)
    if rate > MOST_FPS:
        note(f"{path} has {rate:.4g} frames a second: it is read at {MOST_FPS}")
    return min(rate, float(MOST_FPS))


def seconds_of(container: Any, stream: Any) -> float:
    """From the beginning of a track's first frame to the end of its last one, 0 where nothing says it.

    By the track's last packets or, where these cannot be found, by what the file says, or else by all of its packets.
    Leaves the container at its end.
    """
    import av

    with suppress(av.error.FFmpegError):  # not every file lets itself be read from its end
        container.seek(END, stream=stream, backward=True)
        if (end := packets_end(container, stream)) > 0:
            return end
    if (said := said_seconds(container, stream)) > 0:
        return said
    container.seek(0)
    return packets_end(container, stream)


def packets_end(container: Any, stream: Any) -> float:
    """Seconds from the track's start to the end of the last of the packets that follow, 0 where there is none. A single
    time stamp far behind all others does not count."""
    import av

    found, start = list[tuple[float, float]](), start_of(stream)
    with suppress(av.error.FFmpegError):  # where the file is cut short
        for packet in container.demux(stream):
            if packet.pts is not None and not packet.is_discard:
                moment = float(packet.pts * packet.time_base) - start
                found.append((moment, moment + shown_for(packet, stream)))
    found.sort()
    if len(found) > 2:
        before, jump = (found[place][0] - found[place - 1][0] for place in (-2, -1))
        found = found[:-1] if jump > max(LONGEST_HELD, 2 * before) else found
    return max([0.0, *(end for _, end in found)])


def said_seconds(container: Any, stream: Any) -> float:
    """How long the file says that the track lasts, 0 where it does not."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    start = start_of(stream)
    for name in ("DURATION", "DURATION-eng"):  # Matroska's end of the track
        hours, _, rest = stream.metadata.get(name, "").partition(":")
        minutes, _, seconds = rest.partition(":")
        with suppress(ValueError):
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds) - start
    alone = len(container.streams) == 1
    return float(container.duration) / 1_000_000 - start if alone and container.duration else 0.0


def start_of(stream: Any) -> float:
    """When a track's first frame is shown, s."""
    return float((stream.start_time or 0) * stream.time_base)


def shown_for(item: Any, stream: Any) -> float:
    """Seconds that a frame or packet says that it lasts, if that is believable; else as all others."""
    own = float((item.duration or 0) * item.time_base)
    usual = 1 / (stated_rate(stream) or 25.0)
    return own if 0 < own <= max(LONGEST_HELD, usual) else usual


def is_transparent(frame: Any) -> bool:
    """Whether a frame has an alpha channel, or colours that may have one."""
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
