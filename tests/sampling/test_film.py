"""Films: windows continue one another without a seam, an interruption loses nothing, and memory is bounded."""

import threading

import numpy as np
import pytest

import sorajax
from sorajax.media.video import Video
from sorajax.sampling.film import Stream, film_frames
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import Request
from sorajax.sampling.shots import Shot, shots_of
from sorajax.sampling.store import WindowStore
from sorajax.sampling.windows import Windows, new_latents, windows_for

REQUEST = Request(("a red ball",))
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def pipeline(tiny_model) -> Pipeline:
    return sorajax.load(tiny_model)


def test_a_film_begins_as_its_first_window_and_has_no_seam(pipeline):
    """With the autoencoder's stream over all windows, decoding the whole at once gives the same."""
    long = pipeline.film(pipeline.plan(REQUEST), [Shot("a red ball", 17)], seed=3).whole()
    assert long.frames.shape == (17, 16, 16, 3)
    short = pipeline("a red ball", frames=5, seed=3)[0]
    assert np.abs(long.frames[:5].astype(int) - short.frames).max() <= 1
    assert not np.array_equal(long.frames[5:9], long.frames[9:13])
    (same,) = pipeline("a red ball", frames=17, seed=3)
    assert np.array_equal(same.frames, long.frames)


def test_a_scene_change_in_the_prompt_makes_one_cut():
    shots = shots_of("A red ball falls. Cut to: the same red ball bounces", 49)
    assert [(shot.prompt, shot.frames, shot.cut) for shot in shots] == [
        ("A red ball falls", 24, False),
        ("a red ball bounces", 25, True),
    ]
    assert [shot.frames for shot in shots_of("a red ball falls", 49)] == [49]
    styled = shots_of("A red ball falls. Cut to: a blue star. The style is neon.", 49)
    look = "The style is neon."
    assert [shot.prompt for shot in styled] == [f"A red ball falls. {look}", f"a blue star. {look}"]


class Recorder:
    """A model whose latents count; they are decoded to themselves."""

    stride = 4

    def __init__(self, max_anchor_gap=0, redo_latents=0, samples_ahead=False):
        self.samples_ahead = samples_ahead
        self.max_anchor_gap, self.redo_latents = max_anchor_gap, redo_latents
        self.known, self.prompts, self.seeds, self.gaps, self.shown = [], [], [], [], []

    def sample(self, prompt, seed, past):
        known = past.known
        self.known.append(known)
        self.gaps.append(past.anchor_gap)
        self.shown.append(past.frames)
        self.prompts.append(prompt)
        self.seeds.append(seed)
        return np.where(known.mask[0][:, None, None, None], known.latent[0], len(self.known)).astype(np.float32)

    def encode(self, frames):
        return frames[:: self.stride].astype(np.float32)

    def decode(self, latents, cache):
        frames = np.repeat(latents, self.stride, 0)[0 if cache else self.stride - 1 :]
        return np.round(frames).astype(np.uint8), {"begun": True}


SHAPE = (5, 1, 1, 3)


def played(model, shots, **more):
    return np.concatenate(list(film_frames(model, shots, SHAPE, 0, **more)))


def test_a_window_fixes_the_last_latents_before_it():
    model = Recorder()
    frames = played(model, [Shot("a", 33)])
    assert len(frames) == 33
    assert [known.mask.sum() for known in model.known] == [0, 3, 3]
    np.testing.assert_array_equal(model.known[1].latent[0, :3], 1)
    assert len(set(model.seeds)) == 3
    np.testing.assert_array_equal(frames[:17], 1)
    np.testing.assert_array_equal(frames[17:25], 2)


def test_redo_latents_generates_the_last_latents_of_a_window_again():
    model, shots = Recorder(redo_latents=1), [Shot("a", 33), Shot("b", 9, cut=True)]
    frames = played(model, shots)
    assert len(frames) == 42
    assert [known.mask.sum() for known in model.known] == [0, 3, 3, 3, 3, 3, 0]
    np.testing.assert_array_equal(frames[:13], 1)
    np.testing.assert_array_equal(frames[13:17], 2)
    assert windows_for(shots, 5, 4, redo_latents=1) == 7
    assert new_latents(["a"] * 9, 8, 5, redo_latents=9) == 1  # it always goes on


def test_anchored_models_fix_the_films_first_latent_in_each_window():
    """The anchor is the film's first latent as it is, and the others are as far from it as they are in the film."""
    without, model = Recorder(), Recorder(max_anchor_gap=4)
    shots = [Shot("a", 41), Shot("b", 33, cut=True)]
    played(without, shots)
    played(model, shots)
    assert without.gaps == [1] * 7
    assert model.gaps == [1, 3, 5, 7, 1, 3, 5]
    assert [known.latent[0, 0, 0, 0, 0] for known in model.known] == [0, 1, 1, 1, 0, 5, 5]
    assert [known.latent[0, 1, 0, 0, 0] for known in model.known] == [0, 1, 2, 3, 0, 5, 6]


def test_a_film_is_the_same_where_windows_are_sampled_ahead():
    class Waiting(Recorder):
        """It decodes a window only when the next one has been sampled."""

        def __init__(self):
            super().__init__(max_anchor_gap=4, redo_latents=1, samples_ahead=True)
            self.sampled = threading.Semaphore(0)

        def sample(self, *arguments):
            latents = super().sample(*arguments)
            self.sampled.release()
            return latents

        def decode(self, latents, cache):
            if len(self.known) < 6:  # of the first shot, whose last window has none after it
                assert self.sampled.acquire(timeout=30)
            return super().decode(latents, cache)

    shots = [Shot("a", 33), Shot("b", 9, cut=True)]
    expected = played(Recorder(max_anchor_gap=4, redo_latents=1), shots)
    np.testing.assert_array_equal(played(Waiting(), shots), expected)


def test_a_window_ahead_that_fails_raises_in_its_place():
    class Failing(Recorder):
        def sample(self, *arguments):
            if len(self.known) == 2:
                raise MemoryError("no room")
            return super().sample(*arguments)

    frames = film_frames(Failing(max_anchor_gap=4, samples_ahead=True), [Shot("a", 41)], SHAPE, 0)
    assert [len(next(frames)), len(next(frames))] == [17, 8]
    with pytest.raises(MemoryError, match="no room"):
        next(frames)


def test_a_shot_begins_from_its_image_or_from_nothing_with_its_own_prompt():
    model = Recorder()
    image = Video(np.full((1, 1, 1, 3), 9, np.uint8), 1.0)
    frames = played(model, [Shot("a", 9), Shot("b", 8), Shot("c", 5, cut=True), Shot("d", 5, cut=True, image=image)])
    assert len(frames) == 27
    assert model.prompts == ["a", "b", "c", "d"]
    assert [known.mask.sum() for known in model.known] == [0, 3, 0, 1]
    np.testing.assert_array_equal(frames[22], 9)


def test_input_frames_come_first_and_stay_fixed():
    model = Recorder()
    head = np.full((5, 1, 1, 3), 7, np.uint8)
    frames = played(model, [Shot("a", 13)], head=head)
    np.testing.assert_array_equal(frames[:5], 7)
    assert model.known[0].mask.sum() == 2
    np.testing.assert_array_equal(frames[5:], 1)


def test_mask_channel_models_encode_the_frames_that_a_window_fixes():
    """The first is what was given, and not what the autoencoder made of it; later ones are those of the film."""
    model = Recorder()
    model.encode = lambda frames: frames[:: model.stride].astype(np.float32) + 1
    head = np.full((5, 1, 1, 3), 7, np.uint8)
    frames = played(model, [Shot("a", 29)], head=head)
    assert [len(shown) for shown in model.shown] == [5, 9, 9]
    assert [known.mask.sum() for known in model.known] == [2, 3, 3]
    np.testing.assert_array_equal(model.shown[0], 7)
    np.testing.assert_array_equal(frames[:5], 8)
    np.testing.assert_array_equal(model.shown[1], frames[8:17])
    np.testing.assert_array_equal(model.shown[2], frames[16:25])


def test_a_resumed_film_equals_an_uninterrupted_one(tmp_path):
    shots, folder = [Shot("a", 33)], tmp_path / "a.mp4.windows"
    expected = played(Recorder(), shots)

    class Dying(Recorder):
        def sample(self, *arguments):
            if len(self.known) == 2:
                raise KeyboardInterrupt
            return super().sample(*arguments)

    with pytest.raises(KeyboardInterrupt):
        played(Dying(), shots, store=WindowStore(folder, {"prompt": "a"}))
    again = Recorder()
    again.known = [None, None]  # it counts on
    np.testing.assert_array_equal(
        played(again, shots, store=WindowStore(folder, {"prompt": "a"}, resume=True)), expected
    )
    assert len(again.seeds) == 1
    with pytest.raises(ValueError, match="another request"):
        WindowStore(folder, {"prompt": "b"}, resume=True)


def test_decoding_in_a_stream_equals_decoding_at_once(pipeline):
    settings = pipeline.plan(Request(("a red ball",), frames=17))
    latents = RNG.standard_normal(settings.latent, np.float32)
    stream = Stream(Windows(pipeline.denoiser, pipeline.codec, settings), 7)
    parts = []
    for new in (latents[:2], latents[2:4], latents[4:]):
        stream.follow(new)
        parts.append(stream.decode(new))
    whole = pipeline.codec.decode(latents[None], settings.height, settings.width)[0]
    assert np.abs(np.concatenate(parts).astype(int) - whole).max() <= 1
    assert (len(stream.latents), len(stream.frames), stream.done) == (3, 9, 5)  # what a window of 7 needs, and no more
    assert stream.frames.base is None
    assert np.array_equal(stream.frames, np.concatenate(parts)[-9:])
