"""Output paths are free and writable, and what an earlier command left is not deleted unasked."""

import numpy as np
import pytest

from sorajax.commands.outputs import check_same, check_windows, free_path, output_paths, slug, windows_folder
from sorajax.errors import BadRequest
from sorajax.media.video import Video
from sorajax.sampling.request import Request


@pytest.mark.parametrize(
    ("prompt", "name"), [("A Red ball!", "a-red-ball"), ("🎈", "video"), ("été bleu", "été-bleu"), ("x" * 99, "x" * 60)]
)
def test_file_names_are_made_from_the_prompt(prompt, name):
    assert slug(prompt) == name


def test_free_paths_avoid_files_their_json_and_each_other(tmp_path):
    (tmp_path / "a.mp4").write_text("")
    (tmp_path / "a-2.mp4.json").write_text("")
    taken = [tmp_path / "a-3.mp4"]
    assert free_path(tmp_path / "a.mp4", taken).name == "a-4.mp4"


def test_numbers_are_as_wide_as_the_last_one(tmp_path):
    paths = output_paths(str(tmp_path / "clip.gif"), Request("a red ball", num=10), overwrite=False)
    assert [path.name for path in paths[::9]] == ["clip-01.gif", "clip-10.gif"]
    assert output_paths(f"{tmp_path}/", Request("a red ball", frames=1), False) == [tmp_path / "a-red-ball.png"]
    with pytest.raises(BadRequest, match=r"unknown suffix '.avi'; use .mp4, .gif"):
        output_paths(str(tmp_path / "clip.avi"), Request("a red ball"), overwrite=False)


def test_windows_of_an_interrupted_film_are_not_deleted_unasked(tmp_path):
    path = tmp_path / "film.mp4"
    windows_folder(path).mkdir()
    for resume, overwrite in ((True, False), (False, True)):
        check_windows([path], resume, overwrite)
    with pytest.raises(BadRequest, match=r"film.mp4 was interrupted, and .*film.mp4.windows has its windows"):
        check_windows([path], resume=False, overwrite=False)


def test_a_finished_file_is_of_the_same_request(tmp_path):
    path = Video(np.zeros((1, 8, 8, 3), np.uint8), 8.0, {"prompt": "a red ball", "seed": 3}).save(tmp_path / "a.png")
    check_same(path, Video.load(path).metadata)
    with pytest.raises(BadRequest, match=r"a.png is finished, and of another request \(seed 3, not 4\): name another"):
        check_same(path, {**Video.load(path).metadata, "seed": 4})
