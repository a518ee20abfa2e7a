"""Settings for adapters and models that are distilled to few steps, by the name of their method.

A preset replaces defaults of a model's config, so what a request states takes precedence. It is chosen by name, or
found from the names and the metadata of the adapters. Adapters that sorajax distilled state their own settings. This
file imports no jax, so a command line can report a mistake at once.

    lightning       lightx2v's adapters of Wan 2.1 and 2.2; times and Euler steps of its step-distillation scheduler
    causvid         CausVid's adapters (Yin et al. 2025); steps and shift of WanGP's guide
    self-forcing    Self-Forcing (Huang et al. 2025); times of its config
    anyflow         AnyFlow-Wan 2.1 (Gu et al. 2026), a flow map; steps of its examples, shift of its scheduler

The releases of CausVid and Self-Forcing add fresh noise between steps; here they are integrated by Euler's method, as
lightx2v does.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sorajax.errors import BadRequest, note
from sorajax.pretrained.peft import adapter_weights, json_metadata, metadata

if TYPE_CHECKING:
    from sorajax.models.sora import SoraConfig

NONE = "none"
"""In place of a name: no preset, not even one that the files name."""


@dataclass(frozen=True)
class Preset:
    """Defaults of sampling besides guidance, which is off, and the names of the adapters that they are for."""

    steps: int
    sampler: Literal["euler", "flow_map"]
    shift: float
    names: str
    """A regular expression for names in small letters, in which one `_` replaces all that is no letter or digit."""


FEW = r"(?<!\d)[248]_?steps?"
PRESETS = {
    "anyflow": Preset(4, "flow_map", 5.0, r"any_?flow"),
    "causvid": Preset(8, "euler", 7.0, r"caus_?vid"),
    "self-forcing": Preset(4, "euler", 5.0, r"self_?forcing"),
    "lightning": Preset(
        4, "euler", 5.0, rf"lightx2v|(^|_)lx2v|lightning.*{FEW}|{FEW}.*lightning|{FEW}_lora|step_?distill"
    ),
}
"""The first whose `names` match is found."""

GENERIC = r"(high|low)_noise(_model|_lora)?|adapter_model|pytorch_lora_weights|(diffusion_pytorch_)?model|lora|default"
"""File names that do not identify an adapter; the folder's name is used instead."""
TITLES = ("modelspec.title", "ss_output_name", "title", "name")
"""Entries of a file's metadata in which trainers write an adapter's name."""


def check_preset(preset: str | None) -> None:
    """Raises BadRequest for the name of no preset."""
    if preset not in (None, NONE, *PRESETS):
        raise BadRequest(f"preset {preset!r} is unknown: use {', '.join(sorted(PRESETS))}, or {NONE}")


def preset_of(adapter: Path) -> str | None:
    """The preset of an adapter by its metadata, or by the name of its file; None where neither names one. Raises
    ValueError for a damaged file."""
    path = adapter_weights(adapter)
    if (stated := json_metadata(path, "sorajax").get("preset")) in PRESETS:
        return str(stated)
    titles = [title for name in TITLES if (title := metadata(path).get(name))]
    stem = simplified(path.stem)
    file = f"{simplified(path.parent.name)}_{stem}" if re.fullmatch(GENERIC, stem) else stem
    for text in (*map(simplified, titles), file):
        if found := next((name for name, preset in PRESETS.items() if re.search(preset.names, text)), None):
            return found
    return None


def simplified(name: str) -> str:
    """A name as `Preset.names` reads it."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def with_preset(
    config: "SoraConfig", preset: str | None, adapters: Sequence[tuple[Path, float]], model: str
) -> "SoraConfig":
    """The config of a model with the defaults of a preset. None is the preset that the adapters' files name; a note
    lists its settings. adapters: each with its scale.

    Raises BadRequest for an unknown preset, for one that does not fit the model, and where adapters name several.
    """
    check_preset(preset)
    if preset == NONE:
        return config
    paths = [path for path, _ in adapters]
    if preset is None and (distilled := [path for path in paths if flow_map_of(path)]):
        if others := [path for path in paths if path != distilled[0] and (flow_map_of(path) or preset_of(path))]:
            raise BadRequest(
                f"{distilled[0]} makes {model} a flow map, and {others[0]} sets other steps: use one of them"
            )
        if (scale := dict(adapters)[distilled[0]]) != 1:
            note(f"{distilled[0]} makes a flow map at scale 1 only, and not at {scale:g}: clips of few steps suffer")
        return as_flow_map(config, distilled[0], model)
    if preset is not None:
        if reason := unfit(preset, config, model):
            raise BadRequest(f"preset {preset} {reason}")
        return applied(config, preset)
    found = {name: path for path in reversed(paths) if (name := preset_of(path))}
    if len(found) > 1:
        files = " and ".join(f"{path.name} ({name})" for name, path in found.items())
        raise BadRequest(f"the adapters are of several presets, {files}: choose one with --preset, or --preset {NONE}")
    for name, path in found.items():
        if reason := unfit(name, config, model):
            note(f"{path} looks like an adapter of the preset {name}, which {reason}")
            return config
        values = PRESETS[name]
        note(
            f"{path} is an adapter of the preset {name}, which sets {values.steps} steps, sampler {values.sampler}, "
            f"shift {values.shift:g} and guidance scale 1; --preset {NONE} keeps the model's own"
        )
        return applied(config, name)
    return config


def flow_map_of(adapter: Path) -> dict[str, Any]:
    """What `flow_map_settings` says of an adapter that makes a model a flow map; empty for others."""
    settings: dict[str, Any] = json_metadata(adapter_weights(adapter), "sorajax").get("flow_map") or {}
    return settings


def flow_map_settings(config: "SoraConfig") -> dict[str, Any]:
    """What an adapter's metadata say of the flow map `config` that the adapter makes of a model."""
    return {
        "until_blocks": config.dit.until_blocks,
        "steps": config.steps,
        "guidance_scale": config.guidance_scale,
        "negative_scale": config.negative_scale,
        "drop_conditioning_in_cfg": config.drop_conditioning_in_cfg,
    }


def as_flow_map(config: "SoraConfig", adapter: Path, model: str) -> "SoraConfig":
    """The config of a model with an adapter that makes it a flow map; a note lists the settings. Raises BadRequest for
    a model that is one, or has two experts."""
    if config.is_flow_map or config.boundary is not None:
        reason = "is one" if config.is_flow_map else "has two experts"
        raise BadRequest(f"{adapter} makes a flow map of a model, and {model} {reason}: leave out the adapter")
    values = flow_map_of(adapter)
    note(
        f"{adapter} makes {model} a flow map, which sets {values['steps']} steps, sampler flow_map and guidance scale "
        f"{values['guidance_scale']:g}; --preset {NONE} keeps the model's own"
    )
    dit = replace(config.dit, until_blocks=values.pop("until_blocks"))
    return replace(config, dit=dit, default_sampler="flow_map", **values)


def unfit(preset: str, config: "SoraConfig", model: str) -> str | None:
    """Why a preset does not fit a model, and the remedy; None where it fits."""
    if config.conditioning.frame_clocks:
        return f"is for Wan 2.1 and the pairs of experts of Wan 2.2, and {model} is neither: leave --preset out"
    needs_flow_map = PRESETS[preset].sampler == "flow_map"
    if needs_flow_map and not config.is_flow_map:
        return f"is for flow maps such as AnyFlow-Wan2.1-T2V-1.3B, and {model} is none: use another model or preset"
    if config.is_flow_map and not needs_flow_map:
        return f"is for models that are no flow maps, and {model} is one: leave --preset out"
    return None


def applied(config: "SoraConfig", preset: str) -> "SoraConfig":
    """The config with the preset's defaults; times are not rounded, as in the releases."""
    values = PRESETS[preset]
    return replace(
        config,
        preset=preset,
        steps=values.steps,
        default_sampler=values.sampler,
        shift=values.shift,
        guidance_scale=1.0,
        guidance_scale_low=None if config.boundary is None else 1.0,
        last_time=0.0,
        whole_times=False,
    )
