"""How the parameters of a model in use are placed: on one device, or on the mesh for sampling."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding

from sorajax.devices.sharding import (
    axes_text,
    check_divides,
    frames_spec,
    make_mesh,
    put,
    replicated,
    sampling_axes,
    sampling_shardings,
)

REPLICATED_SHARE = 0.4
"""Share of one device's memory up to which parameters are copied to each device; larger ones are sharded over all."""


@dataclass(frozen=True)
class Placement:
    """The mesh that samples, None for one device.

    split_weights: every device has an equal part of the parameters, and gathers each block's when it is computed.
    Otherwise every device has all of them, except what the axis `tensor` splits. chosen: the mesh was not asked for, so
    clips that it does not divide are sampled too; devices then repeat each other's work.
    """

    mesh: Mesh | None = None
    split_weights: bool = False
    chosen: bool = True

    @property
    def copies(self) -> int:
        """Copies of the parameters on all devices together."""
        return 1 if self.mesh is None or self.split_weights else self.mesh.size // self.mesh.shape["tensor"]

    def check(self, tokens: int, heads: int) -> None:
        """Raises ValueError, naming sizes that fit, where a mesh that the user set does not divide a clip."""
        if self.mesh is not None and not self.chosen:
            check_divides(self.mesh, "seq", "tokens", tokens)
            check_divides(self.mesh, "tensor", "heads", heads)

    def for_batch(self, size: int, tokens: int) -> "Placement":
        """The placement for a batch that `data` does not divide, e.g. one clip without guidance: if the mesh was chosen
        automatically, the devices of `data` split the clip's tokens, too. Every device keeps its part of the
        parameters."""
        if self.mesh is None or not self.chosen:
            return self
        data, seq = self.mesh.shape["data"], self.mesh.shape["seq"]
        if size % data == 0 or tokens % (data * seq):
            return self
        sizes = dict(self.mesh.shape) | {"data": 1, "seq": data * seq}
        grid = self.mesh.devices.reshape(tuple(sizes.values()))
        return replace(self, mesh=Mesh(grid, self.mesh.axis_names, axis_types=self.mesh.axis_types))

    def shardings(self, weights: Any) -> Any:
        """The sharding of each parameter; None on one device."""
        if self.mesh is None:
            return jax.tree.map(lambda _: None, weights)
        return sampling_shardings(weights, self.mesh, self.split_weights)

    def place(self, weights: Any) -> Any:
        """Puts parameters on their devices."""
        if self.mesh is None:
            return jax.device_put(weights)
        return jax.tree.map(put, weights, self.shardings(weights))

    def replicate(self, values: Any) -> Any:
        """Puts other inputs of a program on every device; on one device, they are returned as they are."""
        if self.mesh is None:
            return values
        where = replicated(self.mesh)
        return jax.tree.map(lambda value: put(value, where), values)

    def frame_shardings(self, frames: Any) -> Any:
        """How frames and latents [b t h w c] are split on the mesh, see `shard_frames`."""
        assert self.mesh is not None
        mesh = self.mesh
        with self.active():
            return jax.tree.map(lambda x: NamedSharding(mesh, frames_spec(x.shape)), frames)

    def split(self, frames: Any) -> Any:
        """Puts frames and latents [b t h w c] on the mesh; on one device, they are returned as they are."""
        return frames if self.mesh is None else jax.tree.map(put, frames, self.frame_shardings(frames))

    @property
    def spans_hosts(self) -> bool:
        """Whether devices of several processes sample together."""
        return self.mesh is not None and self.mesh.is_multi_process

    def active(self) -> AbstractContextManager:
        """Makes the mesh the current one, which `shard` uses."""
        return nullcontext() if self.mesh is None else jax.set_mesh(self.mesh)


ONE_DEVICE = Placement()


def sampling_devices() -> list[jax.Device]:
    """The devices that sample where no mesh is given: all of this process's."""
    return jax.local_devices()


def choose_placement(
    mesh: str | None,
    guided: bool,
    tokens: int,
    heads: int,
    sizes: Mapping[str, int],
    memory: int,
    devices: list[jax.Device] | None = None,
) -> Placement:
    """The placement of a model whose parts take `sizes` bytes, on devices with `memory` bytes each.

    mesh: axes and their sizes, e.g. "data=2,seq=4"; None or "": chosen for one clip of `tokens` tokens, see
    `sampling_axes`. A mesh that is given is of the devices of all processes. Raises ValueError for a mesh that does not
    fill them, and names one that does.
    """
    devices = (jax.devices() if mesh else sampling_devices()) if devices is None else devices
    best = sampling_axes(len(devices), guided, tokens, heads)
    try:
        made = make_mesh(mesh or best, devices)
    except ValueError as error:
        raise ValueError(f"{error}, e.g. {axes_text(best)}" if "does not fill" in str(error) else str(error)) from error
    if made.size == 1:
        return ONE_DEVICE
    return Placement(made, sum(sizes.values()) > REPLICATED_SHARE * memory, chosen=not mesh)
