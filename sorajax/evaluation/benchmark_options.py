"""Options of `sorajax.benchmark`. This file does not import jax, so errors in options are reported at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

SAMPLED = ("clip", "cost", "films")
"""Measurements that sample with a model."""


@dataclass(frozen=True)
class Benchmark:
    """What to measure, and how many times."""

    config: tyro.conf.Positional[str]
    """`reference`, `gpu`, `clip`, `cost`, `films`, `serve`, `dit-12x384`, `wan2.1-1.3b`, or an experiment file, e.g.
    configs/world_dit.py."""
    batch: int | None = None
    """Clips per training step; by default the experiment's own, 1 for a named shape."""
    repeats: int = 10
    """Timed calls, after one untimed call."""
    part: tuple[Literal["dit", "dit12", "vae", "vae22", "text", "opening"], ...] = ("dit", "vae", "vae22", "text")
    """For `reference`, the parts to compare: Wan's transformer with 4 or 12 blocks, its autoencoders (2.1 and 2.2),
    UMT5; or the time to open a transformer of full width with 8 blocks (3 GB of temporary files)."""
    eager: bool = False
    """For `reference`: only eager mode, because torch.compile takes minutes."""
    remat: bool = False
    """Measure only the training step, with each remat policy of the transformer; its blocks are scanned."""
    loader: bool = False
    """Measure only the experiment's data loader; its data must exist."""
    mesh: str = ""
    """Mesh axes of all programs, e.g. data=2,fsdp=4; one device by default, and for `clip`, `cost` and `films` the mesh
    that sampling chooses."""
    model: str = "world"
    """For `clip`, `cost` and `films`: `world`, `world-fast`, or the folder of a training run or an exported model."""
    seconds: tuple[float, ...] = (4, 8, 15, 30, 60)
    """For `films`: their lengths in seconds."""
    profile: Path | None = None
    """A folder for a trace of an experiment's or a named shape's programs, for XProf, TensorBoard or Perfetto."""
    json: Path | None = None
    """A file for the figures; an existing one is replaced."""
    markdown: tuple[Path, ...] = ()
    """Pages for the tables, which replace the text between the lines `<!-- measured: NAME -->` and
    `<!-- end: NAME -->`."""

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that the command can write into pages."""
        if self.config == "serve":
            return (self.config,)
        if self.config in SAMPLED:
            names = (self.config, "importing") if self.config == "clip" else (self.config,)
            return {"world": names, "world-fast": (f"{self.config}-fast",)}.get(self.model, ())
        if self.config == "reference":
            return ("-".join(("reference", *self.part)),)
        return () if self.loader else ("remat",) if self.remat else ("streamed",)
