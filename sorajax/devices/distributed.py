"""Multi-process runs: every process runs the same command, and JAX joins their devices.

A process is one host of a slice. Process 0 writes files and shows progress.

On Cloud TPU, GKE and Slurm JAX finds the processes by itself. Elsewhere options or the environment name them:

    JAX_COORDINATOR_ADDRESS=host:port   JAX_NUM_PROCESSES=2   JAX_PROCESS_ID=0

When a process or its machine dies, the others notice within `HEARTBEAT` seconds and stop with a one-line message (or
with JAX's own longer one, where its coordination service notices first); --resume continues the run.
"""

import io
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")

HEARTBEAT = 30
"""Seconds without a heartbeat after which a process counts as dead."""
SIGNS = ("Connection", "heartbeat", "Gloo", "UNAVAILABLE", "DEADLINE", "coordination")
"""Words in the errors of a process whose peer is gone."""


@dataclass(frozen=True)
class Processes:
    """How many processes run the command, and which of them this is."""

    index: int = 0
    count: int = 1

    def share(self, things: list) -> list:
        """This process's part of a list: every `count`-th thing."""
        return things[self.index :: self.count]

    def from_first(self, find: Callable[[], Result]) -> Result:
        """What `find` returns in process 0, the only one that calls it."""
        if self.count == 1:
            return find()
        from sorajax.devices.exchange import first_of

        return first_of(find() if self.index == 0 else None)


@dataclass(frozen=True)
class DistributedConfig:
    """How processes find each other; None: from the environment or the cluster.

    Raises ValueError where only some fields are set, for a malformed coordinator, and for a process out of range.
    """

    coordinator: str | None = None
    """HOST:PORT of process 0, if several processes run the command and are not found automatically."""
    processes: int | None = None
    """Number of processes."""
    process: int | None = None
    """Index of this process, from 0."""

    def __post_init__(self) -> None:
        is_set = [value is not None for value in (self.coordinator, self.processes, self.process)]
        if any(is_set) and not all(is_set):
            raise ValueError("--coordinator, --processes and --process belong together: give all three or none")
        if self.coordinator is None:
            return
        assert self.processes is not None
        assert self.process is not None
        host, colon, port = self.coordinator.rpartition(":")
        if not (host and colon and port.isdigit()):
            raise ValueError(f"--coordinator {self.coordinator} is not HOST:PORT, e.g. 10.0.0.2:8476")
        if not 0 <= self.process < self.processes:
            raise ValueError(f"--process {self.process} is not among {self.processes} processes: count from 0")

    @classmethod
    def from_environment(cls) -> "DistributedConfig":
        """The values of JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; empty where one is not set."""
        names = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
        address, count, number = (os.environ.get(name) for name in names)
        if address is None or count is None or number is None:
            return cls()
        return cls(address, int(count), int(number))


def print_any_name() -> None:
    """Makes stdout print characters that its encoding lacks as escapes, instead of raising UnicodeEncodeError."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def join(config: DistributedConfig) -> Processes:
    """Connects this process to the others of a multi-process run; call it before JAX initialises its devices.

    Does nothing in a single-process run. Raises RuntimeError, on one line, where the others cannot be reached.
    """
    if config.coordinator is None:
        config = DistributedConfig.from_environment()
    if config.coordinator is None and not several_hosts():
        return Processes()
    import jax

    logging.getLogger("jax._src.distributed").setLevel(logging.ERROR)
    try:
        jax.distributed.initialize(
            config.coordinator,
            config.processes,
            config.process,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=2 * HEARTBEAT,
        )
    except Exception as error:  # errors of gRPC and of JAX
        reason = " ".join(str(error).split())[:200]
        raise RuntimeError(
            f"the processes did not find each other ({reason}): start all of them, with one coordinator "
            "that every machine can reach"
        ) from error
    return Processes(jax.process_index(), jax.process_count())


def several_hosts() -> bool:
    """Whether this process is one of several on a cluster that JAX detects."""
    if os.environ.get("TPU_WORKER_HOSTNAMES", "").count(",") or int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        return True
    return any(name in os.environ for name in ("JOB_COMPLETION_INDEX", "OMPI_COMM_WORLD_SIZE", "CLOUD_TPU_TASK_ID"))


def sharing(mesh: str | None) -> Processes:
    """The processes that share out independent work: all, or with a mesh over all devices none, because they do
    everything together."""
    import jax

    return Processes() if mesh else Processes(jax.process_index(), jax.process_count())


def print_once(text: str) -> None:
    """Prints in process 0 only."""
    import jax

    if jax.process_index() == 0:
        print(text, flush=True)


def barrier(name: str) -> None:
    """Waits until every process has reached the barrier of this name."""
    import jax

    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices(name)


def exit_if_one_of_several(
    error: BaseException, code: int = 1, remedy: str = "start all processes again with --resume"
) -> None:
    """Prints why this process stops and exits at once, if it is one of several: a regular exit would wait for a dead
    peer forever. Does not import JAX."""
    jax = sys.modules.get("jax")
    if jax is None or not jax.distributed.is_initialized() or jax.process_count() == 1:
        return
    reason = " ".join(str(error).split()) or type(error).__name__
    if any(sign in reason for sign in SIGNS):
        reason = f"another process is gone ({reason[:160]}); {remedy}"
    print(f"sorajax: process {jax.process_index()}: {reason}", file=sys.stderr, flush=True)
    os._exit(code)
