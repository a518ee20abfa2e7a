"""Training adapters: only they move, and what was trained is what is saved."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldBatch, WorldData
from sorajax.pretrained.lora import TARGETS
from sorajax.training.experiments.lora import LoRATraining
from sorajax.training.objectives.flow import FlowObjective
from sorajax.training.optimizer import OptimizerConfig, make_optimizer
from sorajax.training.step import make_begin, make_update, quick_compile
from tests.pretrained.adapters import adapted

BUCKET = Bucket(5, 16, 16, batch_size=4)


def test_only_adapters_are_trained_and_saved(tiny_model, tmp_path):
    training = LoRATraining(
        base=tiny_model, rank=2, alpha=4.0, data=WorldData(buckets=(BUCKET,)), objective=FlowObjective(known=0.0)
    )
    stage, _ = training.build(tmp_path)
    config = OptimizerConfig(learning_rate=3e-2, warmup=1, weight_decay=0.0)
    optimizer = make_optimizer(config, 30)
    state = jax.jit(lambda key: make_begin(optimizer, stage)(stage.init(key)), compiler_options=quick_compile())(
        jax.random.key(0)
    )
    layers = {path[-2].key for path, _ in jax.tree.leaves_with_path(state.params)}
    assert layers == {"q", "k", "v", "out", "up", "down"}
    small, whole = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (state.params, stage.base["dit"]))
    assert small < whole / 2

    rng = np.random.default_rng(0)
    latent = jnp.asarray(rng.standard_normal((4, 2, 4, 4, 4), np.float32)) * 0.1
    ids, mask = np.ones((4, 12), np.int32), np.ones((4, 12), bool)
    batch = WorldBatch(latent=latent, ids=ids, mask=mask, bucket=BUCKET)
    update, losses = jax.jit(make_update(optimizer, config)), []
    for _ in range(30):
        state, metrics = update(state, stage, batch, jax.random.key(1), 1.0)
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-5:]) < 0.97 * np.mean(losses[:5])

    stage.export(tmp_path / "model", state.params)
    again = stage.load(tmp_path)
    same = partial(np.testing.assert_allclose, atol=1e-5)
    jax.tree.map(same, stage.whole(again), stage.whole(state.params))
    assert Path(tmp_path / "model" / "lora.safetensors").stat().st_size < 200_000
    assert training.targets == TARGETS


@pytest.mark.parity
def test_open_weights_are_adapted_and_sampled_with_the_adapter(tmp_path):
    """From a folder that the reference wrote, through the same stage, to a file that fits the same folder."""
    pytest.importorskip("torch", reason="the parity extra is not installed")
    diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
    import sorajax
    from tests.pretrained import reference

    folder = tmp_path / "Wan"
    diffusers.WanPipeline(
        tokenizer=reference.tokenizer(),
        text_encoder=reference.text_encoder(),
        transformer=reference.transformer(),
        vae=reference.autoencoder(),
        scheduler=reference.scheduler(),
    ).save_pretrained(folder)
    data = WorldData(buckets=(Bucket(5, 16, 16, batch_size=2),))
    with pytest.raises(ValueError, match=r"one clock for all frames .*: say --objective.known 0"):
        LoRATraining(base=folder, data=data).build(tmp_path)
    stage, _ = LoRATraining(base=folder, rank=2, data=data, objective=FlowObjective(known=0.0)).build(tmp_path)
    params = jax.jit(stage.init, compiler_options=quick_compile())(jax.random.key(0))
    latent = jnp.asarray(np.random.default_rng(0).standard_normal((2, 2, 2, 2, 16), np.float32))
    ids, mask = np.ones((2, 512), np.int32), np.arange(512)[None] < np.array([[3], [5]])
    batch = WorldBatch(latent=latent, ids=ids, mask=mask, bucket=data.buckets[0])
    (loss, _), gradient = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))(params, batch, jax.random.key(1))
    assert np.isfinite(loss)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 0
    moved = jax.tree.map(lambda p, g: p - 0.1 * jnp.sign(g), params, gradient)
    stage.export(tmp_path / "model", moved)
    dit = sorajax.load(folder, loras=[str(tmp_path / "model" / "lora.safetensors")]).params["dit"]
    wanted = adapted(stage.base["dit"], moved, stage.alpha / stage.rank)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5), dit, wanted)
