"""Three ways in which a model reads fixed frames, one interface."""

import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.errors import BadRequest
from sorajax.models.conditioning import (
    CONDITIONING,
    ConditioningFrames,
    Encoders,
    FrameClocks,
    MaskChannels,
    Replacement,
    fixed_latents,
    mask_channels,
)
from sorajax.models.folder import from_json, to_json
from sorajax.models.sora import SoraConfig

STRIDE = 4


def frames(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, 16, 16, 3), np.uint8)


def encode(frames: np.ndarray) -> np.ndarray:
    """Latents that count from 1, so that a place in a clip is told from another."""
    t = (len(frames) - 1) // STRIDE + 1
    return np.broadcast_to(np.arange(1.0, t + 1, dtype=np.float32)[:, None, None, None], (t, 2, 2, 3))


ENCODERS = Encoders(encode)
SHAPE = (2, 5, 2, 2, 3)


def test_a_head_and_a_tail_are_fixed_at_their_frames():
    known = fixed_latents(ConditioningFrames(head=frames(5), tail=frames(4)), SHAPE, STRIDE, encode)
    assert known.mask.tolist() == [[True, True, False, False, True]] * 2
    assert known.latent[0, :2, 0, 0, 0].tolist() == [1, 2]
    assert not known.latent[0, 2:4].any()


@pytest.mark.parametrize("kind", [FrameClocks(), Replacement()], ids=repr)
def test_models_without_mask_channels_fix_latents_only(kind):
    known, extra = kind.inputs(ConditioningFrames(head=frames(5)), SHAPE, STRIDE, ENCODERS, "model")
    assert known.mask[0].tolist() == [True, True, False, False, False]
    assert extra.channels is None
    assert kind.window_inputs(known, frames(5), STRIDE, ENCODERS)[0] is known


def test_mask_channels_mark_pixel_frames_and_latents():
    known, extra = MaskChannels().inputs(
        ConditioningFrames(head=frames(1), tail=frames(1)), SHAPE, STRIDE, ENCODERS, "model"
    )
    assert not known.mask.any()
    assert extra.channels.shape == (2, 5, 2, 2, STRIDE + 3)
    assert extra.channels[0, :, 0, 0, :STRIDE].tolist() == [[1] * 4, [0] * 4, [0] * 4, [0] * 4, [0, 0, 0, 1]]
    assert extra.channels[0, :, 0, 0, -1].tolist() == [1, 2, 3, 4, 5]


def test_a_window_keeps_the_latents_that_exist():
    conditioning = MaskChannels()
    known, _ = FrameClocks().inputs(ConditioningFrames(head=frames(5)), (1, *SHAPE[1:]), STRIDE, ENCODERS, "model")
    known = known._replace(latent=known.latent + 40)
    _, extra = conditioning.window_inputs(known, frames(5), STRIDE, ENCODERS)
    assert extra.channels[0, :, 0, 0, -1].tolist() == [41, 42, 3, 4, 5]


def test_conditioning_that_a_model_cannot_read_is_refused_or_dropped():
    edit = ConditioningFrames(head=frames(1), source_clip=frames(17), strength=0.5)
    for refused in (None, edit, ConditioningFrames(tail=frames(4))):
        with pytest.raises(BadRequest, match="model goes on from a picture"):
            MaskChannels().inputs(refused, SHAPE, STRIDE, ENCODERS, "model")
    kept = MaskChannels().supported(edit)
    assert kept.source_clip is None
    assert kept.head is edit.head
    assert FrameClocks().supported(edit) is edit


def test_the_first_frames_mask_fills_its_latents_channels():
    made = mask_channels(jnp.zeros((1, 2, 1, 1, 3)), jnp.array([1.0, 0, 0, 0, 0]), STRIDE)
    assert made[0, :, 0, 0, :STRIDE].tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]


@pytest.mark.parametrize("name", CONDITIONING)
def test_config_json_names_the_conditioning(name):
    kind = CONDITIONING[name]
    channels = kind.in_channels(4, STRIDE)
    assert kind == type(kind)()
    if channels == 4:
        from tests.conftest import TINY

        values = to_json(TINY) | {"conditioning": name, "drop_conditioning_in_cfg": False}
        assert from_json(values, SoraConfig).conditioning == kind
        former = {"known" if field == "conditioning" else field: value for field, value in values.items()}
        assert from_json(former, SoraConfig).conditioning == kind
    else:
        assert channels == 2 * 4 + STRIDE
