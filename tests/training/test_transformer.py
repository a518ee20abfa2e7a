"""A trained transformer is read from a folder as many layers as train, with its own tokenizer or not at all."""

from dataclasses import replace

import jax
import pytest

from sorajax.data.contexts import TEXT
from sorajax.devices.sharding import make_mesh
from sorajax.training.transformer import TransformerFolder, check_transformer_divides
from tests.conftest import TINY, tiny_tokenizer
from tests.training.flows import BUCKET


def test_a_folder_is_read_with_more_layers(tiny_model):
    deep = replace(TINY, dit=replace(TINY.dit, depth=3))
    params = TransformerFolder(tiny_tokenizer()).load(tiny_model, deep)
    assert set(params) == {"text", "dit"}
    assert {len(leaf) for leaf in jax.tree.leaves(params["dit"]["blocks"])} == {3}


def test_another_tokenizer_is_refused(tiny_model):
    with pytest.raises(ValueError, match=r"has another tokenizer: say --tokenizer .*tokenizer.json"):
        TransformerFolder("{}").load(tiny_model, TINY)


def test_an_expert_begins_from_a_run_of_the_same_one(tiny_model):
    high, low = (TransformerFolder("", external_parts=((TEXT, tiny_model),), expert=name) for name in ("high", "low"))
    assert (high.part, low.part, low.frozen_text) == ("dit", "dit_low", True)
    assert set(high.load(tiny_model, TINY)) == {"dit"}
    with pytest.raises(ValueError, match="has no trained dit_low: begin from a run of the same --expert"):
        low.load(tiny_model, TINY)


@pytest.mark.parametrize(
    ("mesh", "line"), [("tensor=8", "does not divide 2 heads"), ("fsdp=8", ""), ("seq=8", ""), ("seq=2,tensor=2", "")]
)
def test_heads_and_tokens_divide_over_the_mesh(mesh, line):
    """2 heads, a width of 16 and 8 tokens."""
    made = make_mesh(mesh, jax.devices()[:4] if mesh == "seq=2,tensor=2" else None)
    if not line:
        check_transformer_divides(TINY, [BUCKET], made)
        return
    with pytest.raises(ValueError, match=line):
        check_transformer_divides(TINY, [BUCKET], made)
