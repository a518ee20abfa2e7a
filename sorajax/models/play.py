"""A model of an interactive world: a transformer with an action per frame, over latents of single frames.

The autoencoder is that of another model, applied to every frame by itself: its temporal stride is 1, and an action
shows in the next frame. Text encoder and tokenizer are that model's, too, and frozen.
"""

from dataclasses import dataclass

from sorajax.models.dit import DiTConfig


@dataclass(frozen=True)
class PlayConfig:
    """Configuration of an interactive model, whose parameters are {"dit"}."""

    dit: DiTConfig
    base: str = "world"
    """Name or folder of the model whose text encoder, tokenizer and autoencoder are used."""
    autoencoder: str = ""
    """Folder of another autoencoder; "" is that of `base`."""
    size: tuple[int, int] = (64, 64)
    """Height and width of frames in pixels."""
    fps: float = 8.0
    """Frames, and actions, per second."""
    window: int = 9
    """Frames that the transformer sees: the next one, and those before it. If it is causal by frame
    (`dit.attended_frames`), the frames of a training step."""
    context_time: float = 0.05
    """The diffusion time of past frames, which are noised a little so that errors do not accumulate."""
    steps: int = 2
    """Evaluations for a frame."""
    temperature: float = 1.0
    """Standard deviation of the noise that a frame is generated from; training has 1. The frames before and the action
    determine the frame, so a lower one is more accurate."""

    def __post_init__(self) -> None:
        if self.dit.actions < 1:
            raise ValueError("the transformer reads no actions: set dit.actions to 1 or more")
        if self.steps < 1:
            raise ValueError(f"steps {self.steps} is not allowed: use 1 or more")
        if not 0 <= self.temperature <= 1:
            raise ValueError(f"temperature {self.temperature:g} is not allowed: use 0 to 1")
        if self.window < 2:
            raise ValueError(f"window {self.window} is not allowed: use 2 or more frames")
        if self.dit.attended_frames == 1 or self.dit.attended_frames > self.window:
            raise ValueError(
                f"attended_frames {self.dit.attended_frames} is not allowed: use 2 to the window, {self.window}, or 0"
            )
