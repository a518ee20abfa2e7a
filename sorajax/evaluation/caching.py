"""Cost and error of step caching: skipped evaluations, and PSNR against the clip without a cache."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sorajax.diffusion.caching import MAG_THRESHOLD, Recording, calibrated
from sorajax.evaluation import markdown
from sorajax.evaluation.markdown import Measured, sampling_text
from sorajax.evaluation.options import Caching
from sorajax.evaluation.world import prompts
from sorajax.media.video import Frames, Video
from sorajax.models.conditioning import ConditioningFrames
from sorajax.sampling.calibration import write_calibration
from sorajax.sampling.loading import load
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.progress import Bar
from sorajax.sampling.request import CacheName, Request, parse_size
from sorajax.tasks.shaping import frame_of, with_size

PROMPT = "a red ball bounces on a grey floor"


class Counter(Bar):
    """Counts the computed evaluations, in place of a progress bar."""

    count = 0
    least = 0.0

    @property
    def visible(self) -> bool:
        return True

    def open(self, samplings: int, times: Float[np.ndarray, " steps+1"]) -> None:
        self.count = 0

    def report(self, time: Float[np.ndarray, ""]) -> None:
        self.count += 1


def measure(options: Caching) -> Measured:
    """Calibrates the model if requested, samples clips with and without a cache, and prints the table."""
    width, height = parse_size(options.size) if options.size else (None, None)
    pipeline = load(options.model, options.dtype, options.lora)
    texts = options.prompts or tuple(prompts("seen", options.num, options.seed)[2])
    base = Request(texts[:1], width=width, height=height, frames=options.frames, steps=options.steps)
    base, conditioning = with_first_frame(pipeline, base, options.image)
    if options.calibrate:
        prompt = texts[:1] if options.prompts else (PROMPT,)
        print(calibrate(pipeline, replace(base, prompts=prompt), conditioning))
    settings: list[tuple[CacheName, float | None]] = [
        ("mag", None),
        *(("mag", x) for x in options.mag),
        *(("easy", x) for x in options.easy),
    ]
    requests = [
        [
            replace(
                base,
                prompts=(text,),
                seed=options.seed + number,
                cache=None if threshold is None else name,
                cache_threshold=threshold,
            )
            for number, text in enumerate(texts)
        ]
        for name, threshold in settings
    ]
    for each in requests:
        pipeline.plan(each[0])  # a missing calibration is found before hours of sampling
    (whole, total), *others = [sampled(pipeline, each, conditioning) for each in requests]
    rows, figures = [], dict[str, Any]()
    for (name, threshold), (frames, count) in zip(settings[1:], others, strict=True):
        quality = np.mean([psnr(a, b) for a, b in zip(whole, frames, strict=True)])
        saved = 1 - count / total
        figures[f"{name} {threshold:g}"] = {"psnr": float(quality), "saved": saved, "evaluations": count / len(texts)}
        computed = f"{count / len(texts):.1f} of {total / len(texts):g}"
        rows.append([f"`{name}`", f"{threshold:g}", computed, f"{100 * saved:.0f}%", f"{quality:.1f} dB"])
    text = markdown.table(["cache", "threshold", "evaluations", "saved", "PSNR to the uncached clip"], rows)
    print(text, end="")
    said = f"{len(texts)} clips, seed {options.seed}, {sampling_text(pipeline.plan(requests[0][0]))}"
    return Measured(figures, dict.fromkeys(options.tables, text), said, markdown.folder_of(options.model))


def with_first_frame(
    pipeline: Pipeline, request: Request, image: Path | None
) -> tuple[Request, ConditioningFrames | None]:
    """The request in the size of a picture that clips begin with, and their conditioning. Raises BadRequest."""
    if image is None:
        return request, None
    still = Video.load(image)
    request = with_size(pipeline, request, still)
    return request, ConditioningFrames(head=frame_of(pipeline, request, still, "first"), exact=False)


def sampled(
    pipeline: Pipeline, requests: Iterable[Request], conditioning: ConditioningFrames | None = None
) -> tuple[list[Frames], int]:
    """The clips' frames, and the evaluations that were computed for them."""
    counter, frames, count = Counter(), list[Frames](), 0
    pipeline.bar = pipeline.denoiser.bar = counter
    for request in requests:
        frames += [video.frames for video in pipeline.stream(request, pipeline.plan(request), 1, conditioning)]
        jax.effects_barrier()  # reports may arrive after the frames
        count += counter.count
    pipeline.bar = pipeline.denoiser.bar = Bar()
    return frames, count


def calibrate(pipeline: Pipeline, request: Request, conditioning: ConditioningFrames | None = None) -> Any:
    """Calibrates MagCache by one clip and returns the file, beside the model's weights. Raises ValueError where the
    model is not in a folder, and OSError where the folder cannot be written to."""
    if pipeline.folder is None:
        raise ValueError(f"{pipeline.name} is in no folder: load it from one to calibrate it")
    magnitudes: dict[float, np.ndarray] = {}

    def record(time: np.ndarray, magnitude: np.ndarray) -> None:
        magnitudes[float(time)] = np.asarray(magnitude)

    settings = replace(pipeline.plan(request), cache=Recording(record), in_windows=False)
    for _ in pipeline.stream(request, settings, 1, conditioning):
        jax.effects_barrier()
    adapters = pipeline.load_options.get("adapters", ())
    return write_calibration(pipeline.folder, adapters, calibrated(magnitudes, threshold=MAG_THRESHOLD))


def psnr(a: Frames, b: Frames) -> float:
    """In dB between two clips; 99 for equal ones."""
    error = np.mean(np.square(a.astype(np.float64) - b))
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))
