"""A program is read from disk only where every static input is the same; whatever else is found there is made anew."""

import os
import subprocess
import sys
from functools import partial
from threading import Thread

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sorajax
from sorajax.devices import executables
from sorajax.devices.executables import executable, get, put, remove_oldest, serialised
from sorajax.devices.placement import ONE_DEVICE, Placement
from sorajax.devices.sharding import make_mesh
from sorajax.diffusion.flow import interpolate, velocity_target
from sorajax.models.layers import standardize
from sorajax.sampling.program import trace_and_lower

VALUES = jnp.float32([1, 2, 3]), jnp.float32([5, 5, 4])


@pytest.fixture
def folder(tmp_path):
    """The compilation cache in an empty folder; returns that of the executables."""
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "executables"
    jax.config.update("jax_compilation_cache_dir", before)


def run(function=velocity_target, arguments=VALUES, options=(), placement=ONE_DEVICE):
    """Calls the program of a function. Returns whether the function was traced, and the result."""
    traced = []

    def trace():
        traced.append(function)
        return trace_and_lower(function, placement, *arguments)

    def compiled(lowered):
        return lowered.compile(dict(options))

    program = executable(function, arguments, dict(options), placement.mesh, trace, compiled)
    return bool(traced), jax.tree.map(np.asarray, program(*arguments))


def test_the_second_time_a_program_is_neither_traced_nor_compiled(folder):
    (traced, first), (traced_again, second) = run(), run()
    assert (traced, traced_again) == (True, False)
    assert np.array_equal(first, VALUES[1] - VALUES[0])
    assert np.array_equal(second, first)
    assert sorted(path.suffix for path in folder.iterdir()) == [".executable", ".inputs"]


CHANGES = {
    "a constant of the traced code": lambda patch: patch.setattr("sorajax.models.attention.KERNEL_LENGTH", 64),
    "a traced function": lambda patch: patch.setattr("sorajax.models.dit.attend", standardize),
    "a method of a module": lambda patch: patch.setattr("sorajax.models.dit.Block.__call__", standardize),
    "a kernel from elsewhere": lambda patch: patch.setattr("sorajax.models.dit.attend", lambda q, k, v: v),
    "the source": lambda patch: patch.setattr("sorajax.devices.fingerprint.version", lambda name: "100.0"),
    "a flag": lambda patch: patch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true"),
    "a variable that kernels read": lambda patch: patch.setenv("NVIDIA_TF32_OVERRIDE", "1"),
    "the number of processors": lambda patch: patch.setattr("os.cpu_count", lambda: 1000),
}


def forget():
    """Lets what is computed once a process be computed again."""
    executables.code.cache_clear()
    executables.machine.cache_clear()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_process_traces_anew(change, folder, monkeypatch):
    run()
    with monkeypatch.context() as patch:
        CHANGES[change](patch)
        forget()
        assert run()[0]
    forget()
    assert not run()[0], "the first program is still there"


def test_a_setting_of_jax_traces_anew(folder):
    run()
    with jax.default_matmul_precision("float32"):
        assert run()[0]
    assert not run()[0]


PROGRAMS = {
    "another function": {"function": standardize, "arguments": VALUES[:1]},
    "another value in it": {"function": partial(standardize, epsilon=1.0), "arguments": VALUES[:1]},
    "a shape": {"arguments": (jnp.zeros(4), jnp.ones(4))},
    "a dtype": {"arguments": tuple(value.astype(jnp.bfloat16) for value in VALUES)},
    "a weak type": {"arguments": (jnp.asarray(0.5), jnp.float32(1))},
    "a strong type": {"arguments": (jnp.float32(0.5), jnp.float32(1))},
    "a value on the host": {"arguments": (np.asarray(VALUES[0]), VALUES[1])},
    "another device": {"arguments": tuple(jax.device_put(value, jax.devices()[1]) for value in VALUES)},
    "a compiler option": {"options": {"xla_backend_optimization_level": 2}},
    "a structure": {"function": sum, "arguments": (VALUES,)},
    "a mesh": {"placement": Placement(make_mesh("seq=2", jax.devices()[:2]))},
    "another mesh": {"placement": Placement(make_mesh("data=2", jax.devices()[:2]))},
    "other devices": {"placement": Placement(make_mesh("data=2", jax.devices()[2:4]))},
}


def test_every_static_input_makes_another_program(folder):
    made = {"": {}, **PROGRAMS}
    for settings in made.values():
        placement = settings.get("placement", ONE_DEVICE)
        settings["arguments"] = placement.replicate(settings.get("arguments", VALUES))
    first = {name: run(**settings) for name, settings in made.items()}
    assert [name for name, (traced, _) in first.items() if not traced] == []
    again = {name: run(**settings) for name, settings in made.items()}
    assert [name for name, (traced, _) in again.items() if traced] == []
    for name, (_, value) in again.items():
        assert np.array_equal(value, first[name][1]), name
    assert len(list(folder.glob("*.inputs"))) == len(made)


def test_a_program_that_an_edit_does_not_change_is_traced_but_not_compiled(folder, monkeypatch):
    run()
    (compiled,) = folder.glob("*.executable")
    before = compiled.stat()
    monkeypatch.setattr("sorajax.models.attention.KERNEL_LENGTH", 64)
    assert run()[0]
    assert list(folder.glob("*.executable")) == [compiled]
    assert compiled.stat().st_ino == before.st_ino, "it was not written again"
    assert not run()[0]


def first(a, b):
    return a * 2


def second(a, b):
    return b * 2


def test_programs_that_differ_in_the_argument_they_use_are_two(folder, monkeypatch):
    for function in (first, second):
        monkeypatch.setattr(function, "__module__", "sorajax.tests")
    assert np.array_equal(run(first)[1], VALUES[0] * 2)
    assert np.array_equal(run(second)[1], VALUES[1] * 2)
    assert len(list(folder.glob("*.executable"))) == 2


DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "one byte changed": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "garbage": lambda content: b"\x80\x04not a pickle" * 9,
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("suffix", ["inputs", "executable"])
def test_a_damaged_file_is_made_anew(damage, suffix, folder):
    run()
    (path,) = folder.glob(f"*.{suffix}")
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    traced, result = run()
    assert traced
    assert np.array_equal(result, VALUES[1] - VALUES[0])
    assert not run()[0], "it was repaired"


def test_an_executable_that_the_backend_cannot_load_is_made_anew(folder):
    run()
    (path,) = folder.glob("*.executable")
    put(path, b"of another version")
    traced, result = run()
    assert traced
    assert np.array_equal(result, VALUES[1] - VALUES[0])
    assert not run()[0]


def test_the_file_of_another_program_is_not_loaded(folder):
    run(), run(standardize, VALUES[:1])
    one, other = sorted(folder.glob("*.inputs"))
    one.write_bytes(other.read_bytes())
    assert get(one) is None
    assert get(other) is not None


def test_a_function_from_elsewhere_is_compiled_and_not_stored(folder):
    for _ in range(2):
        traced, result = run(lambda a, b: interpolate(a, b, 1.0))
        assert traced
        assert np.array_equal(result, VALUES[1])
    assert not list(folder.iterdir())


def test_a_program_that_calls_the_host_is_not_serialised():
    def function(x):
        jax.debug.callback(lambda value: None, x)
        return x + 1

    assert serialised(jax.jit(function).lower(VALUES[0]).compile()) is None


def test_no_program_is_stored_in_a_folder_that_others_may_enter(folder):
    folder.mkdir(mode=0o755)
    assert run()[0]
    assert run()[0]
    assert not list(folder.iterdir())


def test_only_the_user_may_enter_the_folder(folder):
    run()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_nothing_is_stored_where_the_cache_is_off(folder):
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        assert run()[0]
        assert not folder.exists()
    finally:
        jax.config.update("jax_enable_compilation_cache", True)


def test_files_that_were_not_used_for_longest_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(executables, "LIMIT", 1000)
    for number in range(4):
        put(tmp_path / f"{number}", bytes(200))  # and the seal
    for number in range(4):
        os.utime(tmp_path / f"{number}", ns=(number, number))
    assert get(tmp_path / "0") == bytes(200)  # now it was used last
    remove_oldest(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "2", "3"]
    assert not put(tmp_path / "large", bytes(2000))


def test_several_writers_leave_a_whole_file(tmp_path):
    path, values, found = tmp_path / "one", [bytes([number]) * 2**20 for number in range(4)], []

    def write(value):
        for _ in range(10):
            put(path, value)
            found.append(get(path))

    threads = [Thread(target=write, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 40
    assert all(one in values for one in found)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_a_model_that_is_loaded_again_compiles_nothing(tiny_model, folder):
    one = sorajax.load(tiny_model)("a red ball", num=2)
    files = {path: path.stat().st_ino for path in folder.iterdir()}
    other = sorajax.load(tiny_model)("a red ball", num=2)
    assert {path: path.stat().st_ino for path in folder.iterdir()} == files
    assert len(files) == 6, "text encoder, transformer and decoder"
    for first, second in zip(one, other, strict=True):
        assert np.array_equal(first.frames, second.frames)


NAMES = """
from functools import partial
import jax
import jax.numpy as jnp
from sorajax.devices.executables import static_inputs
from sorajax.models.dit import DiT
from sorajax.models.layers import standardize
print(static_inputs(partial(standardize, epsilon=frozenset("abcdefg")), (jnp.zeros(3),), {}, None, jax.devices()[:1]))
"""


@pytest.mark.slow
def test_the_name_of_a_program_is_the_same_in_every_process():
    names = {subprocess.run([sys.executable, "-c", NAMES], capture_output=True, check=True).stdout for _ in range(2)}
    assert len(names) == 1
    assert len(names.pop().strip()) == 64
