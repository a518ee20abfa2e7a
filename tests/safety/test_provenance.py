"""Each file says how it was made, under a signature that covers all of it."""

import time
from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from sorajax.errors import BadRequest, Note
from sorajax.media.video import Film, Video, Videos
from sorajax.safety import provenance
from sorajax.safety.certificates import credentials, make_credentials
from sorajax.safety.finishing import Safety
from sorajax.safety.policy import Policy
from sorajax.safety.provenance import BINDING, GENERATION, MADE, Ingredient, read_manifest, sign
from sorajax.safety.watermark import ALGORITHM, identifier_of, read

SUFFIXES = (".mp4", ".gif", ".webp", ".png")


def active(path):
    """The active manifest of a file, and its assertions by label."""
    store = read_manifest(path)
    found = store["manifests"][store["active_manifest"]]
    return store, found, {one["label"]: one["data"] for one in found["assertions"]}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("frames", [1, 17])
def test_a_file_says_what_made_it(video, tmp_path, suffix, frames):
    path = replace(video, frames=video.frames[:frames]).save(tmp_path / f"clip{suffix}")
    store, _, assertions = active(path)
    assert store["validation_state"] == "Valid"
    action, marked = assertions["c2pa.actions.v2"]["actions"]
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", MADE)
    assert marked["action"] == "c2pa.watermarked.bound"
    assert action["when"][:2] == "20"
    made = assertions[GENERATION]
    assert (made["model"], made["seed"], made["frames"], made["task"]) == ("world", 3, frames, "text")
    assert "prompt" not in made
    back = Video.load(path)
    assert (back.frames.shape[0], back.fps, back.metadata["prompt"]) == (frames, 8.0, video.metadata["prompt"])
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"clip{suffix}", f"clip{suffix}.json"]


def test_given_clips_are_ingredients_and_keep_their_manifests(video, tmp_path):
    first = video.save(tmp_path / "first.mp4")
    second = Video(video.frames, 8.0).save(tmp_path / "second.mp4")
    given = (Ingredient("parentOf", first), Ingredient("componentOf", second))
    path = replace(video, finishing=Safety().made_from("connect", given)).save(tmp_path / "both.mp4")
    store, found, assertions = active(path)
    assert store["validation_state"] == "Valid"
    assert [(one["title"], one["relationship"]) for one in found["ingredients"]] == [
        ("first.mp4", "parentOf"),
        ("second.mp4", "componentOf"),
    ]
    assert found["ingredients"][0]["active_manifest"] in store["manifests"]
    assert "active_manifest" not in found["ingredients"][1]
    kinds = [one["action"] for one in assertions["c2pa.actions.v2"]["actions"]]
    assert kinds == ["c2pa.opened", "c2pa.placed", "c2pa.edited", "c2pa.watermarked.bound"]


def test_a_picture_leads_to_a_new_clip(video, tmp_path):
    picture = video.save(tmp_path / "first.png")
    given = (Ingredient("inputTo", picture), Ingredient("inputTo", None))
    path = replace(video, finishing=Safety().made_from("image", given)).save(tmp_path / "clip.gif")
    _, found, assertions = active(path)
    assert [one["relationship"] for one in found["ingredients"]] == ["inputTo", "inputTo"]
    action = assertions["c2pa.actions.v2"]["actions"][0]
    assert action["action"] == "c2pa.created"
    assert len(action["parameters"]["ingredients"]) == 2


def test_films_grids_and_copies_are_signed_too(video, tmp_path):
    film = Film(iter([video.frames[:9], video.frames[9:]]), 17, 64, 64, 8.0, {}, Safety())
    for number, one in enumerate((film, film.whole(), Videos([video, video]).grid(2), replace(video, fps=4.0))):
        if one is film:
            one = Film(iter([video.frames]), 17, 64, 64, 8.0, {}, Safety())
        assert read_manifest(one.save(tmp_path / f"{number}.mp4"))["validation_state"] == "Valid"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_manifest_names_the_watermark(video, tmp_path, suffix):
    path = video.save(tmp_path / f"clip{suffix}")
    binding = active(path)[2][BINDING]
    assert binding["alg"] == ALGORITHM
    assert [block["value"] for block in binding["blocks"]] == [f"{identifier_of(video.described()):08x}"]
    assert read(Video.load(path).frames)[:1] == (identifier_of(video.described()),)


def test_small_files_have_no_watermark(video, tmp_path):
    path = replace(video, frames=video.frames[:, :32, :32]).save(tmp_path / "clip.png")
    assert BINDING not in active(path)[2]
    path = replace(video, finishing=Safety(Policy(watermark=False))).save(tmp_path / "plain.png")
    assert BINDING not in active(path)[2]
    assert np.array_equal(Video.load(path).frames, video.frames)


def test_the_policy_switches_it_off(video, tmp_path):
    path = replace(video, finishing=Safety(Policy(provenance=False))).save(tmp_path / "clip.mp4")
    assert read_manifest(path) is None


def test_a_machine_without_the_library_is_told_once(video, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "find_spec", lambda name: None)
    provenance.available.cache_clear()
    try:
        with pytest.warns(Note, match="files are not signed: c2pa-python is missing") as notes:
            first, second = (video.save(tmp_path / f"{name}.mp4") for name in "ab")
        assert len(notes) == 1
        assert len(Video.load(first).frames) == len(Video.load(second).frames) == 17
    finally:
        provenance.available.cache_clear()


def test_a_key_of_another_certificate_leaves_no_file(video, tmp_path):
    wrong = replace(make_credentials(), key=make_credentials().key)
    path = Video(video.frames, 8.0).save(tmp_path / "clip.mp4")
    before = path.read_bytes()
    with pytest.raises(BadRequest, match="cannot be signed"):
        sign(path, ".mp4", {}, replace(wrong, chain=b"no certificate"))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_signing_takes_at_most_50_ms(video, tmp_path):
    path, signer = Video(video.frames, 8.0).save(tmp_path / "clip.mp4"), credentials()
    content, times = path.read_bytes(), []
    for _ in range(11):
        path.write_bytes(content)
        begun = time.process_time()
        sign(path, ".mp4", video.metadata, signer)
        times.append(time.process_time() - begun)
    assert median(times) < 0.05
