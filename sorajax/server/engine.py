"""Makes files from jobs with a model, by the tasks that `sorajax.tasks` and the command line use."""

import io
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from sorajax.diffusion.fixed_frames import Velocity
from sorajax.errors import Note
from sorajax.media.video import Film, Video, sidecar
from sorajax.models.folder import to_json
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.pixels import fit_mask
from sorajax.sampling.preview import colour_map, data_estimate
from sorajax.sampling.progress import Bar
from sorajax.sampling.request import Request, StoryboardScene, parse_span
from sorajax.sampling.store import WindowStore
from sorajax.server.content import Content
from sorajax.server.decoding import Limits, read_file
from sorajax.server.jobs import Job, Result
from sorajax.server.studio.previews import Previews
from sorajax.tasks.table import TASKS

SPRITES, COLUMNS = 16, 4
SPRITE_WIDTH = 160  # pixels, at most
MOST_PROGRAMS = 100  # compiled ones in memory; jax's cache on disk has all of them

Report = Callable[[float], None]
"""Receives the finished share of the work, 0 to 1. An exception that it raises ends the sampling."""


class Steps(Bar):
    """Reports each denoising step instead of drawing a bar."""

    least = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.report_share: Report | None = None
        self.show: Callable[[Any], None] | None = None
        self.stopped: BaseException | None = None
        self.total = 1

    @property
    def visible(self) -> bool:
        """Always true, so that only programs with reports are compiled."""
        return True

    def watch(self, velocity: Velocity) -> Velocity:
        """The same velocity, whose evaluations report the step and a preview of the latents."""
        moving = super().watch(velocity)

        def wrapped(x: Float[Array, "b t h w c"], time: Float[Array, "b t"], *until: Float[Array, "b t"]) -> Any:
            found = moving(x, time, *until)
            jax.debug.callback(self.look, data_estimate(x, time, found))
            return found

        return moving if self.show is None else wrapped

    def look(self, latents: Float[np.ndarray, "b t h w c"]) -> None:
        """Makes a preview of latents."""
        if self.show is not None:
            self.show(latents)

    def check(self) -> None:
        """Raises the exception of an earlier report, if any, because the compiled program may hide it."""
        if self.stopped is not None:
            raise self.stopped

    def open(self, samplings: int, times: Float[np.ndarray, " steps+1"]) -> None:
        self.times, self.before, self.total = np.asarray(times), 0, max(1, samplings * (len(times) - 1))

    def report(self, time: Float[np.ndarray, ""]) -> None:
        self._move(self.before + int((self.times > np.asarray(time)).sum()))

    def _move(self, done: int) -> None:
        if self.report_share is None:
            return
        try:
            self.report_share(min(1.0, done / self.total))
        except Exception as error:
            self.stopped = error
            raise

    @contextmanager
    def reporting(self, report: Report) -> Iterator[None]:
        """Reports to `report`, whose exception ends the sampling and is raised here, not as one of XLA."""
        self.report_share, self.stopped = report, None
        try:
            yield
        except Exception as error:
            if self.stopped is not None:
                raise self.stopped from error
            raise
        finally:
            if self.report_share is report:  # not of later jobs, where a generator of `Engine.run` is closed late
                self.report_share = None
        self.check()


@dataclass(frozen=True)
class FilmStores:
    """The windows of a job's film on disk."""

    folder: Path
    resume: bool = True

    def __call__(self, number: int, request: Any) -> WindowStore:
        try:
            return WindowStore(self.folder, request, True)
        except ValueError:  # of another model, which served before
            return WindowStore(self.folder, request, False)


class Engine:
    """A pipeline with the stores of its inputs and results."""

    def __init__(
        self, pipeline: Pipeline, content: Content, windows: Path, limits: Limits, previews: Previews | None = None
    ):
        """windows: folder of the windows of unfinished films. previews: where videos are shown while they are sampled;
        None shows none."""
        self.pipeline, self.content, self.windows, self.limits = pipeline, content, windows, limits
        self.previews = previews
        if previews is not None:
            self.colours = colour_map(pipeline.codec, windows.parent)
        self.shown: list[str] = []
        # The pipeline's compiled programs report to the steps that they were compiled with.
        self.steps = pipeline.bar if isinstance(pipeline.bar, Steps) else Steps()
        pipeline.bar = pipeline.denoiser.bar = self.steps

    @property
    def name(self) -> str:
        """The model's name."""
        return self.pipeline.name

    @property
    def config(self) -> dict[str, Any]:
        """The model's config, as JSON values."""
        values: dict[str, Any] = to_json(self.pipeline.config)
        return values

    def run(self, jobs: Sequence[Job], report: Report) -> Iterator[tuple[Job, Result]]:
        """Samples jobs, several if they have one shape, and yields each when its files are stored. Raises what
        `report` raises, BadRequest for a request that the model cannot meet, OSError for a full disk."""
        first, task = jobs[0], TASKS[jobs[0].task]
        self._bound()
        request = Request(**{**first.spec["request"], "prompts": tuple(first.spec["request"]["prompts"])})
        if len(jobs) > 1:
            settings = [job.spec["request"] for job in jobs]
            prompts, seeds = (tuple(one["prompts"][0] for one in settings), tuple(one["seed"] for one in settings))
            request = replace(request, prompts=prompts, seed=0, seeds=seeds)
        self.shown, self.steps.show = [job.id for job in jobs], None if self.previews is None else self._show
        showing = nullcontext() if self.previews is None else self.previews.during(self.shown)
        with (
            showing,
            self.steps.reporting(report),
            warnings.catch_warnings(),
            tempfile.TemporaryDirectory() as folder,
        ):
            warnings.simplefilter("ignore", Note)
            inputs = self._inputs(first)
            film = task.resumable and (first.task == "storyboard" or self.pipeline.plan(request).in_windows)
            stores = FilmStores(self.windows / first.id) if film else None
            videos = task.run(self.pipeline, request, inputs, self._options(first, inputs), stores)
            for job, video in zip(jobs, videos, strict=True):
                result = self._stored(job, video, Path(folder))
                self.steps.check()
                yield job, result

    def _bound(self) -> None:
        """Bounds memory and disk, however many shapes are requested and files are used."""
        self.content.forget_copies()
        compiled = self.pipeline.codec.programs.compiled
        if len(compiled) > MOST_PROGRAMS:
            compiled.clear()

    def _show(self, latents: Float[np.ndarray, "b t h w c"]) -> None:
        """Stores previews of the jobs in progress, if the last ones are old enough."""
        if self.previews is not None and self.previews.due:
            images = [animated(self.colours.colours(np.asarray(one))) for one in latents[: len(self.shown)]]
            self.previews.put(self.shown[: len(images)], images)

    def _inputs(self, job: Job) -> list[Any]:
        """The inputs of a job's task: videos, or scenes."""
        spec = job.spec
        if scenes := spec.get("scenes"):
            return [tuple(self._scene(scene) for scene in scenes)]
        spans = [spec.get("trim")] + [None] * len(spec["inputs"])
        return [self._video(entry, span) for entry, span in zip(spec["inputs"], spans, strict=False)]

    def _scene(self, scene: dict[str, Any]) -> StoryboardScene:
        picture = None if scene["image"] is None else self._video(scene["image"])
        first = None if picture is None else replace(picture, frames=picture.frames[:1])
        return StoryboardScene(scene["prompt"], scene["seconds"], scene["join"], first)

    def _video(self, entry: dict[str, Any], span: str | None = None, behind: str = "white") -> Video:
        """A picture or clip, over the colour `behind`; a user's file is decoded in a process of its own."""
        start, end = (0.0, math.inf) if span is None else parse_span(span)
        path = self.content.path(entry["content"])
        if entry["own"]:
            return Video.load(path, start=start, end=end)
        video: Video = read_file(path, self.limits, start, end, behind)
        return video

    def _options(self, job: Job, inputs: list[Any]) -> dict[str, Any]:
        """The task's options, as its function takes them."""
        options = dict(job.spec["options"])
        if options.get("gap") is not None:
            options["gap"] = parse_span(options["gap"])
        if options.get("mask") is not None:
            _, height, width, _ = inputs[0].frames.shape
            picture = self._video(options["mask"], behind="black").frames[0]
            options["mask"] = fit_mask(picture.mean(-1) > 127, width, height)
        return options

    def _stored(self, job: Job, video: Video | Film, folder: Path) -> Result:
        """Writes a video and its previews, and stores them."""
        described = replace(video, metadata={**video.metadata, **metadata_of(job)})
        return stored(self.content, described, folder / f"{job.id}.mp4")


def stored(content: Content, video: Video | Film, path: Path) -> Result:
    """Writes a video and its previews beside a path, and stores them."""
    video.save(path)
    sidecar(path).unlink()
    described = video.described()
    count, fps, width, height = (described[name] for name in ("frames", "fps", "width", "height"))
    chosen = sorted({round(index * (count - 1) / (SPRITES - 1)) for index in range(SPRITES)})
    film = isinstance(video, Film)  # its frames are not in memory
    frames = [frame_at(path, index, fps) if film else video.frames[index] for index in chosen]
    files = (path, *write_previews(path, frames))
    with ThreadPoolExecutor(len(files)) as pool:  # each waits for the disk
        file, thumbnail, sheet = pool.map(lambda one: content.put(one, one.suffix), files)
    return Result(file, thumbnail, sheet, count / fps, f"{width}x{height}")


def metadata_of(job: Job) -> dict[str, Any]:
    """A job's task, inputs and options in its clip's metadata; files are named by their content."""

    def named(value: Any) -> Any:
        if isinstance(value, dict):
            return value["content"] if "content" in value else {name: named(one) for name, one in value.items()}
        return [named(one) for one in value] if isinstance(value, list) else value

    spec, task = job.spec, TASKS[job.task]
    request, options = spec["request"], {name: named(value) for name, value in spec["options"].items()}
    inputs = [named(spec["scenes"])] if spec.get("scenes") else named(spec["inputs"])
    entries = task.metadata(inputs, options, spec.get("trim"), request.get("seconds"), request.get("frames"))
    return entries if job.task == "text" else {"task": job.task, **entries}


def write_previews(path: Path, frames: Sequence[Any]) -> tuple[Path, Path]:
    """A thumbnail, the middle one of the frames as webp, and a sheet of all as jpeg, beside a video."""
    from PIL import Image

    thumbnail, sheet = path.with_suffix(".webp"), path.with_suffix(".jpg")
    Image.fromarray(frames[len(frames) // 2]).save(thumbnail, quality=90)
    height, width, _ = frames[0].shape
    scale = min(1.0, SPRITE_WIDTH / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    columns = min(COLUMNS, len(frames))
    whole = Image.new("RGB", (columns * size[0], -(-len(frames) // columns) * size[1]))
    for number, frame in enumerate(frames):
        whole.paste(Image.fromarray(frame).resize(size), (number % columns * size[0], number // columns * size[1]))
    whole.save(sheet, quality=90)
    return thumbnail, sheet


def animated(frames: UInt8[np.ndarray, "t h w 3"]) -> bytes:
    """Frames as an animated webp, of a second and a half."""
    from PIL import Image

    out = io.BytesIO()
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(out, "webp", save_all=True, append_images=others, duration=1500 // len(frames), loop=0, quality=80)
    return out.getvalue()


def frame_at(path: Path, index: int, fps: float) -> Any:
    """A frame of a video file."""
    return Video.load(path, start=index / fps, end=(index + 1) / fps).frames[0]
