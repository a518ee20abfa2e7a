"""Laws of the tasks: what is given stays, lengths are those asked for, and strength means what it says."""

import json
from dataclasses import replace

import av
import numpy as np
import pytest

import sorajax
from sorajax import tasks
from sorajax.formats import WRITERS
from sorajax.given import known_of
from sorajax.pipeline import Pipeline, _Windows
from sorajax.request import BadRequest, Note, Request, Scene
from sorajax.sample import main
from sorajax.video import Video
from tests.test_request import BOARD, written

PROMPT = Request(("a red ball",))
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pipeline(tiny_model) -> Pipeline:
    return sorajax.load(tiny_model)


def clip(frames: int, width: int = 16, height: int = 16, fps: float = 8.0) -> Video:
    return Video(RNG.integers(0, 255, (frames, height, width, 3), np.uint8), fps)


def one(videos) -> np.ndarray:
    (video,) = videos
    return video.frames


def request(**settings) -> Request:
    return Request(("a red ball",), **settings)


CUT = Request(("a red ball. Cut to: the same box",))


def test_cuts_are_made_once_in_extensions_and_scenes(pipeline, monkeypatch):
    films = []
    film = Pipeline.film

    def watched(self, request, shots, *more, **others):
        films.append([(shot.prompt, shot.frames, shot.cut) for shot in shots])
        return film(self, request, shots, *more, **others)

    monkeypatch.setattr(Pipeline, "film", watched)
    start = clip(5)
    assert len(one(tasks.extend(pipeline, replace(CUT, frames=8), start, "forward"))) == 13
    assert films.pop() == [("a red ball", 1 + 4, False), ("a box", 4, True)]
    led = one(tasks.extend(pipeline, replace(CUT, frames=8), start, "backward"))
    assert films.pop() == [("a red ball", 4, False)]
    assert np.array_equal(led[-5:], start.frames)
    assert len(led) == 13
    at_once = Request(("Cut to: a box",), frames=4)
    assert len(one(tasks.extend(pipeline, at_once, start, "forward"))) == 9
    assert films.pop() == [("a box", 1, False), ("a box", 4, True)]
    scenes = [Scene("a blue box", 1.0), Scene(CUT.prompts[0], 1.0)]
    assert len(next(tasks.storyboard(pipeline, CUT, scenes)).whole().frames) == 16
    told = [("a blue box", 8, False), ("a red ball", 4, False), ("a box", 4, True)]
    assert films.pop() == told
    with pytest.raises(BadRequest, match='asks for a cut, and a loop has no seam: leave "Cut to:" out, or --loop'):
        next(tasks.loop(pipeline, CUT))


def test_more_than_can_be_made_at_once_is_refused(pipeline):
    with pytest.raises(BadRequest, match=r"800 frames would be made at once, .* 40 at most: ask for a shorter clip"):
        next(tasks.loop(pipeline, request(seconds=100)))
    with pytest.raises(BadRequest, match="would be made at once"):
        next(tasks.connect(pipeline, request(seconds=100), clip(5), clip(5)))


def test_python_is_told_what_was_not_asked_for(pipeline):
    with pytest.warns(Note, match="the model was trained at 8 fps; 12 fps may look worse"):
        pipeline("a red ball", fps=12, frames=5)
    with pytest.warns(Note, match="the clip of 40x16 is resized to 16x16, cut where its shape differs"):
        next(tasks.extend(pipeline, request(frames=1, width=16, height=16), clip(5, 40), "forward"))
    with pytest.warns(Note, match="the clip has 24 frames a second, and 8 of them are taken"):
        next(tasks.edit(pipeline, request(fps=8), clip(6, fps=24.0), 0.5))


def test_a_still_is_known_and_the_rest_depends_on_it(pipeline):
    first, second = clip(1), clip(1)
    a, again, b = (one(tasks.animate(pipeline, PROMPT, still)) for still in (first, first, second))
    assert a.shape == (5, 16, 16, 3)
    assert np.array_equal(a, again)
    assert not np.array_equal(a[0], b[0])
    through = pipeline._encoded(first.frames)
    decoded = pipeline._decoded(through[None], pipeline.plan(request(frames=1)))[0]
    assert np.abs(a[0].astype(int) - decoded[0]).max() <= 1


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("length", [1, 6])
def test_an_extension_leaves_the_clip_untouched_and_adds_what_was_asked(pipeline, direction, length):
    start = clip(length)
    film = one(tasks.extend(pipeline, request(seconds=0.75), start, direction))
    assert len(film) == length + 6
    kept = film[:length] if direction == "forward" else film[-length:]
    assert np.array_equal(kept, start.frames)


def test_both_ends_are_held(pipeline):
    first, last = clip(1), clip(1)
    with pytest.warns(Note, match="9 frames with both pictures are rounded to 10: the model makes 4n"):
        assert len(one(tasks.between(pipeline, request(frames=9), first, last))) == 10
    film = one(tasks.between(pipeline, request(frames=6), first, last))
    assert len(film) == 6
    assert np.array_equal(film[0], first.frames[0])
    assert np.array_equal(film[-1], last.frames[0])


def test_a_bridge_lies_between_two_untouched_clips(pipeline):
    a, b = clip(7), clip(6)
    film = one(tasks.connect(pipeline, request(frames=8), a, b))
    assert len(film) == 7 + 8 + 6
    assert np.array_equal(film[:7], a.frames)
    assert np.array_equal(film[-6:], b.frames)


def test_what_leads_to_a_clip_starts_from_what_lies_around_it(pipeline):
    dark, light = np.full((5, 16, 16, 3), 40, np.uint8), np.full((4, 16, 16, 3), 200, np.uint8)
    given = tasks.leading(pipeline, dark, light, 8)
    levels = given.rough[:, 0, 0, 0].astype(int)
    assert levels.tolist() == sorted(levels)
    assert levels[4] == 40
    assert 40 < levels[5] < levels[12] < levels[13] == 200
    assert np.array_equal(given.rough[[0, -1]], [dark[0], light[0]])
    assert (tasks.leading(pipeline, None, light, 5).rough == 200).all()
    known = known_of(given, (1, 5, 4, 4, 4), 4, pipeline._encoded)
    assert known.mask[0].tolist() == [True, True, False, False, True]
    assert float(known.start) == pytest.approx(tasks.LEADING)
    np.testing.assert_allclose(known.latent[0, 2:4], pipeline._encoded(given.rough)[2:4], atol=1e-5)


@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 9])
def test_a_bridge_is_as_long_as_it_shall_be_and_a_gap_is_filled(pipeline, wanted):
    a, b = clip(7), clip(6)
    assert len(one(tasks.connect(pipeline, request(frames=wanted), a, b))) == 7 + wanted + 6
    whole = clip(20)
    film = one(tasks.fill(pipeline, request(), whole, 7 / 8, (7 + wanted) / 8))
    assert len(film) == 20
    changed = np.abs(film.astype(int) - whole.frames).max((1, 2, 3)) > 0
    assert changed.nonzero()[0].tolist() == list(range(7, 7 + wanted))


def test_a_gap_lies_within_its_clip(pipeline):
    for start, end in ((0.0, 1.0), (0.5, 9.0), (0.5, 0.51)):
        with pytest.raises(BadRequest, match=r"is not within the clip, which lasts 1.25 s: leave a frame or more"):
            one(tasks.fill(pipeline, request(), clip(10), start, end))


@pytest.mark.parametrize(("settings", "frames"), [({}, 8), ({"frames": 9}, 8), ({"seconds": 1.5}, 12)])
def test_a_loop_has_whole_latents(pipeline, settings, frames):
    assert one(tasks.loop(pipeline, request(**settings))).shape == (frames, 16, 16, 3)


def test_a_loop_is_decoded_after_itself(pipeline, monkeypatch):
    """Its first frames see its last ones, as they do when it is played again."""
    decoded = []
    decode = pipeline._decoded
    monkeypatch.setattr(pipeline, "_decoded", lambda z, decided: decoded.append(np.asarray(z)) or decode(z, decided))
    frames = one(tasks.loop(pipeline, PROMPT))
    (latents,) = decoded
    assert np.array_equal(latents[:, 1:3], latents[:, 3:])
    assert np.array_equal(frames, decode(latents, pipeline.plan(PROMPT))[0, -8:])


def test_loops_of_a_batch_are_those_of_each_alone(pipeline):
    asked = Request(("a red ball", "a blue box"), num=2)
    videos = list(tasks.loop(pipeline, asked))
    assert [video.metadata["seed"] for video in videos] == [0, 1, 0, 1]
    assert np.array_equal(videos[0].frames, one(tasks.loop(pipeline, PROMPT)))
    assert not np.array_equal(videos[0].frames, videos[2].frames)


def test_strength_zero_is_the_autoencoder_and_one_ignores_the_clip(pipeline):
    a, b = clip(5), clip(5)
    kept = one(tasks.edit(pipeline, PROMPT, a, 0.0))
    decoded = pipeline._decoded(pipeline._encoded(a.frames)[None], pipeline.plan(request(frames=5)))[0]
    assert np.abs(kept.astype(int) - decoded).max() <= 2
    assert np.array_equal(one(tasks.edit(pipeline, PROMPT, a, 1.0)), one(tasks.edit(pipeline, PROMPT, b, 1.0)))
    assert np.array_equal(one(tasks.edit(pipeline, PROMPT, a, 1.0)), one(pipeline("a red ball", frames=5)))


def test_an_edit_keeps_its_length_and_the_pixels_outside_the_mask(pipeline):
    a = clip(7)
    mask = np.zeros((16, 16), bool)
    mask[:9, :8] = True
    edited = one(tasks.edit(pipeline, PROMPT, a, 0.8, mask))
    assert edited.shape == a.frames.shape
    assert np.array_equal(edited[:, ~mask], a.frames[:, ~mask])
    assert not np.array_equal(edited[:, mask], a.frames[:, mask])


@pytest.mark.parametrize("window", [1, 5, 9, 13, 17])
def test_windows_of_a_long_edit_know_what_was_made_last(pipeline, window, monkeypatch):
    model = Pipeline(replace(pipeline.config, frames=(window,)), pipeline.params, pipeline.tokenizer, "tiny")
    heads, source, mask = [], clip(30), np.zeros((16, 16), bool)
    mask[:, 4:12] = True
    stream = Pipeline.stream

    def watched(self, request, decided, given):
        heads.append((given.head, request.seed))
        return stream(self, request, decided, given=given)

    monkeypatch.setattr(Pipeline, "stream", watched)
    made = one(tasks.edit(model, request(seed=3), source, 0.7, mask))
    assert len(made) == 30
    assert np.array_equal(made[:, ~mask], source.frames[:, ~mask])
    assert len({seed for _, seed in heads}) == len(heads) > 1
    end = window
    for head, _ in heads[1:]:
        if window == 1:
            assert head is None
        else:
            assert len(head) % 4 == 1
            assert np.array_equal(head, made[end - len(head) : end])
            end += window - len(head)


def test_each_prompt_and_seed_gets_a_video(pipeline):
    asked = Request(("a red ball", "a blue box"), num=2, frames=4)
    videos = list(tasks.extend(pipeline, asked, clip(5), "forward"))
    assert [video.metadata["seed"] for video in videos] == [0, 1, 0, 1]
    assert not np.array_equal(videos[0].frames, videos[1].frames)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--image", "missing.png"], "does not exist"),
        (["--image", "still.png", "--loop"], "--image and --loop"),
        (["--mask", "still.png"], "needs a clip to edit"),
        (["--strength", "0.5"], "needs a clip to edit"),
        (["--edit", "still.png", "--strength", "1.5"], "strength 1.5"),
        (["--edit", "still.png", "--mask", "black.png"], "mask is empty"),
        (["--direction", "backward"], "needs a clip to extend"),
        (["--extend", "still.png", "--seconds", "0"], "must be above 0"),
        (["--extend", "broken.mp4"], "no readable video"),
        (["--image", "words.txt"], "unknown suffix"),
        (["--edit", "still.png", "--seconds", "1"], "an edit is as long as its clip"),
        (["--fill", "still.png"], "--fill FILE and --gap FROM:TO go together"),
        (["--fill", "still.png", "--gap", "0.2:0.5"], "is not within the clip"),
        (["--loop", "--resume"], "--loop keeps nothing: leave --resume out"),
        (["--grid", "2", "--resume"], "a grid is made at once: leave one of them out"),
        (["--extend", "."], ". is a folder: give the path of a picture or clip"),
        (["--extend", "still.png", "--seconds", "0.03"], "has no frame: ask for 0.125 seconds or more"),
        (["--fps", "1000"], "fps 1000 is not allowed: use 1 to 120"),
    ],
)
def test_a_mistake_is_one_line(tiny_model, tmp_path, monkeypatch, capfd, argv, said):
    monkeypatch.chdir(tmp_path)
    clip(1).save("still.png")
    Video(np.zeros((1, 16, 16, 3), np.uint8), 1.0).save("black.png")
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    (tmp_path / "words.txt").write_text("no film")
    before = sorted(tmp_path.iterdir())
    assert main(["a red ball", "--model", str(tiny_model), "--out", "out.mp4", *argv]) in (1, 2)
    error = capfd.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_every_task_from_the_command_line(tiny_model, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    clip(1).save("still.png")
    clip(6).save("clip.png")
    clip(1, 32, 32).save("mask.png")
    for number, argv in enumerate((
        ["--image", "still.png"], ["--extend", "clip.png", "--frames", "3", "--direction", "backward"],
        ["--between", "still.png", "still.png"], ["--connect", "clip.png", "clip.png"], ["--loop"],
        ["--edit", "clip.png", "--strength", "0.5", "--mask", "mask.png"], ["--fill", "clip.png", "--gap", "0.25:0.5"],
    )):  # fmt: skip
        assert main(["a red ball", "--model", str(tiny_model), "--out", f"out{number}.png", *argv]) == 0
        assert capfd.readouterr().out == f"out{number}.png\n"
    said = json.loads((tmp_path / "out5.png.json").read_text())
    assert (said["edit"], said["strength"], said["mask"]) == ("clip.png", 0.5, "mask.png")
    for strength, argv in ((0.0, ["--strength", "0"]), (0.75, [])):
        command = ["a red ball", "--model", str(tiny_model), "--edit", "clip.png", "--out", "out.png", "--overwrite"]
        assert main([*command, *argv]) == 0
        assert json.loads((tmp_path / "out.png.json").read_text())["strength"] == strength


def test_notes_say_what_was_not_asked_for(tiny_model, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    clip(6, fps=24.0).save("clip.png")
    for argv, said in (
        (["--loop", "--frames", "9"], "a loop of 9 frames is rounded to 8"),
        (["--extend", "clip.png", "--trim", "0.1:9", "--frames", "1"], "ends before 9 s: it is taken from 0.1 s to"),
        (["--extend", "clip.png", "--fps", "8", "--frames", "1"], "has 24 frames a second, and 8 of them are taken"),
        (["--image", "clip.png"], "a clip of 6 frames is given to begin with: its first one is taken"),
        (["--negative", "blue", "--guidance-scale", "1"], "a negative prompt does not count without guidance"),
        (["--negative", "zebra"], 'does not seem to know "zebra"'),
        (["--extend", "clip.png", "--seconds", "0.1"], "0.1 s at 24 fps is rounded to 2 frames"),
        (["--blend", "clip.png", "clip.png", "--frames", "9"], "a blend of 9 frames is longer than its clips, of 6"),
        (["--edit", "clip.png", "--mask", "clip.png"], "clip.png has 6 frames, and the first one is the mask of all"),
    ):
        assert main(["a red ball", "--model", str(tiny_model), "--out", "out.png", "--overwrite", *argv]) == 0
        assert capfd.readouterr().err.count(said) == 1


def test_finished_files_stay_where_an_interrupted_command_goes_on(tiny_model, tmp_path, capsys, monkeypatch):
    made, sampled = [], Pipeline._sampled
    monkeypatch.setattr(Pipeline, "_sampled", lambda self, clips, *rest, **more: (
        made.extend(seed for _, seed in clips), sampled(self, clips, *rest, **more))[1])
    command = ["a red ball", "--model", str(tiny_model), "--frames", "5", "--out", str(tmp_path / "a.webp")]
    assert main([*command, "--num", "2"]) == 0
    (tmp_path / "a-2.webp").unlink()
    (tmp_path / "a-2.webp.json").unlink()
    before = (tmp_path / "a-1.webp").stat()
    assert main([*command, "--num", "2"]) == 1
    made.clear()
    assert main([*command, "--num", "2", "--resume"]) == 0
    assert made == [1]  # the finished one is not made again
    assert "a-1.webp is finished, and stays as it is" in capsys.readouterr().err
    assert (tmp_path / "a-1.webp").stat() == before
    assert (tmp_path / "a-2.webp").exists()
    assert main(["a blue ball", *command[1:], "--num", "2", "--resume"]) == 2
    said = "a-1.webp is finished, and of another request (prompt a red ball, not a blue ball)"
    assert said in capsys.readouterr().err
    assert main([*command, "--num", "2", "--resume", "--quantize", "int8"]) == 2
    assert "of another request (quantize None, not int8)" in capsys.readouterr().err
    assert main([*command, "--num", "2", "--resume", "--fps", "12"]) == 2
    assert "of another request (fps 8.0, not 12.0)" in capsys.readouterr().err
    (tmp_path / "a-1.webp.json").write_text("[1]")
    assert main([*command, "--num", "2", "--resume"]) == 0
    folder = [*command[:-1], f"{tmp_path / 'new'}/"]
    for more in ([], ["--resume"]):  # the same names
        assert main([*folder, *more]) == 0
        assert [path.name for path in (tmp_path / "new").iterdir() if path.suffix == ".mp4"] == ["a-red-ball.mp4"]


def test_a_file_of_another_kind_is_not_taken_for_the_finished_one(tiny_model, tmp_path, capsys):
    path = tmp_path / "a.webp"
    command = ["a red ball", "--model", str(tiny_model), "--frames", "5", "--out", str(path), "--resume"]
    path.touch()
    assert main(command) == 2
    assert "a.webp is no readable picture" in capsys.readouterr().err
    clip(5).save(path, overwrite=True)
    (tmp_path / "a.webp.json").unlink()
    assert main(command) == 2
    assert "of another request" in capsys.readouterr().err


def test_a_refused_film_leaves_nothing_that_refuses_the_right_one(tiny_model, tmp_path, capsys):
    command = ["a red ball", "--model", str(tiny_model), "--frames", "9", "--out", str(tmp_path / "a.webp")]
    assert main(command) == 0
    assert main(["a blue ball", *command[1:], "--resume"]) == 2
    assert "of another request (prompt a red ball, not a blue ball)" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.webp", "a.webp.json"]


def test_an_edited_picture_is_a_picture(tiny_model, tmp_path, capsys):
    clip(1).save(tmp_path / "still.webp")
    command = ["a red ball", "--model", str(tiny_model), "--edit", str(tmp_path / "still.webp")]
    assert main([*command, "--out", f"{tmp_path / 'new'}/"]) == 0
    assert Video.load(tmp_path / "new" / "a-red-ball.png").frames.shape == (1, 16, 16, 3)


def test_windows_stay_until_the_file_is_whole(tiny_model, tmp_path, monkeypatch, capsys):
    """Of formats that are written when all frames are there, too."""
    command = ["a red ball", "--model", str(tiny_model), "--frames", "9", "--out", str(tmp_path / "a.webp")]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setitem(WRITERS, ".webp", lambda video, path: (list(video.pictures()), interrupted()))
        assert main(command) == 130
    assert "repeat the command with --resume" in capsys.readouterr().err
    (tmp_path / "a.webp.windows" / "0001.npy").write_bytes(b"")  # damaged: made again, and no other
    sampled, made = _Windows.sample, []
    monkeypatch.setattr(_Windows, "sample", lambda *told: (made.append(told), sampled(*told))[1])
    assert main([*command, "--resume"]) == 0
    assert len(made) == 1
    assert not (tmp_path / "a.webp.windows").exists()
    assert len(Video.load(tmp_path / "a.webp").frames) == 9


def test_what_has_its_own_length_takes_no_other(pipeline):
    long = request(frames=9)
    scenes = [Scene("a red ball", 1.0)]
    for asked in (
        lambda: tasks.edit(pipeline, long, clip(5), 0.5),
        lambda: tasks.fill(pipeline, long, clip(9), 0.25, 0.5),
        lambda: tasks.storyboard(pipeline, long, scenes),
    ):
        with pytest.raises(BadRequest, match="leave seconds and frames out"):
            next(asked())
    with pytest.raises(BadRequest, match="use at most 3600, an hour"):
        next(tasks.storyboard(pipeline, PROMPT, [Scene("a red ball", 3000.0)] * 2))
    with pytest.raises(BadRequest, match="a gap from nan to 1 s is none"):
        next(tasks.fill(pipeline, PROMPT, clip(9), float("nan"), 1.0))
    with pytest.raises(BadRequest, match=r"the mask has the shape \(5, 16, 16\)"):
        next(tasks.edit(pipeline, PROMPT, clip(5), 0.5, np.ones((5, 16, 16), bool)))


def test_a_film_is_given_as_a_video_is(pipeline):
    film = next(tasks.storyboard(pipeline, PROMPT, [Scene("a red ball", 1.0)]))
    longer = one(tasks.extend(pipeline, request(frames=4), film, "forward"))
    assert np.array_equal(longer[:8], film.frames)


def test_a_scene_that_says_so_begins_with_a_cut(pipeline):
    (film,) = tasks.storyboard(pipeline, PROMPT, [Scene("a red ball", 1.0), Scene("Cut to: a box", 1.0)])
    assert [shot["cut"] for shot in film.metadata["shots"]] == [False, True]


def test_a_long_still_begins_a_film(pipeline):
    still = clip(1)
    film = next(tasks.animate(pipeline, request(frames=13), still))
    assert film.count == 13
    whole = film.whole().frames
    short = one(tasks.animate(pipeline, PROMPT, still))
    assert np.array_equal(whole[:1], short[:1])


def test_both_directions_keep_the_middle(pipeline):
    start = clip(6)
    film = one(tasks.extend(pipeline, request(seconds=0.75), start, "both"))
    assert len(film) == 18
    assert np.array_equal(film[6:12], start.frames)


def test_a_blend_of_strength_zero_is_the_crossfade(pipeline):
    first, second = clip(5), clip(9)
    film = one(tasks.blend(pipeline, PROMPT, first, second, 0.0))
    assert len(film) == 5
    (kept,) = tasks.edit(pipeline, PROMPT, Video(np.concatenate([first.frames[:1], second.frames[4:5]]), 8.0), 0.0)
    assert np.abs(film[0].astype(int) - kept.frames[0]).max() <= 2


@pytest.mark.parametrize(("window", "length"), [(13, 11), (13, 13), (5, 29), (17, 26), (33, 34)])
def test_a_blend_is_held_at_both_ends(pipeline, window, length):
    model = Pipeline(replace(pipeline.config, frames=(window,)), pipeline.params, pipeline.tokenizer, "tiny")
    first, second = clip(length), clip(40)
    with pytest.warns(Note, match=f"clips of {length} and 40 frames are blended in {length}: say --seconds"):
        film = one(tasks.blend(model, PROMPT, first, second, 0.6))
    assert len(film) == length
    assert np.array_equal(film[0], first.frames[0])
    assert np.array_equal(film[-4:], second.frames[length - 4 : length])


def test_a_storyboard_has_its_lengths_and_prompts(pipeline):
    scenes = [Scene("a red ball", 1.0), Scene("a blue ball", 0.5), Scene("the same red box", 0.75, "cut")]
    (film,) = tasks.storyboard(pipeline, PROMPT, scenes)
    assert [shot["prompt"] for shot in film.metadata["shots"]] == ["a red ball", "a blue ball", "a red box"]
    assert len(film.whole().frames) == 8 + 4 + 6


def test_a_board_is_played_from_the_command_line(tiny_model, tmp_path, capsys):
    out = tmp_path / "story.mp4"
    board = written(tmp_path, BOARD)
    assert main(["--storyboard", str(board), "--model", str(tiny_model), "--out", str(out), "--style", "red"]) == 0
    assert len(Video.load(out).frames) == 12
    assert not list(tmp_path.glob("*.windows"))
    assert main(["a ball", "--storyboard", str(board), "--out", str(out), "--overwrite"]) == 2
    assert "storyboard has its own prompts" in capsys.readouterr().err


def test_an_interrupted_minute_goes_on(tiny_model, tmp_path, capsys, monkeypatch):
    """The command is the same, with --resume; without it nothing that was made is lost. (As
    webp: of pictures as small as one macroblock x264 makes now and then another file.)"""
    command = ["a red ball", "--model", str(tiny_model), "--frames", "17"]
    assert main([*command, "--out", str(tmp_path / "whole.webp")]) == 0
    calls, sample = [], _Windows.sample

    def dying(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return sample(self, *arguments)

    monkeypatch.setattr(_Windows, "sample", dying)
    out = [*command, "--out", str(tmp_path / "cut.webp")]
    assert main(out) == 130
    assert "--resume" in capsys.readouterr().err
    assert main(out) == 2
    assert "add --resume" in capsys.readouterr().err
    assert not (tmp_path / "cut.webp").exists()
    assert main([*out[:1], "--seed", "4", *out[1:], "--resume"]) == 1
    assert "another request" in capsys.readouterr().err
    calls[:] = [1] * 10
    assert main([*out, "--resume"]) == 0
    assert len(calls) == 12
    made, whole = (Video.load(tmp_path / name).frames for name in ("cut.webp", "whole.webp"))
    assert np.array_equal(made, whole)
    assert not list(tmp_path.glob("*.windows"))


def test_a_trim_takes_a_part(tiny_model, tmp_path, capsys):
    source = clip(16).save(tmp_path / "clip.webp")
    out = tmp_path / "more.webp"
    command = ["a ball", "--model", str(tiny_model), "--extend", str(source), "--frames", "2", "--out", str(out)]
    assert main([*command, "--trim", "0.5:1.25"]) == 0
    assert len(Video.load(out).frames) == 6 + 2
    for span, said in (("2:1", "no span"), ("x", "no span"), ("9:", "lasts 2 s")):
        assert main([*command, "--overwrite", "--trim", span]) in (1, 2)
        assert said in capsys.readouterr().err


def test_a_sound_track_is_left_out_with_a_note(tiny_model, tmp_path, capsys):
    path = tmp_path / "loud.mp4"
    with av.open(str(path), "w") as container:
        picture, sound = container.add_stream("libx264", rate=8), container.add_stream("aac", rate=8000)
        picture.width, picture.height, picture.pix_fmt = 20, 16, "yuv420p"
        for _ in range(9):
            frame = av.VideoFrame.from_ndarray(np.full((16, 20, 3), 90, np.uint8), format="rgb24")
            container.mux(picture.encode(frame))
        noise = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        noise.rate = 8000
        container.mux(sound.encode(noise))
        container.mux(picture.encode())
        container.mux(sound.encode())
    mask = Video(np.full((1, 8, 8, 3), 255, np.uint8), 1.0).save(tmp_path / "mask.png")
    out = tmp_path / "quiet.mp4"
    command = ["a ball", "--model", str(tiny_model), "--edit", str(path), "--mask", str(mask), "--out", str(out)]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "the sound of" in said
    assert "the clip of 20x16 is resized to 24x16" in said or "the clip of 20x16 is resized to 16x16" in said
    assert "mask.png is 8x8 and is resized to the clip's 20x16" in said
    with av.open(str(out)) as container:
        assert not container.streams.audio
