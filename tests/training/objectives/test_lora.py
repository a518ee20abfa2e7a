"""Adapters: frozen weights are in memory once, and a file's factor is that of training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldBatch, WorldData
from sorajax.models.dit import DiTConfig
from sorajax.models.quantized import quantize
from sorajax.models.sora import SoraConfig, init_dit, init_text
from sorajax.models.text import TextConfig
from sorajax.models.vae import VAEConfig
from sorajax.pretrained.lora import TARGETS
from sorajax.training.objectives.flow import FlowObjective, FlowStage
from sorajax.training.objectives.lora import LoRAStage, times_b
from sorajax.training.transformer import TransformerFolder
from tests.training.flows import flow_stage

BUCKET = Bucket(5, 16, 16, batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("bits", [None, "int8"])
def test_frozen_weights_are_in_memory_once(bits):
    """Neither weights with adapters in them nor their gradient: of one block at most, as it is made whole."""
    dit = DiTConfig(width=256, hidden=1024, depth=8, heads=4, text_width=32, remat="full", quantized=bits is not None)
    text, vae = TextConfig(vocabulary=50, width=32, hidden=64, depth=1, heads=2, head_width=16, tokens=8), VAEConfig()
    base = {"dit": init_dit(dit, jax.random.key(0)), "text": init_text(text, jax.random.key(1))}
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(base["dit"]["blocks"]))
    base["dit"] = quantize(base["dit"], bits) if bits else base["dit"]
    flow = FlowStage(
        vae=None,
        prompts=None,
        config=SoraConfig(text=text, dit=dit, vae=vae),
        folder=TransformerFolder(""),
        objective=FlowObjective(known=0.0),
        data=WorldData(buckets=(BUCKET,)),
    )
    stage = LoRAStage(base=base, flow=flow, rank=2, alpha=2.0, targets=TARGETS)
    params = stage.init(jax.random.key(2))
    batch = WorldBatch(
        latent=jnp.zeros((1, 2, 4, 4, 16)), ids=jnp.ones((1, 8), int), mask=jnp.ones((1, 8), bool), bucket=BUCKET
    )

    def gradient(params, stage):
        return jax.grad(lambda params: stage.loss(params, batch, jax.random.key(0))[0])(params)

    memory = jax.jit(gradient).lower(params, stage).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 0.5 * whole
    if bits:
        assert memory.argument_size_in_bytes < 0.35 * whole


def test_only_second_matrices_are_multiplied():
    adapters = {"q": {"a": np.ones(2), "b": np.ones(2)}, "out": {"b": np.full(3, 2.0)}}
    found = times_b(adapters, 4.0)
    assert found["q"]["a"].tolist() == [1, 1]
    assert found["q"]["b"].tolist() == [4, 4]
    assert found["out"]["b"].tolist() == [8, 8, 8]


def test_a_folder_without_adapters_is_named(tmp_path):
    stage = LoRAStage(base={}, flow=flow_stage(), rank=2, alpha=4.0, targets=TARGETS)
    with pytest.raises(FileNotFoundError, match=r"holds no lora.safetensors: give an adapter, or a run that"):
        stage.load(tmp_path)
