"""True and toy sizes run the same code: shapes divide, and both have the same autoencoders."""

import pytest

from sorajax.diffusion.samplers import SAMPLERS
from sorajax.evaluation.proof.sizes import TOY, TRUE


@pytest.mark.parametrize("sizes", [TRUE, TOY], ids=["true", "toy"])
def test_shapes_divide_and_samplers_exist(sizes):
    for shape in (sizes.checked, sizes.timed):
        assert not any(size % side for size, side in zip(shape.latent, shape.dit.patch, strict=True))
        assert shape.dit.width % shape.dit.heads == 0
    assert sizes.sampled.text.width == sizes.sampled.dit.text_width
    assert set(sizes.samplers) <= set(SAMPLERS)
    for config in sizes.autoencoders.values():
        assert config.latent_shape(*sizes.clip)


def test_both_have_the_same_autoencoders():
    assert list(TOY.autoencoders) == list(TRUE.autoencoders)
    wide = lambda sizes: [config.shortcuts for config in sizes.autoencoders.values()]  # noqa: E731
    assert wide(TOY) == wide(TRUE)
