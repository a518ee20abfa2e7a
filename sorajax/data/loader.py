"""Batches as a pure function of (seed, index), prefetched by threads; the position of the dataset is one integer.

The index counts global batches, and each process takes its rows of a batch. So a position is independent of the number
of processes, and a resumed run gets the same batches as an uninterrupted one.
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
    """An infinite dataset that mixes `buckets` by weight; each element is `make(bucket, generator)`.

    `make` returns a tree of numpy arrays with the global batch, of which each process takes its rows. The generator is
    seeded by (seed, bucket, index), so an element depends on nothing else.
    """

    def source(number: int, bucket: Bucket) -> grain.MapDataset:
        def element(index: int) -> Any:
            batch = make(bucket, np.random.default_rng((seed, number, index, 0)))
            rows = own_rows(bucket.batch_size)
            return jax.tree.map(lambda x: x[rows] if np.ndim(x) else x, batch)

        return grain.MapDataset.range(ENDLESS).map(element)

    sources = [source(number, bucket) for number, bucket in enumerate(buckets)]
    return mix_buckets(sources, buckets, phases, threads, prefetch)


def shuffle_records(sizes: Sequence[int], weights: Sequence[float], seed: int) -> grain.MapDataset:
    """An infinite sequence of (source, record) over sources of these sizes, sampled by weight; within a source, every
    epoch is a new random permutation."""
    orders = [
        grain.MapDataset.range(size).seed(seed + number).shuffle().repeat().map(lambda i, number=number: (number, i))
        for number, size in enumerate(sizes)
    ]
    return grain.MapDataset.mix(orders, weights) if len(orders) > 1 else orders[0]


def record_batches(
    order: grain.MapDataset, bucket: Bucket, read: Callable[[Sequence[tuple[int, int]], int], Any]
) -> grain.MapDataset:
    """Batches of records: `read((source, record) pairs of this process, batch index)` returns a tree of arrays."""

    def element(index: int) -> Any:
        rows = own_rows(bucket.batch_size)
        first = index * bucket.batch_size
        return read([order[first + row] for row in range(rows.start, rows.stop)], index)

    return grain.MapDataset.range(ENDLESS).map(element)


def mix_buckets(
    sources: Sequence[grain.MapDataset], buckets: Sequence[Bucket], phases: Sequence[Phase], threads: int, prefetch: int
) -> grain.IterDataset:
    """Batches of all buckets, sampled by their weights or, with phases, by the weights of the current phase.

    `threads` threads prefetch `prefetch` batches. The iterator's state is its position. Raises ValueError without
    buckets, and for batch sizes that the processes do not divide.
    """
    if not buckets:
        raise ValueError("no bucket: give at least one clip shape")
    for bucket in buckets:
        own_rows(bucket.batch_size)
    read_ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(prefetch, threads))
    if not phases:
        mixture = grain.MapDataset.mix(list(sources), [bucket.weight for bucket in buckets])
        return mixture.to_iter_dataset(read_ahead)
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
    """This process's rows of a global batch of `size`. Raises ValueError where `size` is no multiple of the number of
    processes."""
    processes = jax.process_count()
    if size % processes:
        raise ValueError(f"a batch of {size} does not divide over {processes} processes: choose a multiple of it")
    share = size // processes
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)
