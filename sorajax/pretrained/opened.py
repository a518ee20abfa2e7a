"""A folder of open Wan weights, recognised and opened: its config, and its parts, each read when it is asked for.

    the diffusers layout     model_index.json, transformer/, transformer_2/, vae/, text_encoder/, tokenizer/, ...
    the original release     config.json or high_noise_model/ and low_noise_model/, Wan2.x_VAE, models_t5_..., google/

Wan 2.1 text to video and image to video, Wan 2.2 text-and-image to video (5B) and the pairs of experts (A14B).
Numbers that files do not say (steps, guidance, frame rate) are those of the release's own `wan/configs`.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from sorajax.checkpoint import from_json, to_json
from sorajax.models.dit import DiTConfig
from sorajax.models.quantized import Bits, is_quantized_leaf
from sorajax.models.sora import SoraConfig, init_dit, init_text, init_vae, init_vision
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig
from sorajax.models.vision import VisionConfig
from sorajax.pretrained import original, wan
from sorajax.pretrained.pickles import PickledTensors
from sorajax.pretrained.safetensors import Tensors
from sorajax.pretrained.table import Finish, Row, check_names, stream_parameters
from sorajax.sharding import make_mesh, path_name, shardings

INDEX = "model_index.json"
PIPELINES = ("WanPipeline", "WanImageToVideoPipeline")
AUTOENCODER = "AutoencoderKLWan"
ORIGINAL_VAE = ("Wan2.1_VAE", "Wan2.2_VAE")
WEIGHTS = "diffusion_pytorch_model"
"""How files of transformers are called."""
PICKLES = (".pth", ".pt", ".bin")
FULL = ("time_in", "time_out", "time_modulation", "modulation", "modulation_out", "positions", "position_bias")
"""Parts of the path of parameters that stay float32, as in the reference: clocks, modulation, biases of attention."""
NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，"
    "画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
"""`sample_neg_prompt` of the release's shared config."""
SHAKING = "镜头晃动，"
"""What the release's config of Wan 2.1 image to video puts before it."""
MEAN = {
    16: (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
         0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921),
    48: (-0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
         0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
         -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
         -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667),
}  # fmt: skip
STD = {
    16: (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
         3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160),
    48: (0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
         0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
         0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
         0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744),
}  # fmt: skip
"""Statistics of the raw latents of the two autoencoders, by channels: the release's `modules/vae.py`, `vae2_2.py`."""

Dtype = Literal["float32", "bfloat16"]
LARGE = DiTConfig(width=5120, hidden=13824, depth=40, heads=40)
SMALL = 1536
"""Width of the transformer up to which a model was trained at 480p only: 1.3B."""
SHAPES = {
    "Wan2.1-T2V-1.3B": DiTConfig(),
    "Wan2.1-T2V-14B": LARGE,
    "Wan2.1-I2V-14B": replace(LARGE, in_channels=36, image_width=1280),
    "Wan2.2-TI2V-5B": DiTConfig(width=3072, hidden=14336, depth=30, heads=24, in_channels=48, out_channels=48),
    "Wan2.2-T2V-A14B": LARGE,
    "Wan2.2-I2V-A14B": replace(LARGE, in_channels=36),
}
"""Transformers of the release's `wan/configs`, for plans that are made before anything is downloaded."""
TWO_EXPERTS = "A14B"  # how the names of models of two experts end


@dataclass(frozen=True)
class Part:
    """One model of a folder: what to read and how."""

    rows: list[Row]
    tensors: Callable[[], Mapping[str, np.ndarray]]
    init: Callable[[Any, jax.Array], dict]
    config: Any
    whole: bool = False
    """All of it stays float32: an autoencoder, as in the reference."""

    def abstract(self, dtype: Dtype, mesh: jax.sharding.Mesh | None = None) -> Any:
        """ShapeDtypeStructs of the parameters, sharded by the one table: matrices in `dtype`, the rest float32, and all
        where it is `whole`."""
        shapes = jax.eval_shape(lambda key: self.init(self.config, key), jax.random.key(0))
        where = jax.tree.map(lambda _: None, shapes) if mesh is None else shardings(shapes, mesh)

        def typed(path: tuple, leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
            small = self.whole or leaf.ndim < 2 or any(name in FULL for name in path_name(path).split("/"))
            return jax.ShapeDtypeStruct(leaf.shape, jnp.float32 if small else dtype, sharding=sharding)

        return jax.tree.map_with_path(typed, shapes, where, is_leaf=lambda leaf: leaf is None)

    def bytes(self, dtype: Dtype, bits: Bits | None = None) -> int:
        """What the parameters take; with `bits`, what 8 of them for kernels of blocks take."""

        def size(path: tuple, leaf: Any) -> int:
            small = bits is not None and is_quantized_leaf(path_name(path), leaf.ndim)
            return leaf.size * (1 if small else leaf.dtype.itemsize)

        return sum(jax.tree.leaves(jax.tree.map_with_path(size, self.abstract(dtype))))

    def check(self) -> None:
        """Raises ValueError where names of tensors are not those that the config wants; reads none of them."""
        check_names(self.rows, self.tensors(), self.abstract("float32"))

    def load(
        self, dtype: Dtype = "float32", mesh: jax.sharding.Mesh | None = None, finish: Finish = lambda name, leaf: leaf
    ) -> dict:
        """The parameters, streamed to their places, each through `finish`: its name and value give what takes its
        place.

        Raises ValueError where tensors and config do not match.
        """
        return stream_parameters(self.rows, self.tensors(), self.abstract(dtype, mesh), finish)


@dataclass(frozen=True)
class Opened:
    """A folder of open weights. `parts` has "text", "dit", "vae" and, by model, "dit_low" and "vision"."""

    config: SoraConfig
    parts: dict[str, Part]
    tokenizer: str
    """The text of its tokenizer.json."""


def known_name(name: str) -> str | None:
    """Which of `SHAPES` a name of the release or of the hub means: of Wan-AI/Wan2.1-I2V-14B-720P-Diffusers the one
    without owner, size and layout. None where it means none."""
    pattern = r"(Wan-AI/)?{}(-(480|720)P)?(-Diffusers)?"
    return next((known for known in SHAPES if re.fullmatch(pattern.format(re.escape(known)), name)), None)


def known_config(name: str, dtype: Dtype) -> SoraConfig:
    """The config of an open model by its name alone. Raises ValueError where `known_name` knows none."""
    if (known := known_name(name)) is None:
        raise ValueError(f"{name} is no open model that is known by its name: there are {', '.join(SHAPES)}")
    dit = replace(SHAPES[known], dtype=dtype)
    vae = VAEConfig(latent_channels=(channels := dit.out_channels), mean=MEAN[channels], std=STD[channels])
    if channels == 48:
        vae = replace(vae, base=160, decoder_base=256, shortcuts=True, pixel_patch=2)
    vision = VisionConfig(dtype=dtype) if dit.image_width else None
    boundary = _boundary(dit.in_channels != channels) if known.endswith(TWO_EXPERTS) else None
    return _conventions(name, dit, vae, TextConfig(dtype=dtype), vision, boundary)


def abstract_parameters(init: Callable[[Any, jax.Array], dict], config: Any, dtype: Dtype) -> Any:
    """Shapes and types that a part's parameters have in memory, without any."""
    return _part([], dict, init, config).abstract(dtype)


def is_open_model(folder: Path) -> bool:
    """Whether the folder is in one of the two layouts."""
    return (folder / INDEX).is_file() or any(_found(folder, name) for name in ORIGINAL_VAE)


def open_model(folder: str | Path, dtype: Dtype = "float32", name: str | None = None, **changes: Any) -> Opened:
    """Opens a folder of open weights; `dtype` is what matrix products run in, `changes` are fields of the transformer.
    `name` is what the model is called, by default `model_name(folder)`.

    Reads configs and the headers of files only. Raises FileNotFoundError for a missing file and ValueError for another
    model's folder or parts that are not of one model, each on one line.
    """
    folder = Path(folder)
    changes = {"dtype": dtype, **changes}
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


def model_name(folder: Path) -> str:
    """What a folder's model is called: OWNER/NAME in the hub's cache, where folders are named by their commit."""
    kind, *owner_and_name = folder.parent.parent.name.split("--")
    return "/".join(owner_and_name) if kind == "models" and owner_and_name else folder.name


def open_autoencoder(folder: str | Path) -> Part | None:
    """The autoencoder in a folder: one in the diffusers layout by itself, or that of a whole model in either layout.

    None where there is none. Raises as `open_model` does.
    """
    folder = Path(folder)
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
    homes = (folder, folder / "high_noise_model")
    said = [_json(path) for home in homes if (path := home / "config.json").is_file()]
    if not check_index(folder / INDEX, what) and not any({"ffn_dim", "kind"} & one.keys() for one in said):
        raise ValueError(f"{what} holds no Wan model: neither {INDEX} nor a config.json of the release is in it")


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
    config = _conventions(
        name, dit, vae, text, vision,
        boundary=index.get("boundary_ratio"),
        shift=_shift(scheduler) if scheduler.is_file() else None,
    )  # fmt: skip
    stored = {part: Tensors(folder / part) for part in described}  # headers only: a missing shard is found now
    parts = {
        "text": _part(wan.text_table(text), lambda: wan.untied(stored["text_encoder"]), init_text, text),
        "dit": _part(wan.dit_table(dit), lambda: stored["transformer"], init_dit, dit),
        "vae": _part(wan.vae_table(vae), lambda: stored["vae"], init_vae, vae),
    }
    if "transformer_2" in described:
        parts["dit_low"] = replace(parts["dit"], tensors=lambda: stored["transformer_2"])
    if vision is not None:
        seer = vision
        parts["vision"] = _part(
            wan.vision_table(seer), lambda: wan.seen(stored["image_encoder"], seer), init_vision, seer
        )
    return Opened(config, parts, _tokenizer(folder / "tokenizer" / "tokenizer.json"))


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
    boundary = _boundary(dit.in_channels != vae.latent_channels) if experts else None
    config = _conventions(name, dit, vae, text, vision, boundary)
    return Opened(config, parts, _tokenizer(folder / "google" / "umt5-xxl" / "tokenizer.json"))


def _part(rows: list[Row], tensors: Callable, init: Callable, config: Any) -> Part:
    return Part(rows, tensors, init, config, whole=init is init_vae)


def _tokenizer(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: download the model again, with its tokenizer")
    return path.read_text(encoding="utf-8")


def _found(folder: Path, stem: str) -> Path | None:
    return next((path for ending in (".safetensors", *PICKLES) if (path := folder / f"{stem}{ending}").is_file()), None)


def _need(folder: Path, stem: str) -> Path:
    if (path := _found(folder, stem)) is None:
        raise FileNotFoundError(f"{folder} lacks {stem}.pth (or .safetensors): download the model again")
    return path


def _read(path: Path) -> Mapping[str, np.ndarray]:
    return PickledTensors(path) if path.suffix in PICKLES else Tensors(path)


def _boundary(image: bool) -> float:
    """Where the two experts of Wan 2.2 share the times, of an image-to-video model and of a text-to-video one."""
    return 0.9 if image else 0.875


def _conventions(
    name: str,
    dit: DiTConfig,
    vae: VAEConfig,
    text: TextConfig,
    vision: VisionConfig | None,
    boundary: float | None = None,
    shift: float | None = None,
) -> SoraConfig:
    """How these parts are used together, as the release's `wan/configs` and `generate.py` say; `shift` is what the
    folder itself says of it, and counts more. Image to video of Wan 2.1 comes at two sizes, told apart by name only."""
    image, small = dit.in_channels != vae.latent_channels, vae.stride[1] == 16
    early_image = image and boundary is None
    sizes: tuple[tuple[int, int], ...] = ((480, 832), (832, 480), (720, 1280), (1280, 720))
    if small:
        sizes = ((704, 1280), (1280, 704))
    elif dit.width <= SMALL or (early_image and "480" in name):
        sizes = sizes[:2]
    elif early_image and "720" in name:
        sizes = sizes[2:]
    low, high = ((3.5, 3.5) if image else (3.0, 4.0)) if boundary else (None, 5.0)
    usual = 12.0 if boundary and not image else 3.0 if early_image and sizes[0][0] == 480 else 5.0
    return SoraConfig(
        text=text, dit=dit, vae=vae, name=name, fps=24.0 if small else 16.0, sizes=sizes,
        free_aspect=image or small,
        frames=(121 if small else 81,), shift=shift or usual, guidance_scale=high, guidance_scale_low=low,
        steps=40 if boundary or image else 50, negative=SHAKING + NEGATIVE if early_image else NEGATIVE,
        clean_prompts=True,
        known="clock" if small else ("channels" if image else "replaced"), vision=vision, boundary=boundary,
        last_time=0.001, whole_times=True)  # fmt: skip


def _original_dit(said: Mapping[str, Any], tensors: Mapping[str, Any], changes: dict[str, Any]) -> DiTConfig:
    """`config.json` of the release -> ours; whether it reads image tokens is seen from its tensors."""
    image = "condition_embedder.image_embedder.norm1.weight"
    try:
        return DiTConfig(
            width=said["dim"], hidden=said["ffn_dim"], depth=said["num_layers"], heads=said["num_heads"],
            in_channels=said["in_dim"], out_channels=said["out_dim"], patch=(1, 2, 2),
            text_width=tensors["condition_embedder.text_embedder.linear_1.weight"].shape[1],
            image_width=len(tensors[image]) if image in tensors else 0, frequencies=said["freq_dim"],
            epsilon=said["eps"], **changes)  # fmt: skip
    except KeyError as error:
        raise ValueError(f"the transformer's config.json or weights lack {error}: this is no Wan model") from error


def _original_text(tensors: Mapping[str, np.ndarray], dtype: Dtype) -> TextConfig:
    vocabulary, width = tensors["token_embedding.weight"].shape
    buckets, heads = tensors["blocks.0.pos_embedding.embedding.weight"].shape
    return TextConfig(
        vocabulary=vocabulary, width=width, hidden=len(tensors["blocks.0.ffn.fc1.weight"]),
        depth=_count(tensors, "blocks."), heads=heads, head_width=len(tensors["blocks.0.attn.q.weight"]) // heads,
        buckets=buckets, dtype=dtype)  # fmt: skip


def _original_vae(tensors: Mapping[str, np.ndarray]) -> VAEConfig:
    channels = len(tensors["conv2.weight"])
    shortcuts = "encoder.downsamples.0.downsamples.0.residual.2.weight" in tensors
    if channels not in MEAN:
        raise ValueError(f"an autoencoder of {channels} latent channels is none of Wan's, which have 16 or 48")
    base, decoder_base = len(tensors["encoder.conv1.weight"]), tensors["decoder.head.2.weight"].shape[1]
    return VAEConfig(
        base=base, decoder_base=0 if decoder_base == base else decoder_base,
        latent_channels=channels, shortcuts=shortcuts, pixel_patch=2 if shortcuts else 1,
        mean=MEAN[channels], std=STD[channels])  # fmt: skip


def _original_vision(tensors: Mapping[str, np.ndarray]) -> VisionConfig:
    width, _, patch, _ = tensors["embeddings.patch_embedding.weight"].shape
    side = int((len(tensors["embeddings.position_embedding.weight"]) - 1) ** 0.5)
    return VisionConfig(
        width=width, hidden=len(tensors["encoder.layers.0.mlp.fc1.bias"]), depth=_count(tensors, "encoder.layers."),
        heads=width // 80, patch=patch, size=side * patch)  # fmt: skip


def _count(tensors: Mapping[str, Any], prefix: str) -> int:
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in tensors if name.startswith(prefix))


def open_signature(part: Part) -> str:
    """A short hash of open weights that reads few of them: all names, and the scales of all norms."""
    tensors = part.tensors()
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        if "norm" in name:
            digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()[:16]


def whole_machine() -> jax.sharding.Mesh | None:
    """A mesh that splits weights over all devices; None where there is one."""
    return make_mesh({"fsdp": -1}) if jax.device_count() > 1 else None
