"""The instrument reads what was rendered, says nothing of the prompt, and the scores count what they claim to count.

What the instrument cannot tell, and why:
- the pace of what stands still (there is none: it reads as normal), and motion and pace of a single frame;
- which relation was meant where two hold, such as left of and above: a relation counts when it holds;
- the second shot of a cut has about one second, in which a slow and a normal pace are told apart only because cuts are
  always at a normal pace.
"""

import numpy as np
import pytest

from sorajax.evaluation.world import (
    GROUPS,
    evaluate_truth,
    evaluate_world,
    prompts,
    summarise,
    table,
    wilson,
)
from sorajax.world.captions import describe
from sorajax.world.draw import render
from sorajax.world.reader.instrument import read
from sorajax.world.reader.scores import score
from sorajax.world.scenes import CORE, FULL, GROWS, SHRINKS, attributes, sample_scenes
from tests.cases import slow_after


def clips(num, mix, seed=0, size=(64, 64), frames=17):
    scene = sample_scenes(np.random.default_rng(seed), num, "all", mix)
    video = np.asarray(render(scene, frames, *size)[0])
    return attributes(scene), np.round((video + 1) * 127.5).astype(np.uint8)


@pytest.fixture(scope="module", params=slow_after(1, [8, 32]))
def truth(request):
    """Accuracies over all splits on renders: some 25 or 100 clips."""
    return evaluate_truth(num=request.param, seed=1, splits=tuple(GROUPS))


def test_instrument_reads_ground_truth(truth):
    """At least 99% per attribute, over all splits together (one miss is allowed where fewer than 100 were counted)."""
    right, count = {}, {}
    for summary in truth.values():
        for name, value in summary.items():
            right[name] = right.get(name, 0) + round(value["accuracy"] * value["num"])
            count[name] = count.get(name, 0) + value["num"]
    missed = {name: (count[name] - right[name], count[name]) for name in count}
    missed = {name: miss for name, miss in missed.items() if name != "prompt" and miss[0] > max(1, 0.01 * miss[1])}
    assert not missed, table(truth)


def test_the_smallest_object_is_seen_beside_the_largest():
    scene = sample_scenes(np.random.default_rng(0), 1, "all", GROUPS["relation"].mix)
    large, small = ("large", "shrinks"), ("small", "grows")
    scene = scene._replace(
        size=np.array([[1, 0]], np.int32),
        shape=np.array([[1, 2]], np.int32),
        relation=np.array([3], np.int32),
        motion=np.broadcast_to(np.array([SHRINKS, GROWS], np.int32), (1, 2, 2)),
        radius=np.array([[0.168, 0.0855]], np.float32),
        rate=np.ones((1, 2, 2), np.float32),
    )
    video = np.round((np.asarray(render(scene, 17, 64, 64)[0][0]) + 1) * 127.5).astype(np.uint8)
    seen = [(thing.words["size"], thing.words["motion"]) for thing in read(video).things[0]]
    assert sorted(seen) == [large, small]


def test_physics_of_ground_truth_is_exact(truth):
    errors = {name: value["error"] for summary in truth.values() for name, value in summary.items() if "error" in value}
    assert {"gravity", "bounce height", "momentum", "steady"} <= set(errors)
    assert errors["gravity"] < 0.05
    assert errors["bounce height"] < 0.08
    assert errors["momentum"] < 0.05


def test_blur_and_noise_change_little():
    """As after an autoencoder: a blur of 0.6 pixels and noise of 28 dB."""
    from scipy import ndimage

    wishes, videos = clips(16, CORE, seed=2)
    blurred = ndimage.gaussian_filter(videos.astype(np.float32), (0, 0, 0.6, 0.6, 0))
    noisy = np.clip(blurred + np.random.default_rng(0).normal(0, 10, videos.shape), 0, 255).astype(np.uint8)
    summary = summarise(score(wish, read(video)) for wish, video in zip(wishes, noisy, strict=True))
    for name in ("colour", "shape", "size", "motion", "background", "camera", "shots"):
        assert summary[name]["accuracy"] >= 0.95, (name, summary[name])


@pytest.mark.parametrize("size", [(64, 96), (48, 48)])
def test_other_sizes_read_the_same(size):
    wishes, videos = clips(6, CORE, seed=3, size=size)
    summary = summarise(score(wish, read(video)) for wish, video in zip(wishes, videos, strict=True))
    for name in ("colour", "shape", "motion", "background"):
        assert summary[name]["accuracy"] == 1, (name, summary[name])


def test_a_wrong_video_has_a_low_score():
    """Prompts of one seed against videos of another: nothing of the prompt leaks into the reading."""
    wishes, _ = clips(12, CORE, seed=4)
    _, videos = clips(12, CORE, seed=5)
    summary = summarise(score(wish, read(video)) for wish, video in zip(wishes, videos, strict=True))
    assert summary["colour"]["accuracy"] < 0.4
    assert summary["motion"]["accuracy"] < 0.4
    assert summary["prompt"]["accuracy"] == 0


@pytest.mark.parametrize("video", ["noise", "black", "one frame"])
def test_noise_is_read_without_an_error(video):
    """A model in training shows anything; the instrument answers with what it sees, or None."""
    shape = (1 if video == "one frame" else 17, 64, 64, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape) if video == "noise" else np.zeros(shape)
    wish = attributes(sample_scenes(np.random.default_rng(0), 1, "all", FULL))[0]
    assert not score(wish, read(pixels.astype(np.uint8)))["prompt"].right


def test_a_reversed_motion_counts_as_left_right_confusion():
    wishes, videos = clips(24, CORE, seed=6)
    wish, video = next(
        (wish, video)
        for wish, video in zip(wishes, videos, strict=True)
        if wish["shots"][0]["objects"][0]["motion"] == "moves left"
    )
    assert score(wish, read(video))["left-right"].right
    assert not score(wish, read(video[:, :, ::-1]))["left-right"].right


def test_prompts_are_the_same_for_the_same_seed_and_held_out_is_disjoint():
    assert prompts("seen", 40, 3)[2] == prompts("seen", 40, 3)[2]
    assert prompts("seen", 40, 3)[2] != prompts("seen", 40, 4)[2]

    def triples(split):
        wishes = prompts(split, 200)[1]
        return {
            tuple(wish["shots"][0]["objects"][0][slot] for slot in ("colour", "shape", "motion")) for wish in wishes
        }

    assert not triples("seen") & triples("held_out")


def test_a_generator_is_scored_per_split():
    asked = []

    def generate(texts):
        asked.extend(texts)
        return [np.zeros((5, 32, 32, 3), np.uint8)] * len(texts)

    results = evaluate_world(generate, num=2, splits=("seen", "held_out"))
    assert asked == [*prompts("seen", 2)[2], *prompts("held_out", 2)[2]]
    assert results["seen"]["background"]["num"] == 2
    assert set(results["held_out"]["shape"]) == {"accuracy", "low", "high", "num"}
    assert all(describe(wish) in asked for wish in prompts("seen", 2)[1])


def test_the_wilson_interval_equals_the_published_one():
    """Newcombe 1998, Statistics in Medicine 17, table I, method 3: 81/263 and 0/20."""
    np.testing.assert_allclose(wilson(81, 263), (0.2553, 0.3662), atol=2e-4)
    np.testing.assert_allclose(wilson(0, 20), (0.0, 0.1611), atol=2e-4)


def test_unknown_split_and_no_clips_are_named():
    with pytest.raises(ValueError, match=r"unknown split 'unseen': choose from seen, held_out"):
        prompts("unseen", 1)
    with pytest.raises(ValueError, match=r"0 clips cannot be evaluated"):
        evaluate_world(lambda texts: [], num=0)
