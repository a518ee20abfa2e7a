"""What the captioner reads of a video, and how captions of shots become one."""

import jax
import numpy as np
import pytest

from sorajax.language.captioner import LONGEST, joined, open_captioner, seen, sentences, shots
from sorajax.language.expander import Expander
from sorajax.language.network import WordsConfig, init_words
from sorajax.language.score import ScoreConfig, open_score
from sorajax.media.video import Video
from sorajax.models.folder import TOKENIZER, WORLD, export_model
from sorajax.training.objectives.score import ScoreStage


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 64), (64, 64)), ((480, 832), (64, 112)), ((96, 64), (96, 64)), ((20, 400), (64, 128))]
)
def test_a_video_of_any_shape_becomes_whole_patches(size, expected):
    assert seen(Video(np.zeros((3, *size, 3), np.uint8), 8.0)).shape == (3, *expected, 3)


def test_motion_keeps_its_speed_at_any_frame_rate():
    ramp = np.arange(48, dtype=np.uint8)[:, None, None, None] * np.ones((64, 64, 3), np.uint8)
    assert np.array_equal(seen(Video(ramp, 24.0))[:, 0, 0, 0], np.arange(1, 48, 3))


@pytest.mark.parametrize("count", [1, 2, 4, 5, 17, 20, 33])
def test_a_short_clip_is_read_at_once(count):
    (part,) = shots(np.zeros((count, 8, 8, 3), np.uint8))
    assert len(part) % 4 == 1
    assert abs(len(part) - count) <= 3


def test_a_film_is_read_by_its_shots():
    film = np.concatenate([np.full((40, 8, 8, 3), 20, np.uint8), np.full((9, 8, 8, 3), 90, np.uint8)])
    first, second = shots(film)
    assert len(first) == LONGEST
    assert first.max() == 20
    assert len(second) == 9
    assert second.min() == 90


def test_captions_of_shots_are_joined_as_the_world_joins_them():
    assert joined(["a red ball falls."]) == "a red ball falls."
    text = sentences(joined(["a red ball falls.", "the same red ball spins on a grey floor"]))
    assert text == "A red ball falls. Cut to: the same red ball spins on a grey floor."


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing-here"):
        open_captioner(tmp_path / "nothing-here")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A captioner with random weights, in a folder."""
    config = WordsConfig(width=16, heads=2, head_width=8, hidden=16, encoder_depth=1, decoder_depth=1, stem=4)
    params = jax.jit(lambda key: init_words(config, key))(jax.random.key(0))
    tokenizer = (WORLD / TOKENIZER).read_text(encoding="utf-8")
    return export_model(tmp_path_factory.mktemp("captioner"), params, config, tokenizer, "float16")


@pytest.mark.slow
def test_a_folder_describes_pictures_and_lengthens_prompts_alike_each_time(folder):
    captioner = open_captioner(folder)
    picture = Video(np.full((1, 80, 100, 3), 90, np.uint8), 8.0)
    assert captioner(picture, 3) == captioner(picture, 3)
    assert len({captioner(picture, seed).detailed for seed in range(4)}) > 1
    expander = Expander(captioner.writer)
    assert expander.drawn("red ball", 1) == expander.drawn("red ball", 1) != expander.drawn("red ball", 2)


@pytest.mark.slow
def test_a_folder_of_towers_scores_a_video(folder, tmp_path):
    captioner = open_captioner(folder)
    config = ScoreConfig(width=16, captioner=str(folder))
    stage = ScoreStage(words=captioner.writer.params, captioner=captioner.writer.config, config=config)
    stage.export(tmp_path, stage.init(jax.random.key(0)))
    score = open_score(tmp_path)
    picture = Video(np.full((1, 64, 64, 3), 90, np.uint8), 8.0)
    matrix = score.matrix(captioner.latents([picture.frames]), ["a red ball", "a blue box"])
    assert matrix.shape == (1, 2)
    assert score(picture, "a red ball") == pytest.approx(1 / (1 + np.exp(-matrix[0, 0])), rel=1e-4)
