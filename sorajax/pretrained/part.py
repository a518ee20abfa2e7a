"""Parts of a model that are not loaded yet: text encoder, transformer, autoencoder or image encoder."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from sorajax.devices.sharding import path_name
from sorajax.models.quantized import Bits, is_quantized_leaf
from sorajax.models.sora import SoraConfig, init_vae
from sorajax.pretrained.conventions import Dtype
from sorajax.pretrained.table import Finish, Row, check_tensors, stream_parameters

FLOAT32_PARAMETERS = (
    "time_in",
    "time_out",
    "until_in",
    "until_out",
    "guidance_in",
    "guidance_out",
    "time_modulation",
    "modulation",
    "modulation_out",
    "positions",
    "position_bias",
)
"""Names in the paths of parameters that stay float32, as in the reference: time embedding, modulation, positions and
position biases."""

Shardings = Callable[[Any], Any]
"""Shapes of parameters -> the sharding of each, or None."""


@dataclass(frozen=True)
class Part:
    """A part of a model: its tensors, and the table that maps them to parameters.

    rows: the table of names. tensors: opens the lazy mapping of tensors. init: (config, key) -> random parameters.
    """

    rows: list[Row]
    tensors: Callable[[], Mapping[str, np.ndarray]]
    init: Callable[[Any, jax.Array], dict]
    config: Any
    keep_float32: bool = False
    """All parameters stay float32, as the reference's autoencoder does."""

    def abstract(self, dtype: Dtype, shardings: Shardings | None = None) -> Any:
        """ShapeDtypeStructs of the parameters, with `shardings`: matrices in `dtype`, others in float32; all in float32
        with `keep_float32`."""
        shapes = jax.eval_shape(lambda key: self.init(self.config, key), jax.random.key(0))
        placements = jax.tree.map(lambda _: None, shapes) if shardings is None else shardings(shapes)

        def typed(path: tuple, leaf: Any, sharding: Any) -> jax.ShapeDtypeStruct:
            is_float32 = (
                self.keep_float32
                or leaf.ndim < 2
                or any(name in FLOAT32_PARAMETERS for name in path_name(path).split("/"))
            )
            return jax.ShapeDtypeStruct(leaf.shape, jnp.float32 if is_float32 else dtype, sharding=sharding)

        return jax.tree.map_with_path(typed, shapes, placements, is_leaf=lambda leaf: leaf is None)

    def bytes(self, dtype: Dtype, bits: Bits | None = None) -> int:
        """Size of the parameters in bytes; with `bits`, the blocks' kernels have 8 bits."""

        def size(path: tuple, leaf: Any) -> int:
            is_quantized = bits is not None and is_quantized_leaf(path_name(path), leaf.ndim)
            return leaf.size * (1 if is_quantized else leaf.dtype.itemsize)

        return sum(jax.tree.leaves(jax.tree.map_with_path(size, self.abstract(dtype))))

    def check(self) -> None:
        """Raises ValueError where names, shapes or dtypes of tensors do not match the config."""
        check_tensors(self.rows, self.tensors(), self.abstract("float32"))

    def load(
        self,
        dtype: Dtype = "float32",
        shardings: Shardings | None = None,
        finish: Finish = lambda name, leaf: leaf,
    ) -> dict:
        """The parameters, streamed to their devices, each replaced by `finish(path, value)`.

        Raises ValueError where tensors and config do not match.
        """
        return stream_parameters(self.rows, self.tensors(), self.abstract(dtype, shardings), finish)

    def signature(self) -> str:
        """A short hash of the weights that reads few of them: of all names, and of the norms' tensors."""
        tensors = self.tensors()
        return short_hash({name: tensors[name] if "norm" in name else None for name in sorted(tensors)})


@dataclass(frozen=True)
class LazyModel:
    """A model whose parts are loaded on demand. `parts` has "text", "dit", "vae" and, depending on the model, "dit_low"
    and "vision"."""

    config: SoraConfig
    parts: dict[str, Part]
    tokenizer: str
    """The content of its tokenizer.json."""


def abstract_parameters(init: Callable[[Any, jax.Array], dict], config: Any, dtype: Dtype) -> Any:
    """Shapes and dtypes of a part's parameters in memory, without allocating them."""
    return Part([], dict, init, config, keep_float32=init is init_vae).abstract(dtype)


def map_parameters(params: Any, finish: Finish) -> Any:
    """Replaces parameters on devices by `finish(path, value)`, one by one; the caller must not use `params` again."""
    flat = flatten_dict(params, sep="/")
    del params
    return unflatten_dict({name: finish(name, flat.pop(name)) for name in list(flat)}, sep="/")


def short_hash(recorded: Mapping[str, Any]) -> str:
    """A short hash of names and, where they are not None, arrays."""
    digest = hashlib.sha256()
    for name, value in recorded.items():
        digest.update(name.encode())
        if value is not None:
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]
