"""Decodes users' files in a separate process with limits on memory and time: a malicious file can only end that
process.

    python -m sorajax.server.decoding FILE OUT LIMITS        (OUT: a .npy file for the frames, or - to check the file)
"""

import json
import math
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sorajax.errors import BadRequest

SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", ".png"),
    (0, b"\xff\xd8\xff", ".jpg"),
    (0, b"GIF8", ".gif"),
    (8, b"WEBP", ".webp"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1a\x45\xdf\xa3", ".webm"),
    (8, b"AVI ", ".avi"),
)
"""(offset, bytes, suffix) of the accepted formats. Others are refused: a playlist, for instance, names further
files."""
GRACE = 20.0  # seconds beyond the limit: the process starts, imports and writes


@dataclass(frozen=True)
class Limits:
    """Limits on an uploaded file. bytes; pixels of a frame; frames; seconds of a clip; memory in bytes and
    processor_seconds of the process that decodes it."""

    bytes: int = 100 * 2**20
    pixels: int = 16 * 2**20
    frames: int = 4000
    seconds: float = 120.0
    memory: int = 3 * 2**30
    processor_seconds: int = 60


@dataclass(frozen=True)
class Found:
    """A decoded file; with one frame a picture."""

    frames: int
    width: int
    height: int
    fps: float
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """0 for a picture."""
        return 0.0 if self.frames == 1 else self.frames / self.fps


def suffix_of(head: bytes) -> str:
    """The suffix of a file that begins with these bytes. Raises BadRequest for a format that is not taken."""
    for offset, mark, suffix in SIGNATURES:
        if head[offset : offset + len(mark)] == mark:
            return suffix
    raise BadRequest("the file is no picture or clip that is read here: use png, jpeg, webp, gif, mp4, webm or avi")


def check_file(path: Path, limits: Limits) -> Found:
    """The content of a file. Raises BadRequest for one that cannot be decoded within the limits."""
    return run(path, "-", limits)


def read_file(path: Path, limits: Limits, start: float = 0.0, end: float = math.inf, behind: str = "white") -> Any:
    """The `Video` in a file, or its part from `start` to `end` seconds; `behind` as in `Video.load`. Raises BadRequest
    as `check_file`."""
    from sorajax.media.video import Video

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "frames.npy"
        found = run(path, str(out), limits, start, end, behind)
        return Video(np.load(out), found.fps, found.metadata, source=path)


def run(
    path: Path, out: str, limits: Limits, start: float = 0.0, end: float = math.inf, behind: str = "white"
) -> Found:
    """Decodes a file in another process."""
    values = json.dumps({**asdict(limits), "start": start, "end": None if end == math.inf else end, "behind": behind})
    command = [sys.executable, "-m", "sorajax.server.decoding", str(path), out, values]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limits.processor_seconds + GRACE)
        answer = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired as error:
        raise BadRequest("the file takes too long to decode: give a shorter or smaller one") from error
    except (IndexError, ValueError) as error:
        raise BadRequest("the file takes too much memory or time to decode, or is damaged") from error
    if "error" in answer:
        raise BadRequest(answer["error"])
    return Found(**answer)


def main(path: str, out: str, values: str) -> None:
    """The process that decodes."""
    settings = json.loads(values)
    start, end, behind = (settings.pop(name) for name in ("start", "end", "behind"))
    limits = Limits(**settings)
    limit_process(limits.memory, limits.processor_seconds)
    try:
        answer = decode(Path(path), out, limits, start, math.inf if end is None else end, behind)
    except MemoryError:
        answer = {"error": "the file takes too much memory to decode: give a shorter or smaller one"}
    except (ValueError, OSError) as error:
        text = " ".join(str(error).replace(str(path), "the file").split())
        answer = {"error": text[:300] or "the file cannot be decoded"}
    print(json.dumps(answer))


def limit_process(memory: int, processor_seconds: int) -> None:
    """Limits this process in bytes of memory and seconds of computing."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (processor_seconds, processor_seconds))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except ImportError:  # not on Windows
        pass


def decode(path: Path, out: str, limits: Limits, start: float, end: float, behind: str) -> dict[str, Any]:
    """Decodes the file and checks its limits. Raises ValueError."""
    import warnings

    from sorajax.errors import Note
    from sorajax.media.video import Video

    warnings.simplefilter("ignore", Note)
    video = Video.load(path, behind, start=start, end=min(end, start + limits.seconds + 1))
    count, height, width, _ = video.frames.shape
    if height * width > limits.pixels:
        raise ValueError(f"{width}x{height} pixels are too many: use at most {limits.pixels}")
    if count > limits.frames or (count > 1 and video.seconds > limits.seconds):
        longest = f"{limits.seconds:g} seconds and {limits.frames} frames"
        raise ValueError(f"a clip of {count} frames, {video.seconds:g} seconds, is too long: use at most {longest}")
    if out != "-":
        np.save(out, video.frames)
    return {"frames": count, "width": width, "height": height, "fps": video.fps, "metadata": video.metadata}


if __name__ == "__main__":
    main(*sys.argv[1:])
