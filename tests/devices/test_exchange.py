"""Processes exchange objects of any size, and one with other files than process 0 is named on all of them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sorajax.devices.exchange import check_same, first_of, gather_objects

PROCESSES = 3


@pytest.fixture
def everywhere(monkeypatch):
    """Runs a function of the process's number in several threads, between which arrays are exchanged as between
    processes: of one shape and dtype."""
    own, barrier = threading.local(), threading.Barrier(PROCESSES, timeout=20)
    rows = [None] * PROCESSES

    def process_allgather(array):
        rows[own.number] = np.asarray(array)
        barrier.wait()
        found = np.stack(rows)
        barrier.wait()
        return found

    monkeypatch.setattr("jax.process_count", lambda: PROCESSES)
    monkeypatch.setattr("jax.process_index", lambda: own.number)
    monkeypatch.setattr("jax.experimental.multihost_utils.process_allgather", process_allgather)
    monkeypatch.setattr(
        "jax.experimental.multihost_utils.broadcast_one_to_all", lambda array: process_allgather(array)[0]
    )

    def run(function):
        def numbered(number):
            own.number = number
            return function(number)

        with ThreadPoolExecutor(PROCESSES) as pool:
            return list(pool.map(numbered, range(PROCESSES)))

    return run


def test_every_process_gets_the_values_of_all_in_order(everywhere):
    values = [{"a": 1}, list(range(1000)), None]
    assert everywhere(lambda number: gather_objects(values[number])) == [values] * PROCESSES
    assert everywhere(lambda number: first_of(values[number])) == [values[0]] * PROCESSES


def test_a_process_with_other_weights_is_named_on_all(everywhere):
    def error(number):
        texts = {"code": "1.0", "weights": "abc" if number != 2 else "abd", "options": "x"}
        with pytest.raises(ValueError, match=r"^process 2 has other weights than process 0 ") as caught:
            check_same(texts)
        return str(caught.value)

    (message,) = set(everywhere(error))
    assert message.endswith(": copy one model folder to every host")
    everywhere(lambda number: check_same({"code": "1.0", "weights": "abc"}))


def test_one_process_exchanges_nothing():
    value = object()  # which cannot be pickled to an equal one
    assert gather_objects(value) == [value]
    assert first_of(value) is value
    check_same({"code": "1.0"})
