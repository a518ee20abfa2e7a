"""sorajax: an open, forkable Sora in JAX.

    import sorajax

    model = sorajax.load()
    videos = model("a red ball bounces on a grey floor")
    videos[0].save("ball.mp4")

The same from a terminal: `python -m sorajax.sample "a red ball bounces on a grey floor"`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sorajax.media.video import Video
    from sorajax.sampling.loading import load
    from sorajax.server.studio.notebook import studio

__version__ = "0.1.0"
__all__ = ["Video", "__version__", "load", "studio"]


def __getattr__(name: str) -> Any:
    """Imports names on first use, so that `import sorajax` stays light."""
    if name == "load":
        from sorajax.sampling.loading import load

        return load
    if name == "Video":
        from sorajax.media.video import Video

        return Video
    if name == "studio":
        from sorajax.server.studio.notebook import studio

        return studio
    raise AttributeError(f"module 'sorajax' has no attribute '{name}'")
