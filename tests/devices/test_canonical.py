"""Equal static inputs have equal texts, and other inputs other ones; what has none is refused."""

from collections import namedtuple
from functools import partial

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from sorajax.devices.canonical import Unknown, canonical, members, traced_code
from sorajax.devices.sharding import make_mesh
from sorajax.diffusion.guidance import guided
from sorajax.diffusion.samplers import SAMPLERS
from sorajax.models import softmax
from sorajax.models.dit import DiTConfig
from sorajax.models.layers import standardize

PAIRS = {
    "a type": lambda: (1, 1.0),
    "a flag": lambda: (True, 1),
    "a text": lambda: ("a", b"a"),
    "a value of an array": lambda: (np.arange(3), np.array([0, 1, 3])),
    "a shape": lambda: (np.zeros((2, 3)), np.zeros((3, 2))),
    "a dtype": lambda: (np.zeros(2, np.float32), np.zeros(2, np.int32)),
    "an order": lambda: ((1, 2), (2, 1)),
    "a kind of sequence": lambda: ((1, 2), [1, 2]),
    "a value of a mapping": lambda: ({"a": 1}, {"a": 2}),
    "a field": lambda: (DiTConfig(depth=2), DiTConfig(depth=3)),
    "a bound argument": lambda: (partial(standardize, epsilon=1e-6), partial(standardize, epsilon=1e-5)),
    "a closure": lambda: (guided(standardize, standardize, 2.0), guided(standardize, standardize, 3.0)),
    "a function": lambda: (SAMPLERS["euler"], SAMPLERS["heun"]),
    "a mesh": lambda: (make_mesh("seq=2,data=4"), make_mesh("seq=4,data=2")),
    "a sharding": lambda: [NamedSharding(make_mesh("seq=8"), P(axis)) for axis in ("seq", "data")],
}
"""Values that differ in one thing."""


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_another_value_has_another_text(pair):
    one, other = map(canonical, pair())
    assert one != other
    assert [one, other] == list(map(canonical, pair()))


def test_sets_and_mappings_have_no_order():
    assert canonical({"a", "b", "c"}) == canonical({"c", "b", "a"})
    assert canonical({"a": 1, "b": 2}) == canonical({"b": 2, "a": 1})


class Own:
    """From outside the package and its libraries: its source is not part of the fingerprint."""


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize("value", [Own(), Own, lambda x: x, partial(max, Own()), (1, Own()), Pair(1, 2)])
def test_a_value_from_elsewhere_is_refused(value):
    with pytest.raises(Unknown):
        canonical(value)


def test_a_constant_or_a_function_that_was_replaced_is_other_code(monkeypatch):
    before = traced_code()
    assert traced_code() == before
    with monkeypatch.context() as patch:
        patch.setattr(softmax, "SCORES_LIMIT", 5)
        assert traced_code() != before
        assert "SCORES_LIMIT int 5" in members(softmax, softmax.__name__)
    with monkeypatch.context() as patch:
        patch.setattr(softmax, "scaled", standardize)
        assert traced_code() != before
    assert traced_code() == before


def test_jitted_functions_are_what_they_wrap():
    assert canonical(jax.jit(standardize)) != canonical(jax.jit(softmax.scaled))
    assert canonical(standardize) in canonical(jax.jit(standardize))
