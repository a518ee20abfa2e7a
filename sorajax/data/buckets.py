"""Buckets: the clip shapes of a run. All clips of a batch have one shape; a run mixes several, from images to long
wide clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Bucket:
    """A clip shape: frames, and height and width in pixels; `batch_size` clips per step over all devices.

    `weight` is the share of steps with this bucket, relative to the other buckets' weights. `crop` is the side in
    pixels of a square crop around an object after rendering (for autoencoders, which do not need whole frames); 0 keeps
    the frame. `window_frames` is the number of frames of a clip that a transformer is trained on: the first one and
    consecutive others, as in a film's windows, which are conditioned on the film's first frame; 0 uses the whole clip.
    Raises ValueError for shapes that are not possible.
    """

    frames: int = 17
    height: int = 64
    width: int = 64
    batch_size: int = 32
    weight: float = 1.0
    crop: int = 0
    window_frames: int = 0

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames % 4 != 1:
            near = max(1, (self.frames - 1) // 4 * 4 + 1)
            raise ValueError(f"a bucket of {self.frames} frames: clips have 4n+1 frames, e.g. {near}")
        if min(self.height, self.width, self.batch_size) < 1:
            raise ValueError(f"bucket {self}: height, width and batch_size must be 1 or more")
        if not 0 <= self.crop <= min(self.height, self.width):
            raise ValueError(f"bucket {self}: crop must be 0 (none) or fit into the frame")
        if self.window_frames and not (self.window_frames % 4 == 1 and 5 <= self.window_frames < self.frames):
            raise ValueError(f"bucket {self}: window_frames must be 0, or 4n+1 from 5 to fewer than the clip has")
        if self.weight <= 0:
            raise ValueError(f"bucket {self}: its weight must be positive")

    @property
    def size(self) -> tuple[int, int, int]:
        """(frames, height, width)."""
        return self.frames, self.height, self.width

    @property
    def window(self) -> tuple[int, int, int]:
        """(frames, height, width) of the clips that a transformer is trained on."""
        return self.window_frames or self.frames, self.height, self.width


@dataclass(frozen=True)
class Phase:
    """A phase of a training run: `steps` batches with other `weights` of the buckets, one each; 0 excludes a bucket.

    The last phase lasts until the end of the run.
    """

    steps: int
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.steps < 1 or min(self.weights, default=0) < 0 or not sum(self.weights):
            raise ValueError(f"{self}: steps must be 1 or more, and some weight positive")


def check_phases(phases: Sequence[Phase], buckets: Sequence[Bucket]) -> None:
    """Raises ValueError for a phase whose number of weights is not that of the buckets."""
    if bad := [phase for phase in phases if len(phase.weights) != len(buckets)]:
        counts = f"{len(bad[0].weights)} weights, there are {len(buckets)} buckets"
        raise ValueError(f"a phase of data.phases has {counts}: give one for each")


def fill_token_budget(
    buckets: Sequence[Bucket], tokens: int, of: Callable[[Bucket], int], multiple: int = 1
) -> tuple[Bucket, ...]:
    """The buckets with the largest batch sizes within a budget of `tokens` per step; `of` counts the tokens of a clip.

    Batch sizes are multiples of `multiple`, the number of devices that split a batch. Raises ValueError where one clip
    per device exceeds the budget.
    """
    sized = []
    for bucket in buckets:
        size = tokens // of(bucket) // multiple * multiple
        if not size:
            needed = of(bucket) * multiple
            raise ValueError(
                f"bucket {stem(bucket)} needs {needed} tokens a step, and data.tokens is {tokens}: raise it"
            )
        sized.append(replace(bucket, batch_size=size))
    return tuple(sized)


def stem(bucket: Bucket) -> str:
    """A bucket's name in files and messages: FRAMESxHEIGHTxWIDTH."""
    return f"{bucket.frames}x{bucket.height}x{bucket.width}"
