"""Each release is sampled at its own sizes, shift and negative prompt."""

from sorajax.pretrained.conventions import known_config


def test_each_release_has_its_sizes_shift_and_negative_prompt():
    small, large = known_config("Wan2.1-T2V-1.3B", "bfloat16"), known_config("Wan2.1-T2V-14B", "bfloat16")
    assert small.sizes == ((480, 832), (832, 480))
    assert (720, 1280) in large.sizes
    image = known_config("Wan2.1-I2V-14B", "bfloat16")
    assert (image.shift, large.shift) == (3.0, 5.0)
    assert image.negative == f"镜头晃动，{large.negative}"
    assert known_config("Wan2.2-T2V-A14B", "bfloat16").shift == 12.0
