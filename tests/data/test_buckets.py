"""Shapes of clips: which are possible, and how many of each fill a step."""

import pytest

from sorajax.data.buckets import Bucket, Phase, check_phases, fill_token_budget, stem


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": 6}, "clips have 4n\\+1 frames, e.g. 5"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"crop": 65}, "fit into the frame"),
        ({"window_frames": 17}, "fewer than the clip has"),
        ({"weight": 0.0}, "weight must be positive"),
    ],
)
def test_impossible_buckets_are_one_line(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        Bucket(**fields)
    assert "\n" not in str(caught.value)


def test_a_window_is_what_the_transformer_is_trained_on():
    assert Bucket(33, 48, 64, window_frames=17).window == (17, 48, 64)
    assert Bucket(33, 48, 64).window == Bucket(33, 48, 64).size == (33, 48, 64)


def test_batches_fill_the_budget_in_multiples_of_the_devices():
    buckets = Bucket(1, 8, 8), Bucket(9, 8, 8)
    sized = fill_token_budget(buckets, 100, lambda bucket: 3 * bucket.frames, multiple=2)
    assert [bucket.batch_size for bucket in sized] == [32, 2]
    with pytest.raises(ValueError, match=f"bucket {stem(buckets[1])} needs 108 tokens a step, and data.tokens is 100"):
        fill_token_budget(buckets, 100, lambda bucket: 3 * bucket.frames, multiple=4)


def test_a_phase_has_a_weight_for_each_bucket():
    check_phases([Phase(1, (0, 1))], [Bucket(), Bucket(1)])
    with pytest.raises(ValueError, match="3 weights, there are 2 buckets"):
        check_phases([Phase(1, (1, 1, 1))], [Bucket(), Bucket(1)])
    for steps, weights in ((0, (1,)), (1, ()), (1, (0,)), (1, (2, -1))):
        with pytest.raises(ValueError, match="some weight positive"):
            Phase(steps, weights)
