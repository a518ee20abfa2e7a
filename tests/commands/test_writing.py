"""Files that are missing are made and written, finished ones stay, and each has the metadata of the command."""

import json

import numpy as np
import pytest

from sorajax.commands.arguments import Arguments
from sorajax.commands.outputs import windows_folder
from sorajax.commands.writing import Work, check_finished, encoded, unfinished_films, write, write_contents, write_grid
from sorajax.devices.distributed import Processes
from sorajax.errors import BadRequest, Note
from sorajax.media.video import Video, sidecar
from sorajax.sampling.request import Request


def made(request, stores=None):
    """A clip for each of a request, whose pixels are its seed."""
    for prompt, seed in request.clips:
        yield Video(np.full((1, 8, 8, 3), seed, np.uint8), 8.0, {"prompt": prompt, "seed": seed})


def work(tmp_path, finished=(), num=3, **options):
    request = Request("a red ball", num=num, seed=5)
    paths = [tmp_path / f"clip-{number}.png" for number in range(num)]
    return Work(request, made, paths, finished, Arguments(("a red ball",), **options), {"style": "film"})


def test_only_missing_files_are_made(tmp_path, capsys):
    (tmp_path / "clip-1.png").write_text("finished")
    write(work(tmp_path, finished=[1]), Processes())
    assert capsys.readouterr().out == f"{tmp_path}/clip-0.png\n{tmp_path}/clip-2.png\n"
    assert (tmp_path / "clip-1.png").read_text() == "finished"
    found = [Video.load(tmp_path / f"clip-{number}.png") for number in (0, 2)]
    assert [video.frames.max() for video in found] == [5, 7]
    assert [(video.metadata["seed"], video.metadata["style"]) for video in found] == [(5, "film"), (7, "film")]


def test_a_finished_file_stays_only_for_the_same_request(tmp_path):
    write(work(tmp_path), Processes())
    with pytest.warns(Note, match=r"clip-0.png is finished, and stays as it is"):
        check_finished(work(tmp_path, finished=[0]), Processes())
    other = work(tmp_path, finished=[0])._replace(metadata={"style": "neon"})
    with pytest.raises(BadRequest, match=r"of another request \(style film, not neon\)"):
        check_finished(other, Processes())


def test_a_grid_has_all_clips_in_order(tmp_path):
    write_grid(work(tmp_path, grid=2), Processes())
    grid = Video.load(tmp_path / "clip-0.png")
    assert grid.frames.shape == (1, 16, 16, 3)
    assert [grid.frames[0, y, x, 0] for y, x in ((0, 0), (0, 8), (8, 0))] == [5, 6, 7]
    assert (grid.metadata["seeds"], grid.metadata["style"]) == ([5, 6, 7], "film")


def test_a_file_that_was_sent_is_the_file_that_is_written(tmp_path):
    (video,) = made(Request("a red ball", seed=9))
    write_contents(tmp_path / "new" / "clip.png", *encoded(video, "clip.png"))
    path = video.save(tmp_path / "clip.png")
    assert (tmp_path / "new" / "clip.png").read_bytes() == path.read_bytes()
    assert json.loads(sidecar(tmp_path / "new" / "clip.png").read_text()) == json.loads(sidecar(path).read_text())


def test_an_interrupted_film_has_windows(tmp_path):
    paths = work(tmp_path).paths
    assert not unfinished_films(paths)
    windows_folder(paths[2]).mkdir()
    assert unfinished_films(paths)
