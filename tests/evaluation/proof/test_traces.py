"""A trace is summed up by operation: a GPU's kernels where there are any, else what XLA ran on the CPU."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from sorajax.evaluation.proof.traces import longest, traced


def event(name, tid, dur, **args):
    return {"ph": "X", "pid": 1, "tid": tid, "name": name, "ts": 0, "dur": dur, "args": args}


def written(folder, *events):
    folder.mkdir(exist_ok=True)
    with gzip.open(folder / "host.trace.json.gz", "wt") as file:
        json.dump({"traceEvents": events}, file)


def test_only_gpu_kernels_count_in_a_trace(tmp_path):
    stream = {"ph": "M", "pid": 1, "tid": 7, "name": "thread_name", "args": {"name": "Stream #7(Compute)"}}
    kernels = event("gemm", 7, 30, hlo_op="dot"), event("flash", 7, 50, hlo_op="x"), event("gemm", 7, 20, hlo_op="dot")
    written(tmp_path, stream, *kernels, event("dot", 3, 50, hlo_op="dot"), event("python", 4, 900))
    total, operations = longest(tmp_path)
    assert total == pytest.approx(100e-6)
    assert operations == [("gemm", pytest.approx(50e-6)), ("flash", pytest.approx(50e-6))]


def test_a_real_trace_has_operations(tmp_path):
    program = jax.jit(lambda x: jnp.sin(x @ x))
    traced(tmp_path, lambda: program(jnp.ones((64, 64))))
    total, operations = longest(tmp_path)
    assert total > 0
    assert operations


def test_a_folder_without_a_trace_has_no_operations(tmp_path):
    assert longest(tmp_path) == (0.0, [])
