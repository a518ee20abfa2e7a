"""Makes the films of the measured example in docs/training.md:

    python -m tests.data.videos.trial films 300

Clips of the world in five kinds of file (sizes, rates, codecs, lengths), each with its caption, and four broken files.
"""

import sys
from pathlib import Path

import av
import jax
import numpy as np

from sorajax.data.worlds import parts_of
from sorajax.world.captions import captions
from sorajax.world.draw import draw
from sorajax.world.scenes import WorldMix, sample_scenes

KINDS = (
    ("mp4", "libx264", {}, (96, 96), 24, 4.0),
    ("mp4", "libx265", {"x265-params": "log-level=none"}, (128, 96), 30, 3.0),
    ("webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}, (96, 128), 25, 2.5),
    ("mkv", "libx264", {}, (120, 90), 12, 6.0),
    ("mp4", "libx264", {}, (64, 64), 8, 2.2),
)
"""Suffix, codec and its options, (width, height), frames per second, seconds."""
MIX = WorldMix(two_objects=0, wall=0, two_shots=0.05, camera=0.05, style=0)


def main(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for kind, (suffix, codec, options, (width, height), rate, seconds) in enumerate(KINDS):
        scenes = sample_scenes(rng, count // len(KINDS), "train", MIX)
        frames = int(seconds * rate)
        render = jax.jit(
            lambda scene, size=(frames, height, width), rate=rate: draw(
                scene, *size, fps=float(rate), needs=parts_of(MIX)
            )[0]
        )
        for number, caption in enumerate(captions(scenes, rng, "mixed")):
            clip = np.asarray(render(jax.tree.map(lambda leaf, n=number: leaf[n : n + 1], scenes)))[0]
            path = folder / f"{kind}{number:04d}.{suffix}"
            with av.open(str(path), "w") as container:
                stream = container.add_stream(codec, rate=rate, options=options)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                for pixels in np.clip(np.round((clip + 1) * 127.5), 0, 255).astype(np.uint8):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                container.mux(stream.encode())
            path.with_suffix(".txt").write_text(caption)
    (folder / "junk.mp4").write_bytes(b"not a video" * 100)
    (folder / "empty.mp4").write_bytes(b"")
    for name, whole in (("cut.mp4", "00000.mp4"), ("cut.mkv", "30000.mkv")):
        content = (folder / whole).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
