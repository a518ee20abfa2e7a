"""Converts models between layouts.

    python -m sorajax.convert Wan2.1-T2V-1.3B --out wan-1.3b                      either layout -> ours
    python -m sorajax.convert Wan-AI/Wan2.1-T2V-1.3B-Diffusers --out wan-1.3b     the same, from the hub
    python -m sorajax.convert wan-1.3b --to diffusers --out wan-1.3b-diffusers    and back, for other programs
    python -m sorajax.convert wan-1.3b --lora style.safetensors:0.8 --out styled  with an adapter in the weights

MODEL is a folder of open Wan weights (the diffusers layout or the original release), a folder that this command wrote,
a training run, an exported model, or a name on the Hugging Face hub. The first form writes Orbax checkpoints of type
--dtype, which open without a change of layout on any number of devices.

Exit codes: 0 done, 1 failed, 2 the request is invalid, 130 interrupted.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from sorajax.commands.failures import complain, notes_printed
from sorajax.commands.parsing import parse_options
from sorajax.errors import BadRequest


@dataclass(frozen=True)
class Options:
    """What to convert, and to which layout."""

    model: tyro.conf.Positional[str]
    """A folder, or a name on the hub."""
    out: Path
    """The folder to write; it must be empty, not exist, or hold an unfinished conversion to orbax."""
    to: Literal["orbax", "diffusers"] = "orbax"
    """orbax opens here without a change of layout; other programs read diffusers."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Type of the stored matrices: by default bfloat16 for open weights, and for other models the type that they have.
    The autoencoder, norms and small parameters stay float32."""
    lora: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """FILE[:SCALE]: an adapter to add to the weights, as in `sorajax.sample --lora`; may be given several times."""
    preset: str | None = None
    """Default steps, sampler, shift and guidance of the new model, as in `sorajax.sample --preset`."""
    mesh: str | None = None
    """How several devices hold the weights, as in `sorajax.sample --mesh`; the files are the same."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    try:
        options = parse_options(Options, "python -m sorajax.convert", argv, __doc__)
    except SystemExit as exit:  # tyro has shown the help
        return int(exit.code or 0)
    except BadRequest as error:
        return complain(error, 2)
    if options.out.exists() and not unfinished(options.out):
        return complain(f"{options.out} exists and is not empty: name a new folder with --out", 2)
    try:
        with notes_printed():
            convert(options)
    except (OSError, ValueError) as error:
        return complain(error, 1)
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return complain(
            f"the device's memory is full ({' '.join(str(error).split())[:200]}): use more devices, or set "
            "JAX_PLATFORMS=cpu to convert in the host's memory",
            1,
        )
    except KeyboardInterrupt:
        again = "" if unfinished(options.out) else "delete the folder and "
        return complain(f"interrupted: {again}run the same command again", 130)
    return 0


def unfinished(folder: Path) -> bool:
    """Whether a folder is empty or holds an unfinished conversion to orbax: its config is written last."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {"parts", "tokenizer.json"}


def convert(options: Options) -> None:
    """Converts the model and prints size and time. Raises OSError and ValueError, each on one line."""
    from sorajax.pretrained.converted import CONVERTED, save_converted
    from sorajax.pretrained.export import export_diffusers
    from sorajax.pretrained.hub import resolve_model
    from sorajax.pretrained.open import open_parts
    from sorajax.pretrained.wan_folder import is_open_model

    start, folder, dtype = time.monotonic(), resolve_model(options.model), options.dtype
    if dtype is None and is_open_model(folder) and not (folder / CONVERTED).is_dir():
        dtype = "bfloat16"  # for open weights; trained and converted models keep their type
    loras, mesh, preset = options.lora, options.mesh, options.preset
    config, parts, tokenizer, _ = open_parts(folder, dtype, loras, limited=False, mesh=mesh, preset=preset)
    if options.to == "orbax":
        save_converted(config, parts, tokenizer, options.out, options.dtype)
    else:
        export_diffusers(config, parts.read, tokenizer, options.out)
    size = sum(file.stat().st_size for file in options.out.rglob("*") if file.is_file())
    print(f"{options.out}: {size / 1e9:.2f} GB in {time.monotonic() - start:.1f} s")
