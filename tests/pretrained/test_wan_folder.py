"""Open weights, from a prompt to frames: folders that the reference wrote, against what the reference makes of them."""

import json
import pickle
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import PIL.Image
import pytest
from safetensors.numpy import save_file

import sorajax
from sorajax import tasks
from sorajax.commands import convert
from sorajax.devices.residency import WEIGHTS_SHARE
from sorajax.diffusion.samplers import SOLVERS
from sorajax.errors import BadRequest
from sorajax.media.video import Video
from sorajax.models.conditioning import ConditioningFrames
from sorajax.models.vision import VisionConfig
from sorajax.pretrained import wan
from sorajax.pretrained.conventions import known_config
from sorajax.pretrained.open import open_parts
from sorajax.pretrained.pickles import PickledTensors
from sorajax.pretrained.safetensors import Tensors
from sorajax.pretrained.wan_folder import model_name, open_model
from sorajax.sampling import memory
from sorajax.sampling.request import Request
from sorajax.sampling.settings import settings_for

torch = pytest.importorskip("torch", reason="the parity extra is not installed")
diffusers = pytest.importorskip("diffusers", reason="the parity extra is not installed")
transformers = pytest.importorskip("transformers", reason="the parity extra is not installed")

pytestmark = pytest.mark.parity

from sorajax.tasks.shaping import with_size  # noqa: E402
from tests.pretrained import reference  # noqa: E402

torch.set_num_threads(1)  # the models are tiny
PROMPT, NEGATIVE = "a red  ball &amp; bounces", "slowly"
FRAMES, HEIGHT, WIDTH, STEPS = 9, 32, 48, 4


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))


@pytest.mark.parametrize("name", reference.MODELS)
def test_the_whole_pipeline_agrees_from_the_same_noise(name, tmp_path):
    theirs = reference.MODELS[name]()
    theirs.set_progress_bar_config(disable=True)
    folder = tmp_path / name.split(",")[0]
    theirs.save_pretrained(folder, max_shard_size="60KB")
    pipeline = sorajax.load(folder)
    height, width = (HEIGHT, WIDTH) if "TI2V" not in name else (64, 96)
    given = reference.picture(height, width) if "Image" in type(theirs).__name__ else None
    low = 2.0 if pipeline.config.boundary else None
    request = Request(
        (PROMPT,),
        NEGATIVE,
        seed=5,
        frames=FRAMES,
        height=height,
        width=width,
        steps=STEPS,
        guidance_scale=3.0,
        guidance_scale_low=low,
    )
    if given is None:
        ours = next(pipeline.stream(request, pipeline.plan(request))).frames
    elif "last" in name:
        ends = ConditioningFrames(head=given[None], tail=given[None, ::-1], exact=False)
        ours = next(pipeline.stream(request, pipeline.plan(request), conditioning=ends)).frames
        made = next(tasks.between(pipeline, request, Video(ends.head, 16.0), Video(ends.tail, 16.0))).frames
        assert np.array_equal(made[[0, -1]], [given, given[::-1]])
        assert len(made) == FRAMES
    else:
        ours = next(tasks.animate(pipeline, request, Video(given[None], 16.0))).whole().frames
    t, h, w, c = pipeline.plan(request).latent
    noise = np.asarray(jax.random.normal(jax.random.key(5), (t, h, w, c)))
    more = {} if given is None else {"image": PIL.Image.fromarray(given)}
    more |= {} if low is None else {"guidance_scale_2": low}
    if "last" in name:
        more["last_image"] = PIL.Image.fromarray(given[::-1])
    with torch.no_grad():
        expected = theirs(
            prompt=PROMPT,
            negative_prompt=NEGATIVE,
            height=height,
            width=width,
            num_frames=FRAMES,
            num_inference_steps=STEPS,
            guidance_scale=3.0,
            latents=torch.tensor(np.moveaxis(noise, -1, 0)[None]),
            output_type="np",
            **more,
        ).frames[0]
    assert expected.std() > 0.02
    assert psnr(ours, np.round(expected * 255)) > 50


def all_parts(opened):
    return {name: part.load() for name, part in opened.parts.items()}


def assert_equal(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The folder of a small text-to-video model in the diffusers layout."""
    folder = tmp_path_factory.mktemp("models") / "Wan2.1-T2V"
    reference.silent(reference.MODELS["Wan2.1-T2V"]).save_pretrained(folder, max_shard_size="60KB")
    return folder


def test_a_model_without_clocks_makes_loops(saved):
    request = Request((PROMPT,), frames=12, height=HEIGHT, width=WIDTH, steps=2)
    (loop,) = tasks.loop(sorajax.load(saved), request)
    assert loop.frames.shape == (12, HEIGHT, WIDTH, 3)
    assert loop.frames.std() > 1


@pytest.fixture
def copied(saved, tmp_path):
    """A copy of it, to be harmed."""
    return shutil.copytree(saved, tmp_path / "copied")


@pytest.mark.parametrize("name", ["Wan2.1-I2V", "Wan2.2-T2V-A14B", "Wan2.2-TI2V"])
def test_the_original_release_holds_the_same_parameters(name, tmp_path):
    theirs = reference.silent(reference.MODELS[name])
    theirs.save_pretrained(tmp_path / "new")
    reference.save_original(theirs, tmp_path / "first")
    new, first = open_model(tmp_path / "new"), open_model(tmp_path / "first")
    assert_equal(all_parts(first), all_parts(new))
    assert (first.config.dit, first.config.vae, first.config.vision) == (
        new.config.dit,
        new.config.vae,
        new.config.vision,
    )
    pickled = next((tmp_path / "first").glob("Wan2.?_VAE.pth"))
    save_file(dict(PickledTensors(pickled)), pickled.with_suffix(".safetensors"))  # beside those of the transformer
    pickled.unlink()
    assert_equal(all_parts(open_model(tmp_path / "first")), all_parts(new))
    assert (first.config.conditioning, first.config.boundary) == (new.config.conditioning, new.config.boundary)


def test_the_names_of_the_original_release_are_those_that_the_reference_converts():
    from diffusers.loaders import single_file_utils as their

    for model, rename, convert_back in (
        (reference.transformer(36, image=80), reference.original_dit, their.convert_wan_transformer_to_diffusers),
        (reference.autoencoder(), reference.original_vae, their.convert_wan_vae_to_diffusers),
    ):
        state = model.state_dict()
        back = convert_back(rename(state))
        assert back.keys() == state.keys()
        assert all(torch.equal(back[name], state[name]) for name in state)


def test_converted_weights_open_as_the_same_and_come_back_as_they_were(saved, tmp_path, capsys):
    assert convert.main([str(saved), "--out", str(tmp_path / "fast"), "--dtype", "float32"]) == 0
    assert convert.main([str(tmp_path / "fast"), "--to", "diffusers", "--out", str(tmp_path / "back")]) == 0
    config, parts, tokenizer, name = open_parts(tmp_path / "fast", None)
    opened = open_model(saved)
    assert (config, tokenizer, name) == (opened.config, opened.tokenizer, "fast")
    assert_equal(dict(parts), all_parts(opened))
    assert_equal(all_parts(open_model(tmp_path / "back")), all_parts(opened))
    kinds = (("transformer", diffusers.WanTransformer3DModel), ("vae", diffusers.AutoencoderKLWan))
    for part, kind in kinds:
        state = Tensors(saved / part)
        model = kind.from_config(json.loads((tmp_path / "back" / part / "config.json").read_text()))
        back = {name: torch.tensor(tensor) for name, tensor in Tensors(tmp_path / "back" / part).items()}
        model.load_state_dict(back, strict=True)
        assert all(np.array_equal(model.state_dict()[name], tensor) for name, tensor in state.items()), part
    transformers.UMT5EncoderModel.from_pretrained(tmp_path / "back" / "text_encoder")
    assert convert.main([str(saved), "--out", str(tmp_path / "fast")]) == 2
    assert "exists and is not empty: name a new folder" in capsys.readouterr().err


def test_a_conversion_that_did_not_end_is_said_and_done_again(saved, tmp_path, capsys):
    out = tmp_path / "fast"
    assert convert.main([str(saved), "--out", str(out)]) == 0
    shutil.rmtree(out / "parts" / "text")
    with pytest.raises(FileNotFoundError, match="lacks text: convert again"):
        sorajax.load(out)
    (out / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="the conversion was not completed, run it again"):
        sorajax.load(out)
    assert convert.main([str(saved), "--out", str(out)]) == 0
    assert sorajax.load(out).name == "fast"


def test_converted_weights_open_in_the_type_that_is_asked_for(saved, tmp_path):
    assert convert.main([str(saved), "--out", str(tmp_path / "fast")]) == 0
    kinds = {dtype: sorajax.load(tmp_path / "fast", dtype).params for dtype in (None, "float32")}
    for dtype, params in kinds.items():
        wanted = np.float32 if dtype else jax.numpy.bfloat16
        assert params["dit"]["patch_in"]["kernel"].dtype == wanted
        assert params["vae"]["decoder"]["conv_in"]["kernel"].dtype == np.float32  # as in the reference
    small = sorajax.load(tmp_path / "fast", quantize="int8").params
    assert small._sizes["dit"] < 0.8 * kinds[None]._sizes["dit"]
    assert small["dit"]["blocks"]["feed_forward"]["up"]["kernel"].qvalue.dtype == np.int8


class Counting(dict):
    """Tensors that count how often one is read."""

    reads = 0

    def __getitem__(self, name):
        self.reads += 1
        return super().__getitem__(name)


def test_names_are_changed_without_reading_a_tensor():
    """What a text encoder of 23 GB needs: the host holds one tensor at a time."""
    tensors = Counting({name: np.zeros((2, 2)) for name in ("encoder.embed_tokens.weight", "encoder.block.0.weight")})
    text = wan.untied(tensors)
    vision = wan.without_unused_layers(tensors, VisionConfig(depth=2))
    assert set(text) == {"shared.weight", "encoder.block.0.weight"}
    assert len(vision) == 2
    assert tensors.reads == 0
    assert text["shared.weight"].shape == (2, 2)
    assert tensors.reads == 1


def test_each_model_has_the_releases_own_sizes_shift_and_negative_prompt():
    small, large = known_config("Wan2.1-T2V-1.3B", "bfloat16"), known_config("Wan2.1-T2V-14B", "bfloat16")
    assert small.sizes == ((480, 832), (832, 480))
    assert (720, 1280) in large.sizes
    image = known_config("Wan2.1-I2V-14B", "bfloat16")
    assert (image.shift, large.shift) == (3.0, 5.0)
    assert image.negative == f"镜头晃动，{large.negative}"
    assert known_config("Wan2.2-T2V-A14B", "bfloat16").shift == 12.0


def test_a_hub_name_stays_and_only_models_of_our_kind_are_fetched(saved, tmp_path, monkeypatch):
    asked = []

    def fetched(name, **wanted):
        asked.append(wanted)
        return str(saved if "Wan" in name else tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    assert sorajax.load("Wan-AI/Wan2.1-T2V-1.3B-Diffusers").name == "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"
    assert [len(wanted.get("allow_patterns", ())) for wanted in asked] == [2, 0]
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(ValueError, match="someone/flux holds a FluxPipeline: sorajax runs WanPipeline"):
        sorajax.load("someone/flux")
    (tmp_path / "model_index.json").unlink()
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(ValueError, match=r"someone/llama holds no Wan model: neither model_index.json nor"):
        sorajax.load("someone/llama")
    for said, kind in (({"_class_name": "VaceWanModel"}, "VaceWanModel"), ({"model_type": "flf2v"}, "flf2v")):
        (tmp_path / "config.json").write_text(json.dumps({"_class_name": "WanModel", "ffn_dim": 8960, **said}))
        with pytest.raises(ValueError, match=f"someone/other holds a {kind}: sorajax runs text to video, image to"):
            sorajax.load("someone/other")
    (tmp_path / "model_index.json").write_text('{"_class_name": "WanImageToVideoPipeline"}')
    described = json.loads((saved / "transformer" / "config.json").read_text())
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text(json.dumps({**described, "pos_embed_seq_len": 514}))
    with pytest.raises(ValueError, match="this transformer has pos_embed_seq_len=514, and only None can be imported"):
        sorajax.load("someone/flf2v")
    assert len(asked) == 7


def test_a_shift_far_from_the_releases_is_said(copied):
    def notes(stored, **asked):
        change(copied / "scheduler" / "scheduler_config.json", flow_shift=stored)
        config = open_model(copied).config
        assert config.shift == stored
        return settings_for(Request(("a cat",), frames=5, **asked), config).notes

    assert not any("shift" in note for note in notes(3.0))  # 5 in the release: near enough
    assert "the shift 1, which is used; its release samples with 5: --shift 5" in notes(1.0)[-1]
    assert not any("the shift" in note for note in notes(1.0, shift=2.0))


@pytest.mark.parametrize(
    ("model", "given", "size"),
    [
        ("Wan2.2-I2V-A14B", (640, 360), (832, 464)),  # in as many pixels as the model makes by itself
        ("Wan2.2-I2V-A14B", (1920, 1080), (832, 464)),
        ("Wan2.2-I2V-A14B", (1024, 1024), (624, 624)),
        ("Wan2.1-I2V-14B-720P", (640, 360), (1280, 720)),
        ("Wan2.1-T2V-14B", (640, 360), (832, 480)),  # the nearest of those that it was trained on
        ("Wan2.1-T2V-14B", (1920, 1080), (1280, 720)),
        ("Wan2.1-T2V-14B", (480, 832), (480, 832)),
    ],
)
def test_the_size_of_what_is_given_chooses_the_models(model, given, size):
    pipeline = SimpleNamespace(config=known_config(model, "bfloat16"))
    picture = Video(np.zeros((1, given[1], given[0], 3), np.uint8), 16.0)
    asked = with_size(pipeline, Request(("a cat",)), picture)
    assert (asked.width, asked.height) == size


def test_a_model_is_called_what_the_hub_calls_it(tmp_path):
    folder = tmp_path / "models--Wan-AI--Wan2.1-I2V-14B-720P-Diffusers" / "snapshots" / "0123480"
    assert model_name(folder) == "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers"
    assert model_name(tmp_path / "models" / "mine" / "wan") == "wan"


def test_a_hub_name_needs_the_hub():
    with pytest.raises(FileNotFoundError, match="neither a folder nor could it be downloaded"):
        sorajax.load("nobody/no-such-model")


def test_bfloat16_errs_no_more_than_the_references_own(saved):
    """The transformer in bfloat16, each against its own float32."""
    from sorajax.models.dit import DiT

    rng = np.random.default_rng(0)
    x, text = rng.standard_normal((1, 16, 3, 8, 8), np.float32), rng.standard_normal((1, 9, 24), np.float32)
    theirs = reference.transformer()
    exact = theirs(torch.tensor(x), torch.tensor([700.0]), torch.tensor(text), return_dict=False)[0].detach().numpy()
    low = theirs.to(torch.bfloat16)
    rough = low(*(torch.tensor(a).to(torch.bfloat16) for a in (x, np.float32([700.0]), text)), return_dict=False)[0]
    theirs_off = np.abs(rough.detach().float().numpy() - exact).mean()
    opened = open_model(saved, "bfloat16")
    params = opened.parts["dit"].load("bfloat16")
    ours = DiT(opened.config.dit).apply(
        {"params": params}, np.moveaxis(x, 1, -1), np.full((1, 3), 0.7, np.float32), text
    )
    assert np.abs(np.moveaxis(ours, -1, 1) - exact).mean() <= theirs_off


def test_pickles_are_read_without_torch_and_never_run(tmp_path):
    rng = torch.Generator().manual_seed(0)
    tensors = {
        "a": torch.randn(3, 4, generator=rng),
        "turned": torch.randn(3, 4, generator=rng).T,
        "part": torch.randn(6, generator=rng)[2:5],
        "b": torch.ones(2, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.0),
    }
    for zipped in (True, False):
        path = tmp_path / f"{zipped}.pth"
        torch.save({"state": tensors, "step": 3}, path, _use_new_zipfile_serialization=zipped)
        found = PickledTensors(path)
        assert set(found) == {f"state.{name}" for name in tensors}
        for name, tensor in tensors.items():
            assert np.array_equal(found[f"state.{name}"].astype(np.float32), tensor.float().numpy())
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(ValueError, match=r"(no whole torch checkpoint|cut short).*download it again"):
            PickledTensors(path)

    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list.pth is no whole torch checkpoint .*: download it again"):
        PickledTensors(tmp_path / "list.pth")

    class Evil:
        def __reduce__(self):
            return print, ("it ran",)

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    torch.save({"a": Evil()}, tmp_path / "zipped.pth")
    for name in ("evil.pth", "zipped.pth"):
        with pytest.raises(ValueError, match=r"would run (builtins|__builtin__).print when opened.*do not trust"):
            PickledTensors(tmp_path / name)


def test_weights_of_8_bits_without_their_scales_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2, 2).to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"model.safetensors: a is F8_E4M3, .* --quantize fp8 gives them the same size"
    ):
        Tensors(tmp_path)


def change(path, **said):
    path.write_text(json.dumps({**json.loads(path.read_text()), **said}))


def test_bad_folders_are_refused_in_one_line(copied, tmp_path, monkeypatch):
    def refused(match, kind=ValueError):
        with pytest.raises(kind, match=match) as raised:
            all_parts(open_model(copied))
        assert "\n" not in str(raised.value)

    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no folder of Wan weights"):
        open_model(tmp_path / "empty")
    index = copied / "model_index.json"
    change(index, _class_name="FluxPipeline")
    refused("holds a FluxPipeline: sorajax runs WanPipeline and WanImageToVideoPipeline")
    change(index, _class_name="WanPipeline")
    change(copied / "vae" / "config.json", z_dim=8, latents_mean=[0.0] * 8, latents_std=[1.0] * 8)
    refused("the transformer makes 16 channels, the autoencoder's latents have 8")
    change(copied / "vae" / "config.json", z_dim=16, latents_mean=[0.0] * 16, latents_std=[1.0] * 16)
    described = (copied / "transformer" / "config.json").read_text()
    (copied / "transformer" / "config.json").write_text("{}")
    refused("is no Wan model, or not all of it: it has no 'num_attention_heads'; download it again")
    (copied / "transformer" / "config.json").write_text("[]")
    refused("config.json is no JSON object: download it again")
    (copied / "transformer" / "config.json").write_text(described)
    change(copied / "transformer" / "config.json", num_layers="thirty")
    refused("config.json is no DiTConfig of this version of sorajax: .* @ DiTConfig.depth")
    (copied / "transformer" / "config.json").write_text(described)
    change(index, boundary_ratio=0.875)
    refused("has a boundary_ratio and no transformer_2: download the model again")
    change(index, boundary_ratio=None)
    change(copied / "scheduler" / "scheduler_config.json", flow_shift="x")
    refused("flow_shift 'x' is not a number: download it again")
    change(copied / "scheduler" / "scheduler_config.json", flow_shift=3.0)
    with pytest.raises(ValueError, match="is a file: give the folder of the model, and an adapter with --lora"):
        sorajax.load(index)
    change(copied / "transformer" / "config.json", num_layers=3)
    refused("tensors are missing: blocks.2.attn1.norm_k.weight")
    change(copied / "transformer" / "config.json", num_layers=2)
    shard = sorted((copied / "transformer").glob("*.safetensors"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:-100])
    refused("not a whole safetensors file")
    shard.unlink()
    refused("lacks .*: download again", FileNotFoundError)
    from safetensors.torch import load, save_file

    tensors = load(content)
    save_file({name: tensor.to(torch.int8) for name, tensor in tensors.items()}, shard)
    refused("is int8, and weights are float32, bfloat16 or float16")
    with pytest.raises(ValueError, match="is int8, and weights are float32"):  # by the header: nothing is loaded
        sorajax.load(copied)
    save_file({name: tensor[:1].contiguous() for name, tensor in tensors.items()}, shard)
    with pytest.raises(ValueError, match=r"gives .* the shape .* the config says .*: use the config of these weights"):
        sorajax.load(copied)
    shard.write_bytes(content)
    monkeypatch.setattr("sorajax.pretrained.open.memory_of_devices", lambda: 1000)
    with pytest.raises(ValueError, match=r"text takes 0.0 GB of 0.0 GB: use more devices, half the bytes with"):
        sorajax.load(copied)


def test_one_of_two_experts_is_in_memory_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "activation_bytes", lambda *_: 0)  # more than the weights of a model this small
    reference.silent(reference.MODELS["Wan2.2-T2V-A14B"]).save_pretrained(tmp_path)
    pipeline = sorajax.load(tmp_path)
    settings = {"frames": 5, "height": HEIGHT, "width": WIDTH, "steps": STEPS}
    together = [pipeline(PROMPT, **settings, sampler=sampler)[0].frames for sampler in SOLVERS]
    assert {"dit", "dit_low"} < set(pipeline.params._loaded)
    sizes = pipeline.params._sizes
    assert sizes["dit"] == sizes["dit_low"]
    pipeline.params._memory = int(1.5 * sizes["dit"] / WEIGHTS_SHARE)
    there, load = [], pipeline.params._loaders["dit_low"]
    pipeline.params._loaders["dit_low"] = lambda: there.append(set(pipeline.params._loaded)) or load()
    pipeline.params._loaded.clear()
    alone = [pipeline(PROMPT, **settings, sampler=sampler)[0].frames for sampler in SOLVERS]
    assert len(there) == len(SOLVERS)
    assert not any("dit" in parts for parts in there)
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("bits", ["int8", "fp8"])
def test_weights_of_8_bits_are_made_small_while_they_are_read(bits, tmp_path):
    reference.text_to_video().save_pretrained(tmp_path)
    whole, small = sorajax.load(tmp_path), sorajax.load(tmp_path, quantize=bits)
    assert small.params["dit"]["blocks"]["feed_forward"]["up"]["kernel"].qvalue.dtype.itemsize == 1
    assert small.params._sizes["dit"] < 0.6 * whole.params._sizes["dit"]
    whole.params._memory = whole.params._sizes["dit"] + 1_000
    with pytest.raises(BadRequest, match=r"48x32, 9 frames at once, takes .* ask for fewer frames or a smaller size"):
        whole.plan(Request((PROMPT,), frames=9, height=HEIGHT, width=WIDTH))
    size = whole.params._sizes["dit"]
    whole.params._memory = size + 5_000
    assert [whole.params.batch_that_fits(8, "dit", values) for values in (600, 1_000, 5_000, 9_000)] == [8, 4, 1, 1]
    whole.params._memory = None
    settings = {"frames": 5, "height": HEIGHT, "width": WIDTH, "steps": 2}
    (one,), (other,) = whole(PROMPT, **settings), small(PROMPT, **settings)
    assert 25 < psnr(one.frames, other.frames) < 90
