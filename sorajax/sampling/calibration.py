"""MagCache's calibration of a model, kept beside its weights; it is refused for any other model."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from sorajax.diffusion.caching import EASY_THRESHOLD, MAG_THRESHOLD, Cache, EasyCache, MagCache
from sorajax.errors import BadRequest
from sorajax.files import write_atomically
from sorajax.models.folder import CONFIG
from sorajax.pretrained.converted import CONVERTED
from sorajax.sampling.request import Request

FILE = "mag_cache.json"
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
SAMPLE = 2**16
"""Bytes that are read at the beginning, in the middle and at the end of each file of weights."""


def identity_of(folder: Path, adapters: Sequence[str] = ()) -> str:
    """A hash that identifies a model: of names, sizes and samples of its weight files and adapters; for a converted
    model of its config, which has signatures of the weights."""
    total = sha256(json.dumps([Path(adapter).name for adapter in adapters]).encode())
    if (folder / CONVERTED).is_dir():
        total.update((folder / CONFIG).read_bytes())
        return total.hexdigest()[:16]
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
        size = path.stat().st_size
        total.update(f"{path.relative_to(folder)} {size}".encode())
        with path.open("rb") as file:
            for place in (0, size // 2, max(0, size - SAMPLE)):
                file.seek(place)
                total.update(file.read(SAMPLE))
    return total.hexdigest()[:16]


def write_calibration(folder: Path, adapters: Sequence[str], cache: MagCache) -> Path:
    """Writes the calibration of the model in a folder, and returns the file."""
    file = folder / FILE
    values = {"model": identity_of(folder, adapters), "times": cache.times, "ratios": cache.ratios}
    write_atomically(file, lambda path: path.write_text(json.dumps(values) + "\n"))
    return file


def read_calibration(folder: Path, adapters: Sequence[str], name: str, threshold: float) -> MagCache:
    """The calibration of the model in a folder. Raises BadRequest where there is none, it is damaged, or it belongs to
    another model."""
    options = " ".join(["--model", name, *(f"--lora {adapter}" for adapter in adapters)])
    file, remedy = folder / FILE, f"run python -m sorajax.evaluate caching --calibrate {options}"
    try:
        values: Any = json.loads(file.read_text())
        model, times, ratios = values["model"], tuple(map(float, values["times"])), tuple(map(float, values["ratios"]))
    except FileNotFoundError as error:
        raise BadRequest(f"{name} is not calibrated for --cache mag: {remedy}, or use --cache easy") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadRequest(f"{file} cannot be read ({type(error).__name__}): {remedy}") from error
    if len(times) != len(ratios) or len(times) < 2 or min(ratios) <= 0:
        raise BadRequest(f"{file} has {len(times)} times and {len(ratios)} ratios: {remedy}")
    if model != identity_of(folder, adapters):
        raise BadRequest(f"{file} was calibrated for another model or other adapters: {remedy}, or use --cache easy")
    return MagCache(times, ratios, threshold)


def step_cache(request: Request, folder: Path | None, load_options: Mapping[str, Any], name: str) -> Cache | None:
    """The step cache that a request names. Raises BadRequest where it is MagCache and the model is not calibrated."""
    if request.cache is None:
        return None
    if request.cache == "easy":
        return EasyCache(request.cache_threshold or EASY_THRESHOLD)
    if folder is None:
        raise BadRequest(f"{name} is in no folder, where --cache mag looks for its calibration: use --cache easy")
    adapters = load_options.get("adapters", ())
    return read_calibration(folder, adapters, name, request.cache_threshold or MAG_THRESHOLD)
