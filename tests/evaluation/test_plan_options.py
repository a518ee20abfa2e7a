"""The options of a plan have every stage that sampling has."""

from typing import get_args, get_type_hints

from sorajax.evaluation.plan_options import Sampling


def test_all_stages_are_planned_by_default():
    (choices, _) = get_args(get_type_hints(Sampling)["stages"])
    assert Sampling("world").stages == get_args(choices)
