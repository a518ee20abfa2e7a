"""Laws of the pipeline: a clip depends on its prompt, seed and settings, and on nothing else."""

import dataclasses

import numpy as np
import pytest

import sorajax
from sorajax.errors import BadRequest
from sorajax.models.conditioning import ConditioningFrames
from sorajax.sampling.pipeline import Pipeline
from sorajax.sampling.request import Request
from sorajax.sampling.settings import tokenize
from sorajax.sampling.shots import Shot
from tests.conftest import TINY


@pytest.fixture(scope="module")
def pipeline(tiny_model) -> Pipeline:
    return sorajax.load(tiny_model)


def frames_of(pipeline, prompts="a red ball", **settings):
    return [video.frames for video in pipeline(prompts, **settings)]


def close(a, b):
    """Equal but for the rounding of a different batch size."""
    return np.abs(a.astype(int) - b).max() <= 1


def test_a_request_without_settings_uses_the_models_defaults(pipeline):
    (video,) = pipeline("a red ball bounces")
    assert video.frames.shape == (5, 16, 16, 3)
    assert video.fps == TINY.fps
    expected = {"prompt": "a red ball bounces", "seed": 0, "steps": 2, "guidance_scale": 4.0, "sampler": "unipc"}
    assert expected.items() <= video.metadata.items()
    assert video.metadata["version"] == f"sorajax {sorajax.__version__}"


def test_equal_seeds_give_equal_clips(pipeline):
    first, again, other = (frames_of(pipeline, seed=seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not close(first, other)


def test_a_low_temperature_reduces_the_difference_between_seeds(pipeline):
    apart = {}
    for temperature in (None, 1.0, 0.3):
        first, second = (frames_of(pipeline, seed=seed, temperature=temperature)[0].astype(int) for seed in (3, 4))
        apart[temperature] = np.abs(first - second).mean()
    assert apart[None] == apart[1.0] > 2 * apart[0.3] > 0


def test_the_models_own_temperature_is_the_default(pipeline):
    cool = Pipeline(dataclasses.replace(pipeline.config, temperature=0.3), pipeline.params, pipeline.tokenizer, "cool")
    (own,), (asked,) = cool("a red ball"), pipeline("a red ball", temperature=0.3)
    assert np.array_equal(own.frames, asked.frames)
    assert own.metadata["temperature"] == asked.metadata["temperature"] == 0.3


def test_clip_i_is_seed_plus_i_in_any_batch(pipeline):
    several = frames_of(pipeline, seed=5, num=3)
    assert np.array_equal(several[2], frames_of(pipeline, seed=7)[0])
    request = Request(("a red ball",), num=3, seed=5)
    batched = [video.frames for video in pipeline.stream(request, pipeline.plan(request), batch=2)]
    assert len(batched) == 3
    assert all(close(a, b) for a, b in zip(several, batched, strict=True))


def test_clips_come_in_the_order_of_their_prompts(pipeline):
    videos = pipeline(["a red ball", "a blue box falls left"], num=2)
    assert [(v.metadata["prompt"], v.metadata["seed"]) for v in videos] == [
        ("a red ball", 0),
        ("a red ball", 1),
        ("a blue box falls left", 0),
        ("a blue box falls left", 1),
    ]
    assert not np.array_equal(videos[0].frames, videos[2].frames)


def test_guidance_scale_one_ignores_the_negative_prompt(pipeline):
    plain = frames_of(pipeline, guidance_scale=1.0)[0]
    assert np.array_equal(plain, frames_of(pipeline, guidance_scale=1.0, negative="blue")[0])
    assert not np.array_equal(
        frames_of(pipeline, guidance_scale=5.0)[0], frames_of(pipeline, guidance_scale=5.0, negative="blue")[0]
    )


def test_a_full_prompt_cache_keeps_the_prompts_in_use(pipeline, monkeypatch):
    monkeypatch.setattr("sorajax.sampling.prompts.MAX_CONTEXTS", 2)
    settings = pipeline.plan(Request(("a red ball",)))
    shots = [Shot(f"a {colour} ball", 5, cut=True) for colour in ("red", "blue", "green", "red")]
    assert len(pipeline.film(pipeline.plan(Request(("a red ball",))), shots, 0).whole().frames) == 20
    prompts = {f"a {colour} ball" for colour in ("red", "blue", "green")} | {settings.negative}
    assert prompts <= set(pipeline.prompts.contexts)
    asked = []
    monkeypatch.setattr(
        "sorajax.sampling.prompts.tokenize", lambda *told, cut: asked.extend(told[2]) or tokenize(*told, cut=cut)
    )
    request = Request(("a box", "a star", "a ring", "a box falls"), steps=1)
    assert len(list(pipeline.stream(request, settings))) == 4
    assert len(asked) == len(set(asked)) == 4  # the negative one is there
    assert set(pipeline.prompts.contexts) == {*request.prompts, settings.negative}


def test_a_prompt_that_is_too_long_is_named(pipeline):
    with pytest.raises(BadRequest, match=r'prompt 2, "ball ball .*\.\.\.", has 20 tokens, the model reads 12: shorten'):
        pipeline.plan(Request(("a red ball", "ball " * 20)))


def test_guidance_is_continuous_at_scale_one(pipeline):
    assert close(frames_of(pipeline, guidance_scale=1.0)[0], frames_of(pipeline, guidance_scale=1.0 + 1e-6)[0])


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"frames": 1}, (1, 16, 16, 3)),
        ({"frames": 9, "width": 32, "height": 16}, (9, 16, 32, 3)),
        ({"seconds": 1.0}, (9, 16, 16, 3)),
        ({"fps": 16.0, "seconds": 0.5, "sampler": "heun"}, (9, 16, 16, 3)),
    ],
)
def test_any_size_and_length_that_the_strides_allow_is_sampled(pipeline, settings, shape):
    assert frames_of(pipeline, **settings)[0].shape == shape


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": 18}, "width 18 is not allowed: the model makes multiples of 4, nearest 16 or 20"),
        ({"height": 3}, "multiples of 4, nearest 4"),
        ({"frames": 6}, r"6 frames are not allowed: the model makes 4n\+1, nearest 5 or 9"),
        ({"steps": 0}, "steps 0"),
        ({"guidance_scale": -1.0}, "guidance scale -1.0"),
        ({"guidance_scale": float("nan")}, "guidance scale nan"),
        ({"guidance_scale_low": 2.0}, "guidance_scale_low 2 is for models of two experts: leave it out"),
        ({"frames": 5, "seconds": 1.0}, "give one of them"),
        ({"seconds": 0.0}, "seconds 0.0"),
        ({"fps": -8.0}, "fps -8.0"),
        ({"num": 0}, "num 0"),
        ({"seed": -1}, "seed -1"),
        ({"seed": 2**32 - 1, "num": 2}, "seed 4294967295"),
        ({"shift": 0.0}, "shift 0.0"),
        ({"temperature": 0.0}, "temperature 0.0"),
    ],
)
def test_impossible_requests_are_one_line(pipeline, settings, words):
    with pytest.raises(BadRequest, match=words) as caught:
        pipeline("a red ball", **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prompts", "words"), [([], "no prompt"), ("  ", "empty"), (["a ball", ""], "prompt 2 is empty")]
)
def test_empty_prompts_are_refused(pipeline, prompts, words):
    with pytest.raises(BadRequest, match=words):
        pipeline(prompts)


def test_a_prompt_beyond_the_models_tokens_is_refused(pipeline):
    with pytest.raises(BadRequest, match=r"33334 tokens, the model reads 12"):
        pipeline("a" + " a" * 33333)


def test_notes_report_what_was_assumed(pipeline):
    notes = " ".join(pipeline.plan(Request(("a purple ball 🎈",), width=64, seconds=1)).notes)
    assert "rounded to 9 frames" in notes
    assert "trained at 16x16, 24x16" in notes
    assert '"purple", "🎈"' in notes
    assert pipeline.plan(Request(("A red ball, falls!",))).notes == ()


def test_the_frame_rate_changes_rotary_positions_and_not_the_noise(pipeline):
    """Twice the rate halves the distance in time between latent frames; an image has no distance to halve."""
    assert np.array_equal(frames_of(pipeline, frames=1, fps=16.0)[0], frames_of(pipeline, frames=1)[0])
    assert not np.array_equal(frames_of(pipeline, fps=16.0)[0], frames_of(pipeline)[0])


def test_fixed_frames_stay_in_a_clip_that_is_longer_than_a_window(pipeline):
    """A long request with conditioning is sampled at once, and never as a film that knows nothing of it."""
    request, still = Request(("a red ball",), frames=13, steps=1), np.full((1, 16, 16, 3), 90, np.uint8)
    settings = pipeline.plan(request)
    assert settings.in_windows
    (video,) = pipeline.stream(request, settings, conditioning=ConditioningFrames(head=still))
    assert video.frames.shape[0] == 13
    assert np.array_equal(video.frames[:1], still)
