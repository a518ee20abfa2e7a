"""Batches as a pure function of (seed, index), read ahead by threads, with a position that fits in one integer.

The index counts whole batches over all processes, and each process takes its own rows of a batch. So a position means
the same on any number of processes, and a resumed run sees the batches that an uninterrupted one would have seen.
"""

from collections.abc import Callable, Sequence
from typing import Any

import grain
import jax
import numpy as np

from sorajax.data.buckets import Bucket, Phase

Make = Callable[[Bucket, np.random.Generator], Any]
ENDLESS = 2**40


def batches(
    make: Make,
    buckets: Sequence[Bucket],
    seed: int = 0,
    threads: int = 1,
    prefetch: int = 4,
    phases: Sequence[Phase] = (),
) -> grain.IterDataset:
    """An endless dataset that mixes `buckets` by weight; each element is `make(bucket, generator)`.

    `make` returns a tree of numpy arrays with the whole batch, of which this process keeps its rows. The generator is
    seeded by (seed, bucket, index), so an element depends on nothing else.
    """

    def source(number: int, bucket: Bucket) -> grain.MapDataset:
        def element(index: int) -> Any:
            batch = make(bucket, np.random.default_rng((seed, number, index, 0)))
            rows = own_rows(bucket.batch_size)
            return jax.tree.map(lambda x: x[rows] if np.ndim(x) else x, batch)

        return grain.MapDataset.range(ENDLESS).map(element)

    sources = [source(number, bucket) for number, bucket in enumerate(buckets)]
    return mixed(sources, buckets, phases, threads, prefetch)


def shuffled(sizes: Sequence[int], weights: Sequence[float], seed: int) -> grain.MapDataset:
    """An endless order of (source, record) over sources of these sizes, drawn by weight; each source is gone through
    in a new random order before any of its records comes again."""
    each = [
        grain.MapDataset.range(size).seed(seed + number).shuffle().repeat().map(lambda i, number=number: (number, i))
        for number, size in enumerate(sizes)
    ]
    return grain.MapDataset.mix(each, weights) if len(each) > 1 else each[0]


def recorded(
    order: grain.MapDataset, bucket: Bucket, read: Callable[[Sequence[tuple[int, int]], int], Any]
) -> grain.MapDataset:
    """Batches of records: `read(this process's (source, record) pairs, index)` makes the tree."""

    def element(index: int) -> Any:
        rows = own_rows(bucket.batch_size)
        first = index * bucket.batch_size
        return read([order[first + row] for row in range(rows.start, rows.stop)], index)

    return grain.MapDataset.range(ENDLESS).map(element)


def mixed(
    sources: Sequence[grain.MapDataset], buckets: Sequence[Bucket], phases: Sequence[Phase], threads: int, prefetch: int
) -> grain.IterDataset:
    """Batches of all buckets, each by its weight or, while a phase lasts, by the phase's.

    `prefetch` batches are made by `threads` threads before they are asked for. The iterator's state is its position.
    """
    if not buckets:
        raise ValueError("no bucket: give at least one clip shape")
    for bucket in buckets:
        own_rows(bucket.batch_size)
    read_ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(prefetch, threads))
    if not phases:
        whole = grain.MapDataset.mix(list(sources), [bucket.weight for bucket in buckets])
        return whole.to_iter_dataset(read_ahead)
    mixes = [_mix(sources, phase.weights) for phase in phases]
    ends = np.cumsum([phase.steps for phase in phases[:-1]])

    def element(index: int) -> Any:
        number = int(np.searchsorted(ends, index, side="right"))
        return mixes[number][index - (int(ends[number - 1]) if number else 0)]

    return grain.MapDataset.range(ENDLESS).map(element).to_iter_dataset(read_ahead)


def _mix(sources: Sequence[grain.MapDataset], weights: Sequence[float]) -> grain.MapDataset:
    used = [number for number, weight in enumerate(weights) if weight > 0]
    return grain.MapDataset.mix([sources[number] for number in used], [weights[number] for number in used])


def own_rows(size: int) -> slice:
    """This process's rows of a batch of `size`. Raises ValueError where it does not divide over the processes."""
    processes = jax.process_count()
    if size % processes:
        raise ValueError(f"a batch of {size} does not divide over {processes} processes: choose a multiple of it")
    share = size // processes
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)
