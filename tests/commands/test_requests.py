"""From options to a request: prompts of a file come after those of the command, and a style ends each."""

import pytest

from sorajax.commands.arguments import Arguments
from sorajax.commands.requests import as_request, read_prompts
from sorajax.errors import BadRequest


def test_prompts_of_a_file_come_after_those_of_the_command(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\ufeff# a comment\n\n  a blue box \n", encoding="utf-8")
    request = as_request(Arguments(("a red ball.",), prompts_file=file, style="film", size="24x16", steps=3))
    assert request.prompts == ("a red ball. The style is film.", "a blue box. The style is film.")
    assert (request.width, request.height, request.steps, request.shift) == (24, 16, 3, None)


def test_a_storyboard_names_its_file_by_its_first_scene(tmp_path):
    board = tmp_path / "board.json"
    board.write_text('[{"prompt": "a red ball", "seconds": 1}, {"prompt": "a blue box", "seconds": 1}]')
    assert as_request(Arguments(storyboard=board)).prompts == ("a red ball",)
    with pytest.raises(BadRequest, match=r"gone.json does not exist: give the path of a storyboard"):
        as_request(Arguments(storyboard=tmp_path / "gone.json"))


@pytest.mark.parametrize(
    ("content", "line"), [(b"# nothing\n\n", "has no prompt: write one per line"), (b"\xff\xfe", "is not UTF-8")]
)
def test_a_file_without_prompts_is_named(content, line, tmp_path):
    (tmp_path / "prompts.txt").write_bytes(content)
    with pytest.raises(BadRequest, match=f"prompts.txt {line}"):
        read_prompts(tmp_path / "prompts.txt")
