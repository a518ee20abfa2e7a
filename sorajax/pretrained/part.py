"""A part of a model, text encoder, transformer or autoencoder, as what is to be read and how."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from sorajax.devices.sharding import path_name, shardings
from sorajax.models.quantized import Bits, is_quantized_leaf
from sorajax.models.sora import SoraConfig, init_vae
from sorajax.pretrained.conventions import Dtype
from sorajax.pretrained.table import Finish, Row, check_tensors, stream_parameters

FULL = ("time_in", "time_out", "time_modulation", "modulation", "modulation_out", "positions", "position_bias")
"""Parts of the path of parameters that stay float32, as in the reference: clocks, modulation, biases of attention."""


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
        """Raises ValueError where names, shapes or types of tensors are not those that the config wants."""
        check_tensors(self.rows, self.tensors(), self.abstract("float32"))

    def load(
        self, dtype: Dtype = "float32", mesh: jax.sharding.Mesh | None = None, finish: Finish = lambda name, leaf: leaf
    ) -> dict:
        """The parameters, streamed to their places, each through `finish`: its name and value give what takes its
        place.

        Raises ValueError where tensors and config do not match.
        """
        return stream_parameters(self.rows, self.tensors(), self.abstract(dtype, mesh), finish)

    def signature(self) -> str:
        """A short hash of the weights that reads few of them: all names, and the scales of all norms."""
        tensors = self.tensors()
        return hashed({name: tensors[name] if "norm" in name else None for name in sorted(tensors)})


@dataclass(frozen=True)
class Opened:
    """A model whose parts are read when they are asked for. `parts` has "text", "dit", "vae" and, by model, "dit_low"
    and "vision"."""

    config: SoraConfig
    parts: dict[str, Part]
    tokenizer: str
    """The text of its tokenizer.json."""


def abstract_parameters(init: Callable[[Any, jax.Array], dict], config: Any, dtype: Dtype) -> Any:
    """Shapes and types that a part's parameters have in memory, without any."""
    return Part([], dict, init, config, whole=init is init_vae).abstract(dtype)


def each_finished(params: Any, finish: Finish) -> Any:
    """Parameters on devices through a function, one by one; those that were given may not be used any more."""
    flat = flatten_dict(params, sep="/")
    del params
    return unflatten_dict({name: finish(name, flat.pop(name)) for name in list(flat)}, sep="/")


def hashed(recorded: Mapping[str, Any]) -> str:
    """A short hash of names, and of the arrays that some of them have."""
    digest = hashlib.sha256()
    for name, value in recorded.items():
        digest.update(name.encode())
        if value is not None:
            digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]
