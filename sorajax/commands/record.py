"""Records plays of the game Craftax-Classic, on which configs/play_vae.py and configs/play_dit.py train.

    python -m sorajax.record latents/craftax                        1600 clips of 33 frames, and their latents
    python -m sorajax.record latents/craftax --vae runs/play_vae    encodes them anew, by another autoencoder

A random player holds keys. The folder holds frames, actions, prompts and latents; what was recorded is not recorded
again.

Needs the extra `craftax`. Exit codes: 0 done, 1 failed, 2 the request is invalid, 130 interrupted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from sorajax.commands.failures import complain
from sorajax.commands.parsing import parse_options
from sorajax.errors import BadRequest


@dataclass(frozen=True)
class Options:
    """What to record."""

    folder: tyro.conf.Positional[Path]
    """The folder for frames, actions and latents."""
    plays: int = 1600
    """Clips."""
    frames: int = 33
    """Frames of each."""
    vae: str = "world"
    """The autoencoder that encodes every frame: `world`, the one in the package, or the folder of a run of
    configs/play_vae.py."""
    seed: int = 0
    """Seed of games and keys, 0 or more."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        options = parse_options(Options, "python -m sorajax.record", argv, __doc__)
        check(options)
        record(options)
    except SystemExit as exit:  # tyro has shown the help
        return exit.code if isinstance(exit.code, int) else 1
    except BadRequest as error:
        return complain(error, 2)
    except (OSError, ValueError) as error:
        return complain(error, 1)
    except KeyboardInterrupt:
        return complain("interrupted", 130)
    return 0


def check(options: Options) -> None:
    """Raises BadRequest for options that are wrong, before anything is loaded."""
    for name, least in (("plays", 1), ("frames", 2), ("seed", 0)):
        if (value := getattr(options, name)) < least:
            raise BadRequest(f"--{name} {value} is not allowed: use at least {least}")


def record(options: Options) -> None:
    """Writes the folder, and prints its path."""
    from sorajax.data.craftax import record as recorded
    from sorajax.data.plays import encode_frames
    from sorajax.models.folder import BUNDLED
    from sorajax.training.autoencoder import frame_encoder

    encode = frame_encoder(BUNDLED.get(options.vae, Path(options.vae)))
    recorded(options.folder, options.plays, options.frames, options.seed)
    encode_frames(options.folder, encode)
    print(options.folder)
