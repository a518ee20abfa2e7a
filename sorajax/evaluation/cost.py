"""What a clip costs in a process that is already running: each part of it, the whole, and its file."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sorajax.evaluation import markdown
from sorajax.evaluation.benchmark_options import Benchmark
from sorajax.evaluation.markdown import Measured, sampling_text
from sorajax.evaluation.shell import PROMPT
from sorajax.evaluation.speed import alternating
from sorajax.media.video import Video
from sorajax.models.folder import model_folder
from sorajax.safety.policy import Policy
from sorajax.sampling.loading import load
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import Request

BARS = {"decoding": 0.04, "clip": 0.08}
"""Targets of the project in seconds, with a model of 4 evaluations."""


def measure(options: Benchmark) -> Measured:
    """Median seconds of the parts of a clip, in turns, and of the whole."""
    pipeline = load(options.model, mesh=options.mesh or None, policy=Policy())  # whatever the user has switched off
    settings = pipeline.plan(Request((PROMPT,)))
    with tempfile.TemporaryDirectory() as folder:
        seconds = alternating(parts_of(pipeline, Path(folder)), options.repeats)
    count = settings.steps * (2 if settings.guided else 1)
    named = {
        "text": "encoding a new prompt",
        "sampling": f"sampling, {count} evaluations of the transformer",
        "decoding": "decoding, to frames in memory",
        "clip": "`pipeline(prompt)` with a known prompt",
        "file": "saving it as mp4, without marks",
        "signed": "saving it as mp4, checked, marked and signed",
    }
    bars = BARS if pipeline.config.is_flow_map else {}
    rows = [
        [text, f"{1000 * seconds[name]:.0f} ms", f"at most {1000 * bars[name]:.0f} ms" if name in bars else "-"]
        for name, text in named.items()
    ]
    for text, measured, _ in rows:
        print(f"{text}: {measured}")
    size = f"{settings.width}x{settings.height}, {settings.frames} frames"
    said = f"{size}, median of {options.repeats}, in turns; seed 0, {sampling_text(settings)}"
    tables = dict.fromkeys(options.tables, markdown.table(["part of a clip", "measured", "bar"], rows))
    return Measured({"cost": seconds}, tables, said, model_folder(options.model))


def parts_of(pipeline: Pipeline, folder: Path) -> dict[str, Callable[[], Any]]:
    """Calls that each do one part of the work for a clip; files are written into the folder."""
    settings, clip = pipeline.plan(Request((PROMPT,))), (PROMPT, 0)
    times = settings.times()
    known, extra = pipeline.denoiser.inputs(None, (1, *settings.latent))
    (video,) = pipeline(PROMPT)
    plain = Video(video.frames, video.fps, video.metadata)

    def sample() -> Any:
        return pipeline.denoiser.sample([clip], settings, times, known, extra)

    def encode() -> None:
        pipeline.prompts.contexts.pop(PROMPT, None)
        pipeline.prompts.encode([PROMPT])

    latents = sample()
    return {
        "text": encode,
        "sampling": sample,
        "decoding": lambda: pipeline.codec.decode(latents, settings.height, settings.width),
        "clip": lambda: pipeline(PROMPT),
        "file": lambda: plain.save(folder / "plain.mp4", overwrite=True),
        "signed": lambda: video.save(folder / "signed.mp4", overwrite=True),
    }
