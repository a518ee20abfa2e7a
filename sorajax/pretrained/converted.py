"""Converted models: one Orbax checkpoint per part, in our layout, which open without conversion of names and axes."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.sharding import SingleDeviceSharding

from sorajax.files import write_atomically
from sorajax.models.folder import CONFIG, TOKENIZER, from_json, to_json
from sorajax.models.sora import SoraConfig, init_dit, init_text, init_vae, init_vision
from sorajax.pretrained.conventions import Dtype
from sorajax.pretrained.part import LazyModel, Part, Shardings, map_parameters, short_hash
from sorajax.pretrained.table import Finish

CONVERTED = "parts"
INITS: dict[str, Callable] = {
    "text": init_text,
    "dit": init_dit,
    "vae": init_vae,
    "dit_low": init_dit,
    "vision": init_vision,
}


class Readable(Protocol):
    """Parts by name, each read on demand."""

    def __iter__(self) -> Iterator[str]: ...

    def read(self, name: str) -> Any:
        """The parameters of a part."""
        ...


@dataclass(frozen=True)
class ConvertedPart(Part):
    """A part in our layout."""

    folder: Path = Path()
    made_by: str = ""
    """The signature of the weights that it was converted from."""

    def check(self) -> None:
        """Does nothing: Orbax checks what it restores."""

    def signature(self) -> str:
        """The signature of the weights that it was converted from. Raises ValueError where it was not recorded."""
        if not self.made_by:
            raise ValueError(f"{self.folder} was converted by an older sorajax: convert again")
        return self.made_by

    def load(
        self,
        dtype: Dtype = "float32",
        shardings: Shardings | None = None,
        finish: Finish = lambda name, leaf: leaf,
    ) -> dict:
        """As `Part.load`. Raises ValueError for damaged files."""
        import orbax.checkpoint as ocp  # imported here because it takes a fifth of a second

        default = SingleDeviceSharding(jax.local_devices()[0])  # without a sharding Orbax restores via numpy
        abstract = self.abstract(dtype, shardings)
        target = jax.tree.map(lambda leaf: leaf.update(sharding=leaf.sharding or default), abstract)
        with ocp.StandardCheckpointer() as reader:
            try:
                restored = reader.restore(self.folder.absolute(), target)
            except Exception as error:  # Orbax raises bare Exceptions for damaged files
                reason = " ".join(str(error).split())[:200]
                raise ValueError(f"{self.folder} is damaged ({reason}): convert again") from error
        return map_parameters(restored, finish)


def save_converted(
    config: SoraConfig, parts: Readable, tokenizer: str, folder: Path, dtype: Dtype | None = None
) -> None:
    """Writes a model as one Orbax checkpoint per part, in `dtype` (None: the parameters' own), which can be restored
    sharded.

    The folder's config.json is written last. Raises OSError where a file cannot be written.
    """
    import orbax.checkpoint as ocp  # as in `load`

    folder.mkdir(parents=True, exist_ok=True)
    kinds, signatures = set[str](), dict[str, str]()
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, use_zarr3=True)  # the format that restores fastest
    with ocp.Checkpointer(handler) as writer:
        for name in parts:
            part, params = part_of(config, name), cast_parameters(config, name, parts.read(name), dtype)
            kinds |= types_of_matrices(part, params)
            flat = sorted(flatten_dict(params, sep="/").items())
            signatures[name] = short_hash({path: np.asarray(leaf) if "norm" in path else None for path, leaf in flat})
            writer.save((folder / CONVERTED / name).absolute(), args=ocp.args.PyTreeSave(params), force=True)
    write_atomically(folder / TOKENIZER, lambda path: path.write_text(tokenizer, encoding="utf-8"))
    stored = "float32" if "float32" in kinds else "bfloat16"
    content = {
        "kind": "SoraConfig",
        "config": to_json(with_dtype(config, dtype)),
        "dtype": stored,
        "signatures": signatures,
    }
    write_atomically(folder / CONFIG, lambda path: path.write_text(json.dumps(content, indent=2)))


def open_converted(folder: Path, dtype: Dtype | None) -> tuple[LazyModel, Dtype]:
    """A converted model, computing in `dtype` (None: as it was converted), and the dtype of its weights on disk.

    Raises FileNotFoundError for missing files, and ValueError for a config that cannot be read.
    """
    config_file = folder / CONFIG
    if not config_file.is_file():
        raise FileNotFoundError(f"{config_file} is missing: the conversion was not completed, run it again")
    if not (folder / TOKENIZER).is_file():
        raise FileNotFoundError(f"{folder / TOKENIZER} is missing: convert again")
    try:
        content = json.loads(config_file.read_text())
    except ValueError as error:
        raise ValueError(f"{config_file} is no JSON ({error}): convert again") from error
    config = with_dtype(from_json(content["config"], SoraConfig, str(config_file)), dtype)
    needed = ["text", "dit", "vae"]
    needed += ["dit_low"] * (config.boundary is not None) + ["vision"] * (config.vision is not None)
    if missing := [name for name in needed if not (folder / CONVERTED / name).is_dir()]:
        raise FileNotFoundError(f"{folder / CONVERTED} lacks {', '.join(missing)}: convert again")
    parts: dict[str, Part] = {
        name: converted_part(
            folder / CONVERTED / name, part_of(config, name), content.get("signatures", {}).get(name, "")
        )
        for name in INITS
        if (folder / CONVERTED / name).is_dir()
    }
    return LazyModel(config, parts, (folder / TOKENIZER).read_text(encoding="utf-8")), content["dtype"]


def converted_part(folder: Path, part: Part, made_by: str = "") -> ConvertedPart:
    """The converted part in a folder, with the shapes of `part`."""
    return ConvertedPart([], dict, part.init, part.config, part.keep_float32, folder, made_by)


def with_dtype(config: SoraConfig, dtype: Dtype | None) -> SoraConfig:
    """The config with the compute dtype of text encoder and transformer changed to `dtype`; None changes nothing."""
    if dtype is None:
        return config
    return replace(config, text=replace(config.text, dtype=dtype), dit=replace(config.dit, dtype=dtype))


def cast_parameters(config: SoraConfig, name: str, params: Any, dtype: Dtype | None) -> Any:
    """A part's parameters in the dtypes that they have in a model of `dtype`; None changes nothing."""
    if dtype is None:
        return params
    return jax.tree.map(lambda x, to: x.astype(to.dtype), params, part_of(config, name).abstract(dtype))


def part_of(config: SoraConfig, name: str) -> Part:
    """A part without tensors, for the shapes of its parameters."""
    return Part([], dict, INITS[name], getattr(config, name.removesuffix("_low")), keep_float32=name == "vae")


def types_of_matrices(part: Part, params: Any) -> set[str]:
    """The dtypes of those parameters whose dtype is the model's, which are matrices."""
    types = jax.tree.map(
        lambda x, to: str(x.dtype) if to.dtype == "bfloat16" else "", params, part.abstract("bfloat16")
    )
    return set(jax.tree.leaves(types)) - {""}
