"""Training adapters: only they move, and what was trained is what is saved."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from sorajax.data.batches import WorldBatch
from sorajax.data.buckets import Bucket
from sorajax.pretrained.lora import TARGETS
from sorajax.training.flow import FlowObjective
from sorajax.training.lora import LoRATraining
from sorajax.training.optimizer import OptimizerConfig, make_optimizer
from sorajax.training.step import make_begin, make_update, quick_compile

BUCKET = Bucket(5, 16, 16, batch_size=4)


def test_only_adapters_are_trained_and_the_file_holds_them(tiny_model, tmp_path):
    from sorajax.data.batches import WorldData

    training = LoRATraining(
        base=tiny_model, rank=2, alpha=4.0, data=WorldData(buckets=(BUCKET,)), objective=FlowObjective(known=0.0))
    stage, _ = training.build(tmp_path)
    config = OptimizerConfig(learning_rate=3e-2, warmup=1, weight_decay=0.0)
    optimizer = make_optimizer(config, 30)
    state = jax.jit(lambda key: make_begin(optimizer)(stage.init(key)), compiler_options=quick_compile())(
        jax.random.key(0))
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
        state, metrics = update(state, stage, batch, jax.random.key(1))
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-5:]) < 0.97 * np.mean(losses[:5])

    stage.export(tmp_path / "model", state.params)
    again = stage.load(tmp_path)
    same = partial(np.testing.assert_allclose, atol=1e-5)
    jax.tree.map(same, stage.whole(again), stage.whole(state.params))
    assert Path(tmp_path / "model" / "lora.safetensors").stat().st_size < 200_000
    assert training.targets == TARGETS
