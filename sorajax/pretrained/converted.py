"""Models in our own layout: Orbax checkpoints, one a part, which open without a change of names and axes."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import flatten_dict
from jax.sharding import SingleDeviceSharding

from sorajax.files import write_atomically
from sorajax.models.folder import CONFIG, TOKENIZER, from_json, to_json
from sorajax.models.sora import SoraConfig, init_dit, init_text, init_vae, init_vision
from sorajax.pretrained.conventions import Dtype
from sorajax.pretrained.part import Opened, Part, each_finished, hashed
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
    """Parts by name, each read when it is asked for."""

    def __iter__(self) -> Iterator[str]: ...

    def read(self, name: str) -> Any:
        """Its parameters."""
        ...


@dataclass(frozen=True)
class ConvertedPart(Part):
    """A part in our own layout."""

    folder: Path = Path()
    made_by: str = ""
    """Its signature, from when it was converted."""

    def check(self) -> None:
        """Nothing: Orbax checks what it restores."""

    def signature(self) -> str:
        """Raises ValueError where there is none."""
        if not self.made_by:
            raise ValueError(f"{self.folder} was converted by an older sorajax: convert again")
        return self.made_by

    def load(
        self, dtype: Dtype = "float32", mesh: jax.sharding.Mesh | None = None, finish: Finish = lambda name, leaf: leaf
    ) -> dict:
        """As `Part.load`. Raises ValueError where files are damaged."""
        here = SingleDeviceSharding(jax.local_devices()[0])  # without a place Orbax takes the way through numpy
        target = jax.tree.map(lambda leaf: leaf.update(sharding=leaf.sharding or here), self.abstract(dtype, mesh))
        with ocp.StandardCheckpointer() as reader:
            try:
                restored = reader.restore(self.folder.absolute(), target)
            except Exception as error:  # Orbax raises bare Exceptions for damaged files
                reason = " ".join(str(error).split())[:200]
                raise ValueError(f"{self.folder} is damaged ({reason}): convert again") from error
        return each_finished(restored, finish)


def save_converted(
    config: SoraConfig, parts: Readable, tokenizer: str, folder: Path, dtype: Dtype | None = None
) -> None:
    """Writes a model as Orbax checkpoints, one a part, in `dtype` or the types that they have: they open without a
    change of layout, sharded.

    The folder's config.json is written last. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kinds, signatures = set[str](), dict[str, str]()
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, use_zarr3=True)  # the layout that opens fastest
    with ocp.Checkpointer(handler) as writer:
        for name in parts:
            part, params = part_of(config, name), stored_in(config, name, parts.read(name), dtype)
            kinds |= types_of_matrices(part, params)
            flat = sorted(flatten_dict(params, sep="/").items())
            signatures[name] = hashed({path: np.asarray(leaf) if "norm" in path else None for path, leaf in flat})
            writer.save((folder / CONVERTED / name).absolute(), args=ocp.args.PyTreeSave(params), force=True)
    write_atomically(folder / TOKENIZER, lambda path: path.write_text(tokenizer, encoding="utf-8"))
    stored = "float32" if "float32" in kinds else "bfloat16"
    said = {"kind": "SoraConfig", "config": to_json(typed(config, dtype)), "dtype": stored, "signatures": signatures}
    write_atomically(folder / CONFIG, lambda path: path.write_text(json.dumps(said, indent=2)))


def open_converted(folder: Path, dtype: Dtype | None) -> tuple[Opened, Dtype]:
    """What `save_converted` has written, to run in another type where one is asked for, and the type that it is in.

    Raises FileNotFoundError and ValueError where it is not whole.
    """
    described = folder / CONFIG
    if not described.is_file():
        raise FileNotFoundError(f"{described} is missing: the conversion did not end, run it again")
    if not (folder / TOKENIZER).is_file():
        raise FileNotFoundError(f"{folder / TOKENIZER} is missing: convert again")
    try:
        said = json.loads(described.read_text())
    except ValueError as error:
        raise ValueError(f"{described} is no JSON ({error}): convert again") from error
    config = typed(from_json(said["config"], SoraConfig, str(described)), dtype)
    needed = ["text", "dit", "vae"]
    needed += ["dit_low"] * (config.boundary is not None) + ["vision"] * (config.vision is not None)
    if missing := [name for name in needed if not (folder / CONVERTED / name).is_dir()]:
        raise FileNotFoundError(f"{folder / CONVERTED} lacks {', '.join(missing)}: convert again")
    parts: dict[str, Part] = {
        name: converted(folder / CONVERTED / name, part_of(config, name), said.get("signatures", {}).get(name, ""))
        for name in INITS
        if (folder / CONVERTED / name).is_dir()
    }
    return Opened(config, parts, (folder / TOKENIZER).read_text(encoding="utf-8")), said["dtype"]


def converted(folder: Path, part: Part, made_by: str = "") -> ConvertedPart:
    """The part of these shapes, as it was converted."""
    return ConvertedPart([], dict, part.init, part.config, part.whole, folder, made_by)


def typed(config: SoraConfig, dtype: Dtype | None) -> SoraConfig:
    """The config with matrix products of text encoder and transformer in another type, where one is named."""
    if dtype is None:
        return config
    return replace(config, text=replace(config.text, dtype=dtype), dit=replace(config.dit, dtype=dtype))


def stored_in(config: SoraConfig, name: str, params: Any, dtype: Dtype | None) -> Any:
    """A part's parameters in the types that they have in a model of this type, where one is named."""
    if dtype is None:
        return params
    return jax.tree.map(lambda x, to: x.astype(to.dtype), params, part_of(config, name).abstract(dtype))


def part_of(config: SoraConfig, name: str) -> Part:
    """The shapes of a part's parameters."""
    return Part([], dict, INITS[name], getattr(config, name.removesuffix("_low")), whole=name == "vae")


def types_of_matrices(part: Part, params: Any) -> set[str]:
    """The types of those parameters that are in whichever type a model is."""
    types = jax.tree.map(
        lambda x, to: str(x.dtype) if to.dtype == "bfloat16" else "", params, part.abstract("bfloat16")
    )
    return set(jax.tree.leaves(types)) - {""}
