"""Batches as a pure function of (seed, index), read ahead by threads, with a position that fits in one integer."""

from collections.abc import Callable, Sequence
from typing import Any

import grain
import jax
import numpy as np

from sorajax.data.buckets import Bucket

Make = Callable[[Bucket, np.random.Generator], Any]


def batches(
    make: Make, buckets: Sequence[Bucket], seed: int = 0, threads: int = 1, ahead: int = 4
) -> grain.IterDataset:
    """An endless dataset that mixes `buckets` by weight; each element is `make(bucket, generator)`.

    `make` returns a tree of numpy arrays with this process's `batch_size / processes` clips. The generator is seeded
    by (seed, bucket, index, process), so an element depends on nothing else, and the iterator's state is its position.
    `ahead` batches are made by `threads` threads before they are asked for.
    """
    if not buckets:
        raise ValueError("no bucket: give at least one clip shape")
    processes = jax.process_count()
    if bad := [bucket for bucket in buckets if bucket.batch_size % processes]:
        raise ValueError(f"a batch of {bad[0].batch_size} does not divide over {processes} processes")

    def source(number: int, bucket: Bucket) -> grain.MapDataset:
        def element(index: int) -> Any:
            return make(bucket, np.random.default_rng((seed, number, index, jax.process_index())))

        return grain.MapDataset.range(2**40).map(element)

    mixed = grain.MapDataset.mix(
        [source(number, bucket) for number, bucket in enumerate(buckets)], [bucket.weight for bucket in buckets]
    )
    return mixed.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(ahead, threads)))
