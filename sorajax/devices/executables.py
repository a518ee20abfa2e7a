"""Compiled programs on disk as executables. A process that finds its program there neither traces nor lowers it.

Two kinds of files, each named by a hash of what it depends on:

    .inputs      the static inputs of a program (`static_inputs`) -> which executable it is
    .executable  the lowered program, compiler, options and devices -> machine code

So an edit of sorajax that does not change a program costs tracing and lowering once, not compilation. A file repeats
the hash of its name, so it is never taken for another, and a damaged one is made anew. JAX's own cache does not store
these programs: on CPU an executable that was read from it cannot be serialised again.

Executables are pickles and machine code, which run with the user's rights when they are loaded. So they are in a folder
of the user's cache that only the user may enter (mode 0700); a folder that others own or may enter is not used.

Not stored are programs with host callbacks, programs over several processes, and those that contain functions from
outside sorajax, whose source the hash does not know; nor any where the backend cannot serialise.
"""

import hashlib
import os
import pickle
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.sharding import Mesh

from sorajax.devices.canonical import Unknown, canonical, traced_code
from sorajax.devices.compilation import compiling_anew
from sorajax.devices.fingerprint import LIBRARIES, code, installed
from sorajax.files import Address, as_path, write_atomically

LIMIT = 2**30
"""Bytes of all files; above it, those that were not used for longest are removed."""
CACHES = ("compilation_cache", "persistent_cache")
"""Settings of jax with these names say where programs are stored, not what they are."""
FLAGS = ("XLA_", "LIBTPU", "TPU_", "TF_XLA", "TF_CUDNN", "NVIDIA_TF32", "CUBLAS")
"""Beginnings of the environment variables that compilers and kernels read."""
UNSERIALISABLE = (AttributeError, TypeError, ValueError, NotImplementedError, pickle.PicklingError)
"""Errors that jax raises, besides JaxRuntimeError, for a program that it cannot serialise, e.g. one with host
callbacks."""

Options = Mapping[str, Any]


def executable(
    function: Callable,
    arguments: tuple[Any, ...],
    options: Options,
    mesh: Mesh | None,
    trace: Callable[[], tuple[jax.stages.Traced, jax.stages.Lowered]],
    compiled: Callable[[jax.stages.Lowered], jax.stages.Compiled],
) -> Callable:
    """The program of a function for arguments of these shapes, read from disk or compiled and stored there.

    options: of the compiler. mesh: active while the function is traced. trace: traces and lowers the function, in this
    thread, whose settings of jax count. compiled: compiles it, with these options."""
    folder = store()
    if folder is None:
        return compiled(trace()[1])
    try:
        devices = devices_of(arguments, mesh)
        inputs = static_inputs(function, arguments, options, mesh, devices)
    except Unknown:
        return compiled(trace()[1])
    if (found := get(folder / f"{inputs}.inputs")) is not None:
        program = load(folder / f"{found[0]}.executable", arguments, found[1], devices)
        if program is not None:
            return program
    traced, lowered = trace()
    name = lowered_program(traced, lowered, arguments, options, devices)
    output: Any = jax.tree.map(lambda _: 0, lowered.out_info)
    program = load(folder / f"{name}.executable", arguments, output, devices)
    if program is None:
        with compiling_anew():
            program = compiled(lowered)
        if not put(folder / f"{name}.executable", serialised(program)):
            return program
    put(folder / f"{inputs}.inputs", (name, output))  # a structure cannot be pickled, but an example of it can
    remove_oldest(folder)
    return program


def store() -> Path | None:
    """The folder of executables, made if it is missing. None where the compilation cache is off or not on this machine,
    where several processes compute together, and where others may enter the folder."""
    cache_dir = jax.config.values["jax_compilation_cache_dir"]
    if cache_dir is None or not jax.config.values["jax_enable_compilation_cache"] or jax.process_count() > 1:
        return None
    if isinstance(folder := as_path(cache_dir), Address):
        return None
    folder = folder / "executables"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError:
        return None
    is_private = os.name != "posix" or (found.st_uid == os.getuid() and not found.st_mode & 0o077)
    return folder if is_private else None


def static_inputs(
    function: Callable,
    arguments: tuple[Any, ...],
    options: Options,
    mesh: Mesh | None,
    devices: Sequence[jax.Device],
) -> str:
    """The hash of everything that a compiled program depends on but the values of its arguments. Raises Unknown where a
    part of it has no canonical text."""
    parts = {
        "function": canonical(function),
        "mesh": f"{canonical(mesh)} in {jax.sharding.get_abstract_mesh()}",
        "code": code(),
        "traced code": traced_code(),
        **common_inputs(arguments, options, devices),
    }
    return digest(repr(parts).encode())


def lowered_program(
    traced: jax.stages.Traced,
    lowered: jax.stages.Lowered,
    arguments: tuple[Any, ...],
    options: Options,
    devices: Sequence[jax.Device],
) -> str:
    """The hash of a lowered program and of what else decides its executable. jax drops arguments that are not used
    while it lowers, so the hash contains which ones they are."""
    jaxpr = traced.jaxpr.jaxpr
    used = {id(variable) for equation in jaxpr.eqns for variable in equation.invars} | set(map(id, jaxpr.outvars))
    parts = {
        "program": lowered.as_text(),
        "used": [id(variable) in used for variable in jaxpr.invars],
        "output": str(lowered.out_tree),
        "versions": [installed(name) for name in LIBRARIES],
        **common_inputs(arguments, options, devices),
    }
    return digest(repr(parts).encode())


def common_inputs(arguments: tuple[Any, ...], options: Options, devices: Sequence[jax.Device]) -> dict[str, str]:
    """Texts of arguments, options, devices, settings and machine. Raises Unknown."""
    leaves, tree = jax.tree.flatten(arguments)
    if " at 0x" in (structure := str(tree)):
        raise Unknown("a node of the arguments is described by its address")
    settings = {name: value for name, value in jax.config.values.items() if not any(part in name for part in CACHES)}
    return {
        "structure": structure,
        "arguments": "; ".join(map(argument, leaves)),
        "options": canonical(options),
        "devices": canonical(list(devices)),
        "backend": f"{devices[0].client.platform_version} with {jax.local_device_count()} devices",
        "settings": canonical(settings),
        "environment": canonical({name: text for name, text in os.environ.items() if name.startswith(FLAGS)}),
        "machine": machine(),
    }


def argument(leaf: Any) -> str:
    """Shape, type and place of an argument."""
    if isinstance(leaf, jax.Array):
        array: Any = leaf  # its type does not declare all attributes
        kind = f"{array.dtype}{array.shape} weak={array.weak_type} committed={array.committed}"
        return f"{kind} {canonical(array.sharding)} {array.format.layout}"
    kind = jax.typeof(leaf)
    return f"{kind.dtype}{kind.shape} weak={kind.weak_type} on the host"


def devices_of(arguments: tuple[Any, ...], mesh: Mesh | None) -> list[jax.Device]:
    """The devices of a program: the mesh's, or the one that its arguments are on. Raises Unknown for several without a
    mesh."""
    if mesh is not None:
        return list(mesh.devices.flat)
    arrays = [leaf for leaf in jax.tree.leaves(arguments) if isinstance(leaf, jax.Array)]
    devices = {device for array in arrays for device in array.devices()}
    if len(devices) != 1:
        raise Unknown(f"the arguments are on {len(devices)} devices, and there is no mesh")
    return list(devices)


@cache
def machine() -> str:
    """Operating system, number of processors, and their model and instructions, for which a CPU's programs are
    compiled."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = [f"model name {platform.processor()}"]
    features = sorted({line for line in lines if line.lower().startswith(("flags", "features", "model name"))})
    return f"{platform.platform()} {os.cpu_count()} {digest(repr(features).encode())}"


def load(path: Path, arguments: tuple[Any, ...], output: Any, devices: Sequence[jax.Device]) -> Callable | None:
    """The executable in a file; None where there is no such file, or none that the backend loads."""
    found = get(path)
    if found is None:
        return None
    structures = jax.tree.structure((arguments, {})), jax.tree.structure(output)
    try:
        return serialize_executable.deserialize_and_load(found, *structures, devices[0].client, list(devices))
    except Exception:  # whatever is wrong with an executable, compiling the program again is the remedy
        return None


def serialised(program: jax.stages.Compiled) -> bytes | None:
    """A compiled program as bytes; None where jax or the backend cannot serialise it."""
    try:
        return serialize_executable.serialize(program)[0]
    except (jax.errors.JaxRuntimeError, *UNSERIALISABLE):
        return None


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def get(path: Path) -> Any:
    """The value that `put` stored in a file; None where the file is missing, damaged or another one."""
    try:
        content = path.read_bytes()
        os.utime(path)  # the time of the last use
    except OSError:
        return None
    seal, content = content[:64], content[64:]
    return pickle.loads(content) if seal == digest(path.name.encode() + content).encode() else None


def put(path: Path, value: Any) -> bool:
    """Stores a value under a hash of it and of the file's name. Returns whether it did."""
    try:
        content = pickle.dumps(value)
        content = digest(path.name.encode() + content).encode() + content
        if value is None or len(content) > LIMIT:
            return False
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
    except (OSError, *UNSERIALISABLE):
        return False
    return True


def remove_oldest(folder: Path) -> None:
    """Removes the files that were not used for longest, until all together take at most `LIMIT` bytes. Files that
    another process removes meanwhile are skipped."""
    found = []
    for path in folder.iterdir():
        try:
            one = path.stat()
        except OSError:
            continue
        found.append((one.st_mtime_ns, one.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= LIMIT:
            return
        try:
            path.unlink(missing_ok=True)
        except OSError:  # in use, on Windows
            continue
        total -= size
