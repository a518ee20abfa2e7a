"""The options of sampling: a prompt alone leaves every setting to the model."""

import pytest

from sorajax.commands.arguments import Arguments
from sorajax.commands.parsing import parse_options
from sorajax.errors import BadRequest


def parsed(*words: str) -> Arguments:
    return parse_options(Arguments, "tool", words)


def test_a_prompt_alone_has_the_defaults():
    assert parsed("a red ball") == Arguments(("a red ball",))


def test_adapters_add_up_and_pairs_have_two_values():
    words = ("a ball", "--lora", "a.safetensors", "--lora", "high=b.safetensors:0.5", "--guidance-interval", "0.1", "1")
    arguments = parsed(*words, "--between", "first.png", "last.png", "--loop")
    assert arguments.lora == ("a.safetensors", "high=b.safetensors:0.5")
    assert arguments.guidance_interval == (0.1, 1.0)
    assert [path.name for path in arguments.between] == ["first.png", "last.png"]
    assert arguments.loop
    assert not arguments.resume


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--dtype", "float16"), "--dtype float16 is not allowed: use bfloat16, float32"),
        (("--direction", "up"), "--direction up is not allowed: use backward, both, forward"),
        (("--between", "first.png"), "--between"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(words, line):
    with pytest.raises(BadRequest, match=line):
        parsed("a ball", *words)
