"""A tiny stage of flow matching whose captions come as embeddings, so that nothing is compiled for them."""

import numpy as np

from sorajax.data.buckets import Bucket
from sorajax.data.worlds import WorldBatch, WorldData
from sorajax.training.objectives.flow import FlowObjective, FlowStage
from sorajax.training.transformer import TransformerFolder
from tests.conftest import TINY, tiny_tokenizer

BUCKET = Bucket(5, 16, 16, batch_size=4)
LATENT = np.random.default_rng(0).standard_normal((4, 2, 4, 4, 4), np.float32)
CONTEXT = np.random.default_rng(1).standard_normal((4, 12, 8), np.float32)
BATCH = WorldBatch(latent=LATENT, context=CONTEXT, bucket=BUCKET)


def flow_stage(**objective) -> FlowStage:
    return FlowStage(
        vae=None,
        prompts=None,
        config=TINY,
        objective=FlowObjective(**objective),
        data=WorldData(buckets=(BUCKET,)),
        folder=TransformerFolder(tiny_tokenizer()),
    )
