"""Batches are a function of (seed, index): any iterator at the same position gives the same next batch."""

import json

import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.loader import batches

BUCKETS = (Bucket(1, 8, 8, batch_size=4, weight=3), Bucket(17, 8, 16, batch_size=2, weight=1))


def make(bucket, rng):
    return {"x": rng.normal(size=(bucket.batch_size, 3)), "frames": bucket.frames}


def same(a, b):
    return a["frames"] == b["frames"] and np.array_equal(a["x"], b["x"])


def test_the_position_is_json_and_resumes_exactly():
    first = iter(batches(make, BUCKETS, seed=1, threads=2))
    for _ in range(7):
        next(first)
    position = json.loads(json.dumps(first.get_state()))
    expected = [next(first) for _ in range(6)]
    second = iter(batches(make, BUCKETS, seed=1, threads=1, prefetch=1))
    second.set_state(position)
    assert all(same(a, next(second)) for a in expected)


def test_seeds_and_indices_differ_and_bucket_weights_are_followed():
    a, b = iter(batches(make, BUCKETS, seed=1)), iter(batches(make, BUCKETS, seed=2))
    window_frames = [next(a) for _ in range(40)]
    assert not any(same(x, next(b)) for x in window_frames)
    assert len({x["x"].tobytes() for x in window_frames}) == 40
    assert sum(x["frames"] == 1 for x in window_frames) == 30
    assert all(len(x["x"]) == (4 if x["frames"] == 1 else 2) for x in window_frames)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"frames": 16}, "4n\\+1 frames, e.g. 13"),
        ({"batch_size": 0}, "1 or more"),
        ({"crop": 99}, "fit"),
        ({"window_frames": 17}, "fewer"),
    ],
)
def test_a_wrong_bucket_is_one_clear_line(wrong, said):
    with pytest.raises(ValueError, match=said):
        Bucket(**wrong)
