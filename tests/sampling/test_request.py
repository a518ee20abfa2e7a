"""Requests are checked without a model."""

import json

import numpy as np
import pytest

from sorajax.errors import BadRequest
from sorajax.sampling.request import Request, StoryboardScene, read_storyboard

BOARD = [{"prompt": "a red ball", "seconds": 1}, {"prompt": "a blue box", "seconds": 0.5, "join": "cut"}]


def written(folder, board):
    path = folder / "board.json"
    path.write_text(json.dumps(board))
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": None}, 'entry 2: "prompt" is missing'),
        ({"prompt": 7}, 'entry 2: "prompt" is 7'),
        ({"seconds": None}, 'entry 2: "seconds" is missing'),
        ({"seconds": -1}, 'entry 2: "seconds" is -1'),
        ({"seconds": True}, 'entry 2: "seconds" is true'),
        ({"join": "fade"}, 'entry 2: "join" is "fade"'),
        ({"image": "nowhere.png"}, 'entry 2: "image" is "nowhere.png"'),
        ({"image": "~no-such-user/a.png"}, 'entry 2: "image" is "~no-such-user/a.png"'),
        ({"image": 300 * "a"}, 'entry 2: "image" is "aaa'),
        ({"seconds": 1e300}, 'entry 2: "seconds" is 1e+300: write at most 3600'),
        ({"seconds": 10**400}, 'entry 2: "seconds" is 1000000'),
        ({"size": 3}, 'entry 2: "size" is not a field'),
    ],
)
def test_a_wrong_storyboard_names_the_scene_and_the_field(tmp_path, change, said):
    entry = {name: value for name, value in (BOARD[1] | change).items() if value is not None}
    with pytest.raises(BadRequest) as caught:
        read_storyboard(written(tmp_path, [BOARD[0], entry]))
    assert said in str(caught.value)


def test_an_endless_storyboard_is_refused(tmp_path):
    path = tmp_path / "board.json"
    path.write_text(100_000 * "[")
    with pytest.raises(BadRequest, match=r"board\.json is not JSON"):
        read_storyboard(path)


@pytest.mark.parametrize("board", [[], {}, [3], "text"])
def test_an_empty_storyboard_is_refused(tmp_path, board):
    with pytest.raises(BadRequest, match=r"board\.json"):
        read_storyboard(written(tmp_path, board))


def test_a_single_prompt_may_be_a_string():
    assert Request("a ball").prompts == Request(["a ball"]).prompts == ("a ball",)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampler": "magic"}, "sampler 'magic' is unknown: use unipc"),
        ({"frames": 17.0}, "frames 17.0 is not a whole number: use one, e.g. 17"),
        ({"num": "2"}, "num '2' is not a whole number"),
        ({"seed": None}, "seed is None"),
        ({"steps": True}, "steps True is not a whole number"),
        ({"seconds": "2"}, "seconds 2 is not allowed"),
        ({"guidance_scale": "4"}, "guidance scale 4 is not allowed"),
        ({"guidance_interval": (0.8, 0.2)}, "guidance interval (0.8, 0.2) is not allowed: use 0 <= LOW < HIGH <= 1"),
        ({"guidance_interval": 0.3}, "guidance interval 0.3 is not allowed"),
        ({"cache": "tea"}, "cache 'tea' is unknown: use mag or easy"),
        ({"cache_threshold": 0.1}, "cache_threshold 0.1 needs a cache: choose mag or easy"),
        ({"cache": "mag", "cache_threshold": 0.0}, "cache_threshold 0.0 is not allowed"),
        ({"negative": ["blue"]}, "['blue'] is not a string"),
        ({"prompts": (5,)}, "5 is not a string: give prompts as text"),
        ({"prompts": None}, "there is no prompt"),
    ],
)
def test_values_of_a_wrong_type_are_named(settings, said):
    with pytest.raises(BadRequest) as caught:
        Request(**{"prompts": ("a ball",), **settings})
    assert said in str(caught.value)


def test_numpy_numbers_become_json_numbers():
    made = Request("a ball", seed=np.int64(3), fps=np.float32(8), guidance_scale=np.float64(2), frames=np.int32(5))
    assert json.loads(json.dumps([made.seed, made.fps, made.guidance_scale, made.frames])) == [3, 8.0, 2.0, 5]


@pytest.mark.parametrize(
    "change", [{"prompt": None}, {"join": "cutt"}, {"seconds": -1}, {"seconds": float("nan")}, {"seconds": "2"}]
)
def test_scenes_are_checked_from_python_and_from_files(change):
    with pytest.raises(BadRequest, match="a scene's"):
        StoryboardScene(**{"prompt": "a ball", "seconds": 1.0, **change})
    assert StoryboardScene("a ball", 1.0, image="ball.png").join == "cut"
