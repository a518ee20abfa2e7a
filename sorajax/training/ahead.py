"""Memory and time of a training step on other machines: it is compiled ahead of time, and the program is analysed.

A roofline is a bound, not a measurement: the longest of computing at the chip's peak, moving the step's arrays through
its memory once, and sending what the collectives send (Williams et al. 2009).
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from sorajax.devices.partitioned import read
from sorajax.devices.placement import Placement
from sorajax.devices.sharding import batch_sharding, shardings
from sorajax.sampling.memory import PlannedProgram
from sorajax.training.flops import training_flops
from sorajax.training.loop import LoopConfig
from sorajax.training.optimizer import make_optimizer
from sorajax.training.step import Stage, make_begin, make_update, method, step_loss

GIB = 2**30


class Chip(NamedTuple):
    """One chip, from its maker's data sheet: dense bfloat16 FLOP/s, bytes of memory, bytes/s of it, bytes/s of all its
    links to others, and dense int8 operations/s, those of bfloat16 where the data sheet has none."""

    flops: float
    memory: float
    bandwidth: float
    links: float
    int8: float


CHIPS = {
    # cloud.google.com/tpu/docs: the page of each version
    "v4": Chip(275e12, 32 * GIB, 1228e9, 300e9, 275e12),
    "v5e": Chip(197e12, 16 * GIB, 819e9, 200e9, 394e12),
    "v5p": Chip(459e12, 95 * GIB, 2765e9, 600e9, 918e12),
    "v6e": Chip(918e12, 32 * GIB, 1640e9, 448e9, 1836e12),
    "tpu7x": Chip(2307e12, 192 * GIB, 7380e9, 1200e9, 2307e12),
    # NVIDIA H200 data sheet
    "h200": Chip(989e12, 141e9, 4800e9, 900e9, 1979e12),
}
DEVICES = {"v4": 2, "tpu7x": 2}
"""JAX devices per chip, where there are several: each has its part of the chip's FLOP/s, memory and links."""
H200 = """gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 4800000000000
l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 150000000000 shared_memory_per_block_optin: 232448
registers_per_core_limit: 65536 registers_per_block_limit: 65536 cuda_compute_capability { major: 9 minor: 0 } }
platform_name: "CUDA" dnn_version_info { major: 9 minor: 28 } device_description_str: "NVIDIA H200" """


@dataclass(frozen=True)
class Topology:
    """Chips that need not be here: "v5p:4x4x4" is a cube of 64, "h200:8" are eight GPUs, "tpu7x:2x2x1" are four chips,
    which are eight devices."""

    name: str

    def __post_init__(self) -> None:
        kind, _, shape = self.name.partition(":")
        if kind not in CHIPS or not re.fullmatch(r"\d+(x\d+)*", shape):
            raise ValueError(
                f"{self.name} is no topology: write KIND:SHAPE, e.g. v5e:2x4 or v5p:4x4x4; the kinds are "
                f"{', '.join(CHIPS)}"
            )

    @property
    def kind(self) -> str:
        return self.name.partition(":")[0]

    @property
    def chip(self) -> Chip:
        """The data of one device: a chip, or half of one."""
        return Chip(*(value / DEVICES.get(self.kind, 1) for value in CHIPS[self.kind]))

    @property
    def device(self) -> str:
        """A device in words."""
        return self.kind if DEVICES.get(self.kind, 1) == 1 else f"half a {self.kind}"

    def devices(self) -> list[Any]:
        """Raises ValueError where the compiler for them is not installed, or knows no such shape."""
        shape = self.name.partition(":")[2]
        try:
            if self.kind == "h200":
                described = topologies.get_topology_desc(platform="cuda", topology=f"1x1x{shape}", target_config=H200)
            else:
                single = {"chips_per_host_bounds": (1, 1, 1)} if set(shape.split("x")) == {"1"} else {}
                described = topologies.get_topology_desc(platform="tpu", topology_name=self.name, **single)
        except Exception as error:  # jax and libtpu raise bare and their own exceptions
            reason = " ".join(str(error).split())
            if re.search(r"libtpu|not (installed|found)|Unknown platform|No module|Unable to init|PJRT plugin", reason):
                extra = "cuda" if self.kind == "h200" else "tpu"
                raise ValueError(f"the compiler for {self.kind} is not installed: pip install '.[{extra}]'") from error
            raise ValueError(f"{self.name} is not a shape that {self.kind} comes in: {reason[:200]}") from error
        return list(described.devices)


def mesh_on(topology: Topology, sizes: dict[str, int]) -> Mesh:
    """A mesh of these axes, which must fill the topology; one size may be -1. Raises ValueError."""
    from sorajax.devices.sharding import make_mesh

    return make_mesh(sizes, topology.devices())


@dataclass(frozen=True)
class StepPlan:
    """Memory and time of one step of one bucket of clips."""

    parameters: int
    flops: float
    """Model FLOPs of the whole step."""
    arguments: int
    """Bytes a device: parameters, their average, the optimizer's state, the batch."""
    temporary: int
    peak: int
    collectives: dict[str, tuple[int, int]]
    """Kind -> (times, bytes a device makes with it), in a whole step."""

    def seconds(self, chip: Chip, devices: int) -> dict[str, float]:
        """The three sides of the roofline."""
        moved = 2 * self.arguments + 2 * self.temporary
        sent = sum(size for _, size in self.collectives.values())
        return {
            "computing": self.flops / devices / chip.flops,
            "memory": moved / chip.bandwidth,
            "links": sent / chip.links,
        }


class TooLarge(ValueError):
    """The compiler says that the step does not fit; the message has its figure."""


def plan_step(stage: Any, batch: Any, config: LoopConfig, mesh: Mesh) -> StepPlan:
    """Compiles the last training step, of abstract arrays, for the devices of `mesh`. Raises TooLarge."""
    stage = method(stage, Stage.at)(config.steps)
    optimizer = make_optimizer(config.optimizer, None if config.minutes else config.steps)
    begin = make_begin(optimizer, stage)
    key = jax.eval_shape(lambda: jax.random.key(0))
    abstract = jax.eval_shape(lambda key: begin(stage.init(key)), key)
    where = shardings(abstract, mesh)
    split = batch_sharding(mesh)

    def placed(tree: Any, places: Any) -> Any:
        return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, places)

    whole = NamedSharding(mesh, P())
    arguments = (
        placed(abstract, where),
        placed(stage, shardings(stage, mesh)),
        placed(batch, jax.tree.map(lambda _: split, batch)),
        jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=whole),
        jax.ShapeDtypeStruct((), np.float32, sharding=whole),
    )
    platform = mesh.devices.flat[0].platform
    with jax.set_mesh(mesh):
        step = jax.jit(make_update(optimizer, config.optimizer), donate_argnums=0, out_shardings=(where, whole))
        lowered = step.trace(*arguments).lower(lowering_platforms=("cuda" if platform == "gpu" else platform,))
        compiled = compile_lowered(lowered)
    memory = compiled.memory_analysis()
    return StepPlan(
        parameters=sum(leaf.size for leaf in jax.tree.leaves(abstract.params)),
        flops=training_flops(step_loss, abstract.params, stage, abstract, batch, key),
        arguments=memory.argument_size_in_bytes,
        temporary=memory.temp_size_in_bytes,
        peak=peak_of(memory),
        collectives=read(compiled.as_text()).collectives,
    )


def compile_lowered(lowered: Any) -> Any:
    """Compiles a lowered program for devices that need not be here. Raises TooLarge."""
    try:
        return lowered.compile()
    except Exception as error:  # XLA's own
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        found = re.search(r"\(?([\d.]+ ?[KMGT])i?B?\)?", str(error).partition("RESOURCE_EXHAUSTED")[2])
        raise TooLarge(found[1] if found else " ".join(str(error).split())[:200]) from error


def peak_of(memory: Any) -> int:
    """Peak bytes on a device, from a program's memory analysis."""
    return getattr(memory, "peak_memory_in_bytes", 0) or memory.argument_size_in_bytes + memory.temp_size_in_bytes


def compile_program(stage: PlannedProgram, placement: Placement) -> Any:
    """Compiles a stage of sampling for the devices of a mesh, as the pipeline does on them. Raises TooLarge."""
    assert placement.mesh is not None
    platform = placement.mesh.devices.flat[0].platform
    return compile_lowered(stage.lower(placement, ("cuda" if platform == "gpu" else platform,)))


def alternatives(devices: int, heads: int) -> list[dict[str, int]]:
    """Meshes that shard a model further, those with the least communication first."""
    found: list[dict[str, int]] = []
    for tensor in (1, 2, 4, 8):
        for seq in (1, 2, 4, 8):
            if devices % (tensor * seq) == 0 and heads % tensor == 0:
                found.append({"fsdp": devices // (tensor * seq), "seq": seq, "tensor": tensor})
    return sorted(found, key=lambda sizes: (sizes["seq"] * sizes["tensor"], sizes["tensor"]))
