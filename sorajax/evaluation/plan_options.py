"""Options of `sorajax.plan` for a model. This file does not import jax, so errors in options are reported at once."""

from dataclasses import dataclass
from typing import Literal

import tyro


@dataclass(frozen=True)
class Sampling:
    """The sampling to plan."""

    model: tyro.conf.Positional[str]
    """A model's folder, or Wan2.1-T2V-1.3B, Wan2.1-T2V-14B, Wan2.1-I2V-14B, Wan2.2-TI2V-5B, Wan2.2-T2V-A14B or
    Wan2.2-I2V-A14B."""
    size: str = ""
    """WIDTHxHEIGHT in pixels; the model's own by default."""
    frames: int = 0
    """Frames of the clip; 0 is the model's own length."""
    steps: int = 0
    """Denoising steps; 0 is the model's own number."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Type of the weights and matrix products."""
    quantize: Literal["int8", "fp8"] | None = None
    """Plan with the weights of transformer and text encoder in 8 bits."""
    mesh: str | None = None
    """How the devices split the work, as in `sorajax.sample`; by default chosen as it chooses."""
    stages: tuple[Literal["text", "vision", "encoder", "transformer", "decoder"], ...] = (
        "text",
        "vision",
        "encoder",
        "transformer",
        "decoder",
    )
    """Stages to compile, if the model has them; the decoder takes longest, minutes."""
