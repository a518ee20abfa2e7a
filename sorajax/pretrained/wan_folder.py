"""Opens folders of open Wan weights: detects the layout, builds the config, and returns parts that are read on demand.

    the diffusers layout     model_index.json, transformer/, transformer_2/, vae/, text_encoder/, tokenizer/, ...
    the original release     config.json or high_noise_model/ and low_noise_model/, Wan2.x_VAE, models_t5_..., google/

Supports Wan 2.1 text to video and image to video, Wan 2.2 text-and-image to video (5B) and with two experts (A14B), and
AnyFlow-Wan 2.1, a flow map, in the diffusers layout.
`conventions.py` has their sampling settings (steps, guidance, frame rate).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sorajax.models.dit import DiTConfig
from sorajax.models.folder import from_json, to_json
from sorajax.models.sora import SoraConfig, init_dit, init_text, init_vae, init_vision
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig
from sorajax.models.vision import VisionConfig
from sorajax.pretrained import original, wan
from sorajax.pretrained.conventions import MEAN, STD, Dtype, conventions, expert_boundary, is_known, known_config
from sorajax.pretrained.converted import CONVERTED, open_converted
from sorajax.pretrained.part import LazyModel, Part
from sorajax.pretrained.pickles import PICKLES, PickledTensors
from sorajax.pretrained.safetensors import Tensors
from sorajax.pretrained.sentencepiece import tokenizer_in
from sorajax.pretrained.table import Row

INDEX = "model_index.json"
PIPELINES = ("WanPipeline", "WanImageToVideoPipeline", "AnyFlowPipeline", "WanAnyFlowPipeline")
AUTOENCODER = "AutoencoderKLWan"
RELEASED = ("t2v", "i2v", "ti2v")
"""Model types in the configs of the original release."""
ORIGINAL_VAE = ("Wan2.1_VAE", "Wan2.2_VAE")
WEIGHTS = "diffusion_pytorch_model"
"""Stem of the transformers' weight files."""


def is_open_model(folder: Path) -> bool:
    """Whether the folder has one of the two layouts, or is a converted model."""
    if (folder / CONVERTED).is_dir() or (folder / INDEX).is_file():
        return True
    return any(_weights_file(folder, name) for name in ORIGINAL_VAE)


def open_model(folder: str | Path, dtype: Dtype = "float32", name: str | None = None, **changes: Any) -> LazyModel:
    """Opens a folder of open weights; `dtype` is the compute dtype of matrix products, `changes` are fields of the
    transformer's config, `name` is the model's name, by default `model_name(folder)`.

    Reads only configs and headers of files. Raises FileNotFoundError for a missing file, and ValueError for other
    models and for parts that do not fit together, each on one line.
    """
    folder = Path(folder)
    changes = {"dtype": dtype, **changes}
    if (folder / CONVERTED).is_dir():
        opened, _ = open_converted(folder, dtype)
        dit = replace(opened.config.dit, **changes)
        return replace(opened, config=replace(opened.config, dit=dit, name=name or opened.config.name))
    try:
        if (folder / INDEX).is_file():
            return _diffusers(folder, name or model_name(folder), changes)
        if any(_weights_file(folder, name) for name in ORIGINAL_VAE):
            return _original(folder, name or model_name(folder), changes)
    except KeyError as error:
        raise ValueError(f"{folder} is no Wan model, or not all of it: it has no {error}; download it again") from error
    except (TypeError, AttributeError) as error:  # values of unexpected types
        raise ValueError(f"a config in {folder} has unexpected values ({error}): download it again") from error
    raise ValueError(
        f"{folder} is no folder of Wan weights: neither {INDEX} (the diffusers layout) nor Wan2.1_VAE or Wan2.2_VAE "
        "(the original release) is in it"
    )


def open_config(model: Path, dtype: Dtype = "float32", **changes: Any) -> SoraConfig | None:
    """The config of a folder of open weights, or of an open model by its name where there is no such folder; None for
    anything else. Raises as `open_model` does."""
    if is_open_model(model):
        return open_model(model, dtype, **changes).config
    if not is_known(model):
        return None
    config = known_config(str(model), dtype)
    return replace(config, dit=replace(config.dit, **changes))


def model_name(folder: Path) -> str:
    """The name of the model in a folder: OWNER/NAME in the hub's cache, where folders are named by commits, else the
    folder's name."""
    kind, *owner_and_name = folder.parent.parent.name.split("--")
    return "/".join(owner_and_name) if kind == "models" and owner_and_name else folder.name


def open_autoencoder(folder: str | Path) -> Part | None:
    """The autoencoder in a folder: a single autoencoder in the diffusers layout, or that of a model in either layout.

    None for other folders. Raises as `open_model` does.
    """
    folder = Path(folder)
    if (folder / CONVERTED).is_dir():
        return open_converted(folder, None)[0].parts["vae"]
    folder = folder / "vae" if (folder / INDEX).is_file() else folder
    if file := next((path for name in ORIGINAL_VAE if (path := _weights_file(folder, name))), None):
        tensors = _read(file)
        config = _original_vae(tensors)
        return _part(wan.vae_table(config), lambda: original.vae_tensors(tensors, config), init_vae, config)
    config_file = folder / "config.json"
    if not config_file.is_file() or (fields := _json(config_file)).get("_class_name") != AUTOENCODER:
        return None
    config = wan.vae_config(fields)
    return _part(wan.vae_table(config), lambda: Tensors(folder), init_vae, config)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: download the model again")
    try:
        fields = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): download it again") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path} is no JSON object: download it again")
    return fields


def check_index(path: Path, what: str | Path) -> dict[str, Any]:
    """The content of a `model_index.json`; empty for the original release, which has none. Raises ValueError where
    `what` is another kind of model."""
    if not path.is_file():
        return {}
    index = _json(path)
    if (kind := index.get("_class_name")) not in PIPELINES:
        raise ValueError(f"{what} holds a {kind}: sorajax runs {', '.join(PIPELINES)}")
    return index


def check_described(folder: Path, what: str) -> None:
    """Raises ValueError where a folder's index and configs are those of another kind of model, whose name is `what`."""
    if check_index(folder / INDEX, what):
        try:
            wan.dit_config(_json(folder / "transformer" / "config.json"))
        except KeyError as error:
            raise ValueError(f"{what} is no Wan model: its transformer's config.json has no {error}") from error
        return
    homes = (folder, folder / "high_noise_model")
    configs = [_json(path) for home in homes if (path := home / "config.json").is_file()]
    if not any({"ffn_dim", "kind"} & fields.keys() for fields in configs):
        raise ValueError(f"{what} holds no Wan model: neither {INDEX} nor a config.json of the release is in it")
    for fields in configs:
        _check_kind(fields, what)


def _check_kind(fields: Mapping[str, Any], what: str | Path) -> None:
    """Raises ValueError where a config.json of the release is that of a model for another task."""
    for name, known in (("_class_name", ("WanModel",)), ("model_type", RELEASED)):
        if (kind := fields.get(name, known[0])) not in known:
            raise ValueError(f"{what} holds a {kind}: sorajax runs text to video, image to video and both")


def _diffusers(folder: Path, name: str, changes: dict[str, Any]) -> LazyModel:
    index = check_index(folder / INDEX, folder)
    part_configs = {
        part: _json(folder / part / "config.json")
        for part in ("transformer", "transformer_2", "vae", "text_encoder", "image_encoder")
        if index.get(part, [None])[0] is not None
    }
    dit = wan.dit_config(part_configs["transformer"], **changes)
    dit = from_json(
        to_json(dit), DiTConfig, str(folder / "transformer" / "config.json")
    )  # checks the types of the values
    if index.get("boundary_ratio") is not None and "transformer_2" not in part_configs:
        raise ValueError(f"{folder / INDEX} has a boundary_ratio and no transformer_2: download the model again")
    if "transformer_2" in part_configs and wan.dit_config(part_configs["transformer_2"], **changes) != dit:
        raise ValueError(f"{folder}: transformer and transformer_2 have different shapes: they are not of one model")
    vae, text = (
        wan.vae_config(part_configs["vae"]),
        wan.text_config(part_configs["text_encoder"], dtype=changes["dtype"]),
    )
    vision = (
        wan.vision_config(part_configs["image_encoder"])
        if dit.image_width and "image_encoder" in part_configs
        else None
    )
    scheduler = folder / "scheduler" / "scheduler_config.json"
    config = conventions(
        name,
        dit,
        vae,
        text,
        vision,
        boundary=index.get("boundary_ratio"),
        shift=_shift(scheduler) if scheduler.is_file() else None,
    )
    stored = {
        part: Tensors(folder / part) for part in part_configs
    }  # reads headers only, and raises for a missing shard
    parts = {
        "text": _part(wan.text_table(text), lambda: wan.untied(stored["text_encoder"]), init_text, text),
        "dit": _part(wan.dit_table(dit), lambda: wan.without_ignored(stored["transformer"]), init_dit, dit),
        "vae": _part(wan.vae_table(vae), lambda: stored["vae"], init_vae, vae),
    }
    if "transformer_2" in part_configs:
        parts["dit_low"] = replace(parts["dit"], tensors=lambda: wan.without_ignored(stored["transformer_2"]))
    if vision is not None:
        vision_shape = vision
        parts["vision"] = _part(
            wan.vision_table(vision_shape),
            lambda: wan.without_unused_layers(stored["image_encoder"], vision_shape),
            init_vision,
            vision_shape,
        )
    return LazyModel(config, parts, tokenizer_in(folder / "tokenizer"))


def _shift(scheduler: Path) -> float | None:
    """The timestep shift in a scheduler's config: "flow_shift" of UniPC and DPM++, "shift" of Euler."""
    fields = _json(scheduler)
    shift = fields.get("flow_shift", fields.get("shift"))
    if shift is not None and not isinstance(shift, int | float):
        raise ValueError(f"{scheduler}: flow_shift {shift!r} is not a number: download it again")
    return shift


def _original(folder: Path, name: str, changes: dict[str, Any]) -> LazyModel:
    experts = [folder / home for home in ("high_noise_model", "low_noise_model") if (folder / home).is_dir()]
    if len(experts) == 1:
        raise FileNotFoundError(f"{folder} has {experts[0].name} and not the other expert: download the model again")
    homes = experts or [folder]
    configs = [_json(home / "config.json") for home in homes]
    for fields in configs:
        _check_kind(fields, folder)
    dits = [Tensors(home, WEIGHTS) for home in homes]
    dit = _original_dit(configs[0], original.dit_tensors(dits[0]), changes)
    if experts and _original_dit(configs[1], original.dit_tensors(dits[1]), changes) != dit:
        raise ValueError(f"{folder}: the two experts have different shapes: they are not of one model")
    vae_file = next(path for stem in ORIGINAL_VAE if (path := _weights_file(folder, stem)))
    vae_tensors, text_tensors = _read(vae_file), _read(_need(folder, "models_t5_umt5-xxl-enc-bf16"))
    vae, text = _original_vae(vae_tensors), _original_text(text_tensors, changes["dtype"])
    parts = {
        "text": _part(wan.text_table(text), lambda: original.text_tensors(text_tensors), init_text, text),
        "dit": _part(wan.dit_table(dit), lambda: original.dit_tensors(dits[0]), init_dit, dit),
        "vae": _part(wan.vae_table(vae), lambda: original.vae_tensors(vae_tensors, vae), init_vae, vae),
    }
    if experts:
        parts["dit_low"] = replace(parts["dit"], tensors=lambda: original.dit_tensors(dits[1]))
    vision = None
    if dit.image_width:
        file = _need(folder, "models_clip_open-clip-xlm-roberta-large-vit-huge-14")
        tensors = original.vision_tensors(_read(file))
        vision = vision_shape = _original_vision(tensors)
        parts["vision"] = _part(
            wan.vision_table(vision_shape),
            lambda: wan.without_unused_layers(tensors, vision_shape),
            init_vision,
            vision_shape,
        )
    boundary = expert_boundary(dit.in_channels != vae.latent_channels) if experts else None
    config = conventions(name, dit, vae, text, vision, boundary)
    return LazyModel(config, parts, tokenizer_in(folder / "google" / "umt5-xxl"))


def _part(rows: list[Row], tensors: Callable, init: Callable, config: Any) -> Part:
    return Part(rows, tensors, init, config, keep_float32=init is init_vae)


def _weights_file(folder: Path, stem: str) -> Path | None:
    return next((path for ending in (".safetensors", *PICKLES) if (path := folder / f"{stem}{ending}").is_file()), None)


def _need(folder: Path, stem: str) -> Path:
    if (path := _weights_file(folder, stem)) is None:
        raise FileNotFoundError(f"{folder} lacks {stem}.pth (or .safetensors): download the model again")
    return path


def _read(path: Path) -> Mapping[str, np.ndarray]:
    return PickledTensors(path) if path.suffix in PICKLES else Tensors(path)


def _original_dit(fields: Mapping[str, Any], tensors: Mapping[str, Any], changes: dict[str, Any]) -> DiTConfig:
    """`config.json` of the release -> ours; the tensors show whether the transformer has an image input."""
    image = "condition_embedder.image_embedder.norm1.weight"
    try:
        return DiTConfig(
            width=fields["dim"],
            hidden=fields["ffn_dim"],
            depth=fields["num_layers"],
            heads=fields["num_heads"],
            in_channels=fields["in_dim"],
            out_channels=fields["out_dim"],
            patch=(1, 2, 2),
            text_width=tensors["condition_embedder.text_embedder.linear_1.weight"].shape[1],
            image_width=len(tensors[image]) if image in tensors else 0,
            frequencies=fields["freq_dim"],
            epsilon=fields["eps"],
            **changes,
        )
    except KeyError as error:
        raise ValueError(f"the transformer's config.json or weights lack {error}: this is no Wan model") from error


def _original_text(tensors: Mapping[str, np.ndarray], dtype: Dtype) -> TextConfig:
    vocabulary, width = tensors["token_embedding.weight"].shape
    buckets, heads = tensors["blocks.0.pos_embedding.embedding.weight"].shape
    return TextConfig(
        vocabulary=vocabulary,
        width=width,
        hidden=len(tensors["blocks.0.ffn.fc1.weight"]),
        depth=_count(tensors, "blocks."),
        heads=heads,
        head_width=len(tensors["blocks.0.attn.q.weight"]) // heads,
        buckets=buckets,
        dtype=dtype,
    )


def _original_vae(tensors: Mapping[str, np.ndarray]) -> VAEConfig:
    channels = len(tensors["conv2.weight"])
    shortcuts = "encoder.downsamples.0.downsamples.0.residual.2.weight" in tensors
    if channels not in MEAN:
        raise ValueError(f"an autoencoder of {channels} latent channels is not one of Wan's, which have 16 or 48")
    base, decoder_base = len(tensors["encoder.conv1.weight"]), tensors["decoder.head.2.weight"].shape[1]
    return VAEConfig(
        base=base,
        decoder_base=0 if decoder_base == base else decoder_base,
        latent_channels=channels,
        shortcuts=shortcuts,
        pixel_patch=2 if shortcuts else 1,
        mean=MEAN[channels],
        std=STD[channels],
    )


def _original_vision(tensors: Mapping[str, np.ndarray]) -> VisionConfig:
    width, _, patch, _ = tensors["embeddings.patch_embedding.weight"].shape
    side = int((len(tensors["embeddings.position_embedding.weight"]) - 1) ** 0.5)
    return VisionConfig(
        width=width,
        hidden=len(tensors["encoder.layers.0.mlp.fc1.bias"]),
        depth=_count(tensors, "encoder.layers."),
        heads=width // 80,
        patch=patch,
        size=side * patch,
    )


def _count(tensors: Mapping[str, Any], prefix: str) -> int:
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in tensors if name.startswith(prefix))
