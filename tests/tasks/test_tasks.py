"""Input frames stay, lengths are those requested, and strength scales the change."""

from dataclasses import replace

import numpy as np
import pytest

import sorajax
from sorajax import tasks
from sorajax.errors import BadRequest, Note
from sorajax.media.video import Video
from sorajax.models.conditioning import fixed_latents
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import Request, StoryboardScene
from sorajax.tasks.bridge import CROSSFADE_STRENGTH, crossfade_conditioning

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


def test_extensions_and_scenes_cut_once_per_scene_change(pipeline, monkeypatch):
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
    scenes = [StoryboardScene("a blue box", 1.0), StoryboardScene(CUT.prompts[0], 1.0)]
    assert len(next(tasks.storyboard(pipeline, CUT, scenes)).whole().frames) == 16
    told = [("a blue box", 8, False), ("a red ball", 4, False), ("a box", 4, True)]
    assert films.pop() == told
    with pytest.raises(BadRequest, match='contains a cut, and a loop has none: leave out "Cut to:", or --loop'):
        next(tasks.loop(pipeline, CUT))


def test_a_clip_too_long_for_its_task_is_refused(pipeline):
    with pytest.raises(
        BadRequest,
        match=r"800 frames, fixed ones included, exceed the limit of .* for one window, 40: use a shorter clip",
    ):
        next(tasks.loop(pipeline, request(seconds=100)))
    with pytest.raises(BadRequest, match="fixed ones included, exceed the limit"):
        next(tasks.connect(pipeline, request(seconds=100), clip(5), clip(5)))


def test_python_callers_get_notes_as_warnings(pipeline):
    with pytest.warns(Note, match="the model was trained at 8 fps; 12 fps may look worse"):
        pipeline("a red ball", fps=12, frames=5)
    with pytest.warns(Note, match="the clip of 40x16 is resized to 16x16, cropped if its aspect ratio differs"):
        next(tasks.extend(pipeline, request(frames=1, width=16, height=16), clip(5, 40), "forward"))
    with pytest.warns(Note, match="the clip has 24 frames per second, and 8 of them are used"):
        next(tasks.edit(pipeline, request(fps=8), clip(6, fps=24.0), 0.5))


def test_an_animated_image_is_fixed_and_the_rest_depends_on_it(pipeline):
    first, second = clip(1), clip(1)
    a, again, b = (one(tasks.animate(pipeline, PROMPT, still)) for still in (first, first, second))
    assert a.shape == (5, 16, 16, 3)
    assert np.array_equal(a, again)
    assert not np.array_equal(a[0], b[0])
    through = pipeline.codec.encode(first.frames)
    decoded = pipeline.codec.decode(through[None], 16, 16)[0]
    assert np.abs(a[0].astype(int) - decoded[0]).max() <= 1


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("length", [1, 6])
def test_an_extension_keeps_the_clip_and_adds_the_requested_frames(pipeline, direction, length):
    start = clip(length)
    film = one(tasks.extend(pipeline, request(seconds=0.75), start, direction))
    assert len(film) == length + 6
    kept = film[:length] if direction == "forward" else film[-length:]
    assert np.array_equal(kept, start.frames)


def test_drop_conditioning_in_cfg_changes_an_extension(pipeline):
    """A model that is guided so goes on otherwise from a clip, leaves it untouched too, and says the same of text."""
    config = replace(pipeline.config, drop_conditioning_in_cfg=True)
    strict, start, asked = Pipeline(config, pipeline.params, pipeline.tokenizer, "strict"), clip(5), request(frames=4)
    plainly, strictly = (one(tasks.extend(model, asked, start, "forward")) for model in (pipeline, strict))
    assert np.array_equal(strictly[:5], start.frames)
    assert not np.array_equal(strictly[5:], plainly[5:])
    free = replace(asked, guidance_scale=1.0)
    alone = [one(tasks.extend(model, free, start, "forward")) for model in (pipeline, strict)]
    assert np.array_equal(*alone)
    assert np.array_equal(*(one(tasks.text(model, request())) for model in (pipeline, strict)))
    assert np.array_equal(*(one(tasks.loop(model, request(frames=8))) for model in (pipeline, strict)))


def test_between_fixes_both_ends(pipeline):
    first, last = clip(1), clip(1)
    with pytest.warns(Note, match="9 frames with both pictures are rounded to 10: the model makes 4n"):
        assert len(one(tasks.between(pipeline, request(frames=9), first, last))) == 10
    film = one(tasks.between(pipeline, request(frames=6), first, last))
    assert len(film) == 6
    assert np.array_equal(film[0], first.frames[0])
    assert np.array_equal(film[-1], last.frames[0])


def test_connect_keeps_both_clips(pipeline):
    a, b = clip(7), clip(6)
    film = one(tasks.connect(pipeline, request(frames=8), a, b))
    assert len(film) == 7 + 8 + 6
    assert np.array_equal(film[:7], a.frames)
    assert np.array_equal(film[-6:], b.frames)


def test_frames_before_a_clip_begin_from_an_approximation(pipeline):
    dark, light = np.full((5, 16, 16, 3), 40, np.uint8), np.full((4, 16, 16, 3), 200, np.uint8)
    conditioning = crossfade_conditioning(pipeline, dark, light, 8)
    levels = conditioning.source_clip[:, 0, 0, 0].astype(int)
    assert levels.tolist() == sorted(levels)
    assert levels[4] == 40
    assert 40 < levels[5] < levels[12] < levels[13] == 200
    assert np.array_equal(conditioning.source_clip[[0, -1]], [dark[0], light[0]])
    assert (crossfade_conditioning(pipeline, None, light, 5).source_clip == 200).all()
    known = fixed_latents(conditioning, (1, 5, 4, 4, 4), 4, pipeline.codec.encode)
    assert known.mask[0].tolist() == [True, True, False, False, True]
    assert float(known.start) == pytest.approx(CROSSFADE_STRENGTH)
    np.testing.assert_allclose(known.latent[0, 2:4], pipeline.codec.encode(conditioning.source_clip)[2:4], atol=1e-5)


@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 9])
def test_connect_and_fill_have_the_requested_length(pipeline, wanted):
    a, b = clip(7), clip(6)
    assert len(one(tasks.connect(pipeline, request(frames=wanted), a, b))) == 7 + wanted + 6
    whole = clip(20)
    film = one(tasks.fill(pipeline, request(), whole, (7 / 8, (7 + wanted) / 8)))
    assert len(film) == 20
    changed = np.abs(film.astype(int) - whole.frames).max((1, 2, 3)) > 0
    assert changed.nonzero()[0].tolist() == list(range(7, 7 + wanted))


def test_a_gap_outside_its_clip_is_refused(pipeline):
    for start, end in ((0.0, 1.0), (0.5, 9.0), (0.5, 0.51)):
        with pytest.raises(BadRequest, match=r"is not within the clip, which lasts 1.25 s: leave a frame or more"):
            one(tasks.fill(pipeline, request(), clip(10), (start, end)))


@pytest.mark.parametrize(("settings", "frames"), [({}, 8), ({"frames": 9}, 8), ({"seconds": 1.5}, 12)])
def test_a_loop_has_whole_latents(pipeline, settings, frames):
    assert one(tasks.loop(pipeline, request(**settings))).shape == (frames, 16, 16, 3)


def test_a_loop_is_decoded_without_a_seam(pipeline, monkeypatch):
    """Its first frames see its last ones, as they do when it is played again."""
    decoded = []
    decode = pipeline.codec.decode
    monkeypatch.setattr(pipeline.codec, "decode", lambda z, *size: decoded.append(np.asarray(z)) or decode(z, *size))
    frames = one(tasks.loop(pipeline, PROMPT))
    *_, latents = decoded
    assert np.array_equal(latents[:, 1:3], latents[:, 3:])
    assert np.array_equal(frames, decode(latents, 16, 16)[0, -8:])


def test_a_batch_of_loops_equals_single_loops(pipeline):
    asked = Request(("a red ball", "a blue box"), num=2)
    videos = list(tasks.loop(pipeline, asked))
    assert [video.metadata["seed"] for video in videos] == [0, 1, 0, 1]
    assert np.array_equal(videos[0].frames, one(tasks.loop(pipeline, PROMPT)))
    assert not np.array_equal(videos[0].frames, videos[2].frames)


def test_strength_zero_reconstructs_the_clip_and_one_ignores_it(pipeline):
    a, b = clip(5), clip(5)
    kept = one(tasks.edit(pipeline, PROMPT, a, 0.0))
    decoded = pipeline.codec.decode(pipeline.codec.encode(a.frames)[None], 16, 16)[0]
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
def test_windows_of_a_long_edit_continue_the_previous_one(pipeline, window, monkeypatch):
    model = Pipeline(replace(pipeline.config, frames=(window,)), pipeline.params, pipeline.tokenizer, "tiny")
    heads, source, mask = [], clip(30), np.zeros((16, 16), bool)
    mask[:, 4:12] = True
    stream = Pipeline.stream

    def watched(self, request, settings, conditioning):
        heads.append((conditioning.head, request.seed))
        return stream(self, request, settings, conditioning=conditioning)

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


def test_tasks_with_their_own_length_refuse_frames(pipeline):
    long = request(frames=9)
    scenes = [StoryboardScene("a red ball", 1.0)]
    for asked in (
        lambda: tasks.edit(pipeline, long, clip(5), 0.5),
        lambda: tasks.fill(pipeline, long, clip(9), (0.25, 0.5)),
        lambda: tasks.storyboard(pipeline, long, scenes),
    ):
        with pytest.raises(BadRequest, match="leave seconds and frames out"):
            next(asked())
    with pytest.raises(BadRequest, match="use at most 3600, an hour"):
        next(tasks.storyboard(pipeline, PROMPT, [StoryboardScene("a red ball", 3000.0)] * 2))
    with pytest.raises(BadRequest, match="a gap from nan to 1 s is empty"):
        next(tasks.fill(pipeline, PROMPT, clip(9), (float("nan"), 1.0)))
    with pytest.raises(BadRequest, match=r"the mask has the shape \(5, 16, 16\)"):
        next(tasks.edit(pipeline, PROMPT, clip(5), 0.5, np.ones((5, 16, 16), bool)))


def test_a_film_is_an_input_like_a_video(pipeline):
    film = next(tasks.storyboard(pipeline, PROMPT, [StoryboardScene("a red ball", 1.0)]))
    longer = one(tasks.extend(pipeline, request(frames=4), film, "forward"))
    assert np.array_equal(longer[:8], film.frames)


def test_a_scene_with_cut_begins_with_a_cut(pipeline):
    (film,) = tasks.storyboard(
        pipeline, PROMPT, [StoryboardScene("a red ball", 1.0), StoryboardScene("Cut to: a box", 1.0)]
    )
    assert [shot["cut"] for shot in film.metadata["shots"]] == [False, True]


def test_a_long_animation_is_a_film(pipeline):
    still = clip(1)
    film = next(tasks.animate(pipeline, request(frames=13), still))
    assert film.count == 13
    whole = film.whole().frames
    short = one(tasks.animate(pipeline, PROMPT, still))
    assert np.array_equal(whole[:1], short[:1])


def test_extending_both_ways_keeps_the_clip_in_the_middle(pipeline):
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
def test_a_blend_keeps_both_end_frames(pipeline, window, length):
    model = Pipeline(replace(pipeline.config, frames=(window,)), pipeline.params, pipeline.tokenizer, "tiny")
    first, second = clip(length), clip(40)
    with pytest.warns(Note, match=f"clips of {length} and 40 frames are blended in {length}: use --seconds"):
        film = one(tasks.blend(model, PROMPT, first, second, 0.6))
    assert len(film) == length
    assert np.array_equal(film[0], first.frames[0])
    assert np.array_equal(film[-4:], second.frames[length - 4 : length])


def test_a_storyboard_has_its_lengths_and_prompts(pipeline):
    scenes = [
        StoryboardScene("a red ball", 1.0),
        StoryboardScene("a blue ball", 0.5),
        StoryboardScene("the same red box", 0.75, "cut"),
    ]
    (film,) = tasks.storyboard(pipeline, PROMPT, scenes)
    assert [shot["prompt"] for shot in film.metadata["shots"]] == ["a red ball", "a blue ball", "a red box"]
    assert len(film.whole().frames) == 8 + 4 + 6
