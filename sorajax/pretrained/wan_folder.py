"""A folder of open Wan weights, recognised and opened: its config, and its parts, each read when it is asked for.

    the diffusers layout     model_index.json, transformer/, transformer_2/, vae/, text_encoder/, tokenizer/, ...
    the original release     config.json or high_noise_model/ and low_noise_model/, Wan2.x_VAE, models_t5_..., google/

Wan 2.1 text to video and image to video, Wan 2.2 text-and-image to video (5B) and the pairs of experts (A14B).
How they are used (steps, guidance, frame rate) is in `conventions.py`.
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
from sorajax.pretrained.conventions import MEAN, STD, Dtype, conventions, handover, is_known, known_config
from sorajax.pretrained.converted import CONVERTED, open_converted
from sorajax.pretrained.part import Opened, Part
from sorajax.pretrained.pickles import PICKLES, PickledTensors
from sorajax.pretrained.safetensors import Tensors
from sorajax.pretrained.sentencepiece import tokenizer_in
from sorajax.pretrained.table import Row

INDEX = "model_index.json"
PIPELINES = ("WanPipeline", "WanImageToVideoPipeline")
AUTOENCODER = "AutoencoderKLWan"
RELEASED = ("t2v", "i2v", "ti2v")
"""Kinds of transformers in the configs of the original release."""
ORIGINAL_VAE = ("Wan2.1_VAE", "Wan2.2_VAE")
WEIGHTS = "diffusion_pytorch_model"
"""How files of transformers are called."""


def is_open_model(folder: Path) -> bool:
    """Whether the folder is in one of the two layouts, or converted from one."""
    if (folder / CONVERTED).is_dir() or (folder / INDEX).is_file():
        return True
    return any(_found(folder, name) for name in ORIGINAL_VAE)


def open_model(folder: str | Path, dtype: Dtype = "float32", name: str | None = None, **changes: Any) -> Opened:
    """Opens a folder of open weights; `dtype` is what matrix products run in, `changes` are fields of the transformer.
    `name` is what the model is called, by default `model_name(folder)`.

    Reads configs and the headers of files only. Raises FileNotFoundError for a missing file and ValueError for another
    model's folder or parts that are not of one model, each on one line.
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
        if any(_found(folder, name) for name in ORIGINAL_VAE):
            return _original(folder, name or model_name(folder), changes)
    except KeyError as error:
        raise ValueError(f"{folder} is no Wan model, or not all of it: it has no {error}; download it again") from error
    except (TypeError, AttributeError) as error:  # values of another kind than the release's
        raise ValueError(f"a config in {folder} is not as Wan's are ({error}): download it again") from error
    raise ValueError(
        f"{folder} is no folder of Wan weights: neither {INDEX} (the diffusers layout) nor Wan2.1_VAE or Wan2.2_VAE "
        "(the original release) is in it"
    )


def open_config(model: Path, dtype: Dtype = "float32", **changes: Any) -> SoraConfig | None:
    """The config of a folder of open weights, or of an open model by its name where no such folder is there; None of
    anything else. Raises as `open_model` does."""
    if is_open_model(model):
        return open_model(model, dtype, **changes).config
    if not is_known(model):
        return None
    config = known_config(str(model), dtype)
    return replace(config, dit=replace(config.dit, **changes))


def model_name(folder: Path) -> str:
    """What a folder's model is called: OWNER/NAME in the hub's cache, where folders are named by their commit."""
    kind, *owner_and_name = folder.parent.parent.name.split("--")
    return "/".join(owner_and_name) if kind == "models" and owner_and_name else folder.name


def open_autoencoder(folder: str | Path) -> Part | None:
    """The autoencoder in a folder: one in the diffusers layout by itself, or that of a whole model in either layout.

    None where there is none. Raises as `open_model` does.
    """
    folder = Path(folder)
    if (folder / CONVERTED).is_dir():
        return open_converted(folder, None)[0].parts["vae"]
    folder = folder / "vae" if (folder / INDEX).is_file() else folder
    if file := next((path for name in ORIGINAL_VAE if (path := _found(folder, name))), None):
        tensors = _read(file)
        config = _original_vae(tensors)
        return _part(wan.vae_table(config), lambda: original.vae_tensors(tensors, config), init_vae, config)
    described = folder / "config.json"
    if not described.is_file() or (said := _json(described)).get("_class_name") != AUTOENCODER:
        return None
    config = wan.vae_config(said)
    return _part(wan.vae_table(config), lambda: Tensors(folder), init_vae, config)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: download the model again")
    try:
        said = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): download it again") from error
    if not isinstance(said, dict):
        raise ValueError(f"{path} is no JSON object: download it again")
    return said


def check_index(path: Path, what: str | Path) -> dict[str, Any]:
    """What a `model_index.json` says; of the original release, which has none, nothing. Raises ValueError where `what`
    holds another kind of model."""
    if not path.is_file():
        return {}
    index = _json(path)
    if (kind := index.get("_class_name")) not in PIPELINES:
        raise ValueError(f"{what} holds a {kind}: sorajax runs {' and '.join(PIPELINES)}")
    return index


def check_described(folder: Path, what: str) -> None:
    """Raises ValueError where a folder's index and configs are those of another kind of model; `what` is its name."""
    if check_index(folder / INDEX, what):
        try:
            wan.dit_config(_json(folder / "transformer" / "config.json"))
        except KeyError as error:
            raise ValueError(f"{what} is no Wan model: its transformer's config.json has no {error}") from error
        return
    homes = (folder, folder / "high_noise_model")
    said = [_json(path) for home in homes if (path := home / "config.json").is_file()]
    if not any({"ffn_dim", "kind"} & one.keys() for one in said):
        raise ValueError(f"{what} holds no Wan model: neither {INDEX} nor a config.json of the release is in it")
    for one in said:
        _check_kind(one, what)


def _check_kind(said: Mapping[str, Any], what: str | Path) -> None:
    """Raises ValueError where the release's config.json is of a model that does something else."""
    for name, known in (("_class_name", ("WanModel",)), ("model_type", RELEASED)):
        if (kind := said.get(name, known[0])) not in known:
            raise ValueError(f"{what} holds a {kind}: sorajax runs text to video, image to video and both")


def _diffusers(folder: Path, name: str, changes: dict[str, Any]) -> Opened:
    index = check_index(folder / INDEX, folder)
    described = {
        part: _json(folder / part / "config.json")
        for part in ("transformer", "transformer_2", "vae", "text_encoder", "image_encoder")
        if index.get(part, [None])[0] is not None
    }
    dit = wan.dit_config(described["transformer"], **changes)
    dit = from_json(to_json(dit), DiTConfig, str(folder / "transformer" / "config.json"))  # numbers where they belong
    if index.get("boundary_ratio") is not None and "transformer_2" not in described:
        raise ValueError(f"{folder / INDEX} has a boundary_ratio and no transformer_2: download the model again")
    if "transformer_2" in described and wan.dit_config(described["transformer_2"], **changes) != dit:
        raise ValueError(f"{folder}: transformer and transformer_2 have different shapes: they are not of one model")
    vae, text = wan.vae_config(described["vae"]), wan.text_config(described["text_encoder"], dtype=changes["dtype"])
    vision = wan.vision_config(described["image_encoder"]) if dit.image_width and "image_encoder" in described else None
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
    stored = {part: Tensors(folder / part) for part in described}  # headers only: a missing shard is found now
    parts = {
        "text": _part(wan.text_table(text), lambda: wan.untied(stored["text_encoder"]), init_text, text),
        "dit": _part(wan.dit_table(dit), lambda: wan.used(stored["transformer"]), init_dit, dit),
        "vae": _part(wan.vae_table(vae), lambda: stored["vae"], init_vae, vae),
    }
    if "transformer_2" in described:
        parts["dit_low"] = replace(parts["dit"], tensors=lambda: wan.used(stored["transformer_2"]))
    if vision is not None:
        seer = vision
        parts["vision"] = _part(
            wan.vision_table(seer), lambda: wan.seen(stored["image_encoder"], seer), init_vision, seer
        )
    return Opened(config, parts, tokenizer_in(folder / "tokenizer"))


def _shift(scheduler: Path) -> float | None:
    """What a scheduler's config says of the shift: "flow_shift" of UniPC and DPM++, "shift" of Euler's."""
    said = _json(scheduler)
    shift = said.get("flow_shift", said.get("shift"))
    if shift is not None and not isinstance(shift, int | float):
        raise ValueError(f"{scheduler}: flow_shift {shift!r} is no number: download it again")
    return shift


def _original(folder: Path, name: str, changes: dict[str, Any]) -> Opened:
    experts = [folder / home for home in ("high_noise_model", "low_noise_model") if (folder / home).is_dir()]
    if len(experts) == 1:
        raise FileNotFoundError(f"{folder} has {experts[0].name} and not the other expert: download the model again")
    homes = experts or [folder]
    said = [_json(home / "config.json") for home in homes]
    for one in said:
        _check_kind(one, folder)
    dits = [Tensors(home, WEIGHTS) for home in homes]
    dit = _original_dit(said[0], original.dit_tensors(dits[0]), changes)
    if experts and _original_dit(said[1], original.dit_tensors(dits[1]), changes) != dit:
        raise ValueError(f"{folder}: the two experts have different shapes: they are not of one model")
    vae_file = next(path for stem in ORIGINAL_VAE if (path := _found(folder, stem)))
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
        vision = seer = _original_vision(tensors)
        parts["vision"] = _part(wan.vision_table(seer), lambda: wan.seen(tensors, seer), init_vision, seer)
    share = handover(dit.in_channels != vae.latent_channels) if experts else None
    config = conventions(name, dit, vae, text, vision, share)
    return Opened(config, parts, tokenizer_in(folder / "google" / "umt5-xxl"))


def _part(rows: list[Row], tensors: Callable, init: Callable, config: Any) -> Part:
    return Part(rows, tensors, init, config, whole=init is init_vae)


def _found(folder: Path, stem: str) -> Path | None:
    return next((path for ending in (".safetensors", *PICKLES) if (path := folder / f"{stem}{ending}").is_file()), None)


def _need(folder: Path, stem: str) -> Path:
    if (path := _found(folder, stem)) is None:
        raise FileNotFoundError(f"{folder} lacks {stem}.pth (or .safetensors): download the model again")
    return path


def _read(path: Path) -> Mapping[str, np.ndarray]:
    return PickledTensors(path) if path.suffix in PICKLES else Tensors(path)


def _original_dit(said: Mapping[str, Any], tensors: Mapping[str, Any], changes: dict[str, Any]) -> DiTConfig:
    """`config.json` of the release -> ours; whether it reads image tokens is seen from its tensors."""
    image = "condition_embedder.image_embedder.norm1.weight"
    try:
        return DiTConfig(
            width=said["dim"],
            hidden=said["ffn_dim"],
            depth=said["num_layers"],
            heads=said["num_heads"],
            in_channels=said["in_dim"],
            out_channels=said["out_dim"],
            patch=(1, 2, 2),
            text_width=tensors["condition_embedder.text_embedder.linear_1.weight"].shape[1],
            image_width=len(tensors[image]) if image in tensors else 0,
            frequencies=said["freq_dim"],
            epsilon=said["eps"],
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
        raise ValueError(f"an autoencoder of {channels} latent channels is none of Wan's, which have 16 or 48")
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
