"""The evaluation of the world: renders are read right, prompts are those of their split, intervals are exact."""

import numpy as np
import pytest

from sorajax.evaluation.world import (
    GROUPS,
    evaluate_truth,
    evaluate_world,
    prompts,
    table,
    wilson,
)
from sorajax.world.captions import describe
from tests.cases import slow_after


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


def test_physics_of_ground_truth_is_exact(truth):
    errors = {name: value["error"] for summary in truth.values() for name, value in summary.items() if "error" in value}
    assert {"gravity", "bounce height", "momentum", "steady"} <= set(errors)
    assert errors["gravity"] < 0.05
    assert errors["bounce height"] < 0.08
    assert errors["momentum"] < 0.05


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
