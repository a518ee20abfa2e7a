"""Several processes as one program: each runs the same command, and JAX joins their devices.

On Cloud TPU, GKE and Slurm the processes find each other. By hand they are told, by options or by environment:

    JAX_COORDINATOR_ADDRESS=host:port   JAX_NUM_PROCESSES=2   JAX_PROCESS_ID=0

A process that dies, or whose machine does, is missed after `HEARTBEAT` seconds at most; the others then stop with one
line (or with JAX's own longer message, where its service notices first), and the run goes on with --resume.
"""

import io
import logging
import os
import sys
from dataclasses import dataclass

HEARTBEAT = 30
"""Seconds without a sign of life after which a process counts as dead."""


@dataclass(frozen=True)
class Together:
    """How processes find each other; None asks the environment, and the cluster."""

    coordinator: str | None = None
    """host:port of process 0."""
    processes: int | None = None
    process: int | None = None
    """This one, counted from 0."""

    def __post_init__(self) -> None:
        said = [value is not None for value in (self.coordinator, self.processes, self.process)]
        if any(said) and not all(said):
            raise ValueError("of --coordinator, --processes and --process all are needed, or none")
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
    def of_environment(cls) -> "Together":
        """What JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID say."""
        names = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
        address, count, number = (os.environ.get(name) for name in names)
        if address is None or count is None or number is None:
            return cls()
        return cls(address, int(count), int(number))


def print_any_name() -> None:
    """Lets stdout print file names and captions for which it has no letters: as escapes, and not with an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def join(how: Together) -> None:
    """Makes this process one of several, where it is; must come before JAX is asked for devices.

    Raises RuntimeError, on one line, where the others cannot be reached.
    """
    if how.coordinator is None:
        how = Together.of_environment()
    if how.coordinator is None and not several_hosts():
        return
    import jax

    logging.getLogger("jax._src.distributed").setLevel(logging.ERROR)
    try:
        jax.distributed.initialize(
            how.coordinator,
            how.processes,
            how.process,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=2 * HEARTBEAT,
        )
    except Exception as error:  # gRPC's and jax's own
        said = " ".join(str(error).split())[:200]
        raise RuntimeError(
            f"the processes did not find each other ({said}): start all of them, with one coordinator "
            "that every machine can reach"
        ) from error


def several_hosts() -> bool:
    """Whether this process runs on a cluster that jax can ask for the others."""
    if os.environ.get("TPU_WORKER_HOSTNAMES", "").count(",") or int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        return True
    return any(name in os.environ for name in ("JOB_COMPLETION_INDEX", "OMPI_COMM_WORLD_SIZE", "CLOUD_TPU_TASK_ID"))


def say(text: str) -> None:
    """Prints, in the first process alone."""
    import jax

    if jax.process_index() == 0:
        print(text, flush=True)


def together(name: str) -> None:
    """Waits until every process has come to the place of this name."""
    import jax

    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices(name)


def leave(error: BaseException) -> int:
    """Says why this process stops, and stops it at once: waiting for a dead peer would take forever.

    Returns the exit code where there is one process only.
    """
    import jax

    said = " ".join(str(error).split())
    if jax.process_count() == 1:
        print(said, file=sys.stderr)
        return 1
    lost = any(sign in said for sign in ("Connection", "heartbeat", "Gloo", "UNAVAILABLE", "DEADLINE", "coordination"))
    reason = f"another process is gone ({said[:160]})" if lost else said
    again = "start all processes again with --resume"
    print(f"process {jax.process_index()}: {reason}; {again}", file=sys.stderr, flush=True)
    os._exit(1)
