"""The error of a check is relative, over all leaves together, and the checks are in their order."""

import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.evaluation.proof.figures import Setting
from sorajax.evaluation.proof.numerics import error, named, pieces, widened
from sorajax.evaluation.proof.sizes import TOY, Heads


def test_the_error_is_that_of_all_leaves_together():
    reference = {"a": np.full(3, 2.0), "b": np.full(1, 4.0)}
    made = {"a": np.full(3, 2.0), "b": np.full(1, 4.7)}
    assert error(made, reference) == pytest.approx(0.7 / np.sqrt(3 * 4 + 16))
    assert error(reference, reference) == 0
    with pytest.raises(ValueError, match="zip"):
        error({"a": made["a"]}, reference)


def test_only_bfloat16_is_widened():
    assert widened(np.ones(2, jnp.bfloat16)).dtype == np.float32
    ids = np.ones(2, np.int32)
    assert widened(ids) is ids


def test_attention_comes_first_and_autoencoders_last():
    assert (named(Heads(1, 9, 9, 2, 64)), named(Heads(2, 9, 7, 3, 64))) == ("1x9x2x64", "2x9x3x64 to 7")
    names = list(pieces(Setting(TOY, 1.0)))
    assert names[: len(TOY.attention)] == [f"attention {named(heads)}" for heads in TOY.attention]
    assert names[-len(TOY.autoencoders) :] == list(TOY.autoencoders)
