"""CLIP beside transformers, on random weights: the towers, and a folder in the hub's layout."""

import json

import numpy as np
import pytest

from sorajax.language.clip import open_clip_score
from sorajax.media.video import Video

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

WORDS = ["a", "red", "ball"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": 6, "hidden_size": 16, "intermediate_size": 24, "max_position_embeddings": 8, **layers}
    vision = {"hidden_size": 24, "intermediate_size": 40, "image_size": 28, "patch_size": 7, **layers}
    ends = {"bos_token_id": 4, "eos_token_id": 5}
    config = transformers.CLIPConfig(
        text_config=transformers.CLIPTextConfig(**text, **ends).to_dict(),
        vision_config=transformers.CLIPVisionConfig(**vision).to_dict(),
        projection_dim=12,
    )
    made = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    import tokenizers
    from tokenizers import models, pre_tokenizers, processors

    place = tmp_path_factory.mktemp("clip")
    model.save_pretrained(place)
    vocabulary = {"<pad>": 0, **{word: i + 1 for i, word in enumerate(WORDS)}, "<start>": 4, "<end>": 5}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 4), ("<end>", 5)]
    )
    tokenizer.save(str(place / "tokenizer.json"))
    return place


def test_a_score_agrees_with_transformers(model, folder):
    frames = np.random.default_rng(0).integers(0, 255, (3, 28, 28, 3)).astype(np.uint8)
    score = open_clip_score(str(folder))
    processor = transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    pixels = processor(images=list(frames), return_tensors="pt").pixel_values
    for ids in ([4, 1, 2, 3, 5], [4, 2, 5]):
        prompt = " ".join(WORDS[i - 1] for i in ids[1:-1])
        with torch.no_grad():
            theirs = model(input_ids=torch.tensor([ids]), pixel_values=pixels)
        cosines = theirs.logits_per_image / model.logit_scale.exp()
        assert score(Video(frames, 8.0), prompt) == pytest.approx(cosines.mean().item(), abs=2e-5)


def test_a_folder_that_is_no_clip_is_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        open_clip_score(str(tmp_path))
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="is no whole CLIP model"):
        open_clip_score(str(tmp_path))
