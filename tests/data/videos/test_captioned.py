"""The clips of configs/world_captions.py: equal ones in both manifests, with whole captions or half of each."""

import json
from collections import Counter

import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.videos import preparation
from sorajax.data.videos.captioning import caption_clips
from sorajax.data.videos.clips import VideoData, pixel_clips
from sorajax.data.videos.entry import Written
from sorajax.training.experiments import load_experiment
from sorajax.world.captions import VERBS, WORDS
from sorajax.world.scenes import CORE, attributes, sample_scenes
from tests import ROOT
from tests.data.videos.captioned import NAMES, lost, main
from tests.data.videos.test_preparation import in_turn


def said(text, words):
    """The attributes of a clip that a text states."""
    thing = {**words["shots"][0]["objects"][0], "background": words["shots"][0]["background"]}
    found = set()
    for name in NAMES:
        texts = [finite for finite, _ in VERBS[thing[name]]] if name == "motion" else WORDS.get(thing[name], ())
        found |= {name for one in texts if f" {one} " in f" {text} "}
    return found


def test_lost_captions_say_half_of_the_attributes(monkeypatch):
    monkeypatch.setattr("tests.data.videos.captioned.CANONICAL", 1.0)  # synonyms contain other words
    rng = np.random.default_rng(0)
    counts = Counter()
    for words in attributes(sample_scenes(rng, 400, "train", CORE)):
        stated = 5 + (words["shots"][0]["objects"][0]["pace"] != "normally")
        found = said(lost(words, rng), words)
        assert len(found) in (stated // 2, stated - stated // 2)
        counts.update(found)
    assert set(counts) == set(NAMES)
    assert sum(counts.values()) / 400 == pytest.approx(2.8, abs=0.3)


@pytest.mark.slow
def test_each_kind_of_caption_reaches_training(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "run_parts", in_turn)
    main(tmp_path / "videos", 3)
    config = load_experiment(ROOT / "configs" / "world_captions.py")
    filters = preparation.Filters(dark=0.0, static=0.0, duplicate=-1, cuts=0.0)
    settings = preparation.Preparation(buckets=(Bucket(17, 64, 64),), filters=filters)
    drawn, frames = {}, {}
    for name, manifest in (("true", "true"), ("written", "true"), ("lost", "lost")):
        preparation.prepare(tmp_path / "videos" / f"{manifest}.jsonl", tmp_path / name, settings, say=lambda text: None)
        if name == "written":
            caption_clips(tmp_path / name, lambda video, seed=0: Written("short words", "long words"), "me")
        data = VideoData(**{**vars(config.data), "folder": tmp_path / name})
        (clips,) = pixel_clips(data, tmp_path)[0].values()
        rng = np.random.default_rng(0)
        frames[name] = [clips.read(i, rng)[0]["pixels"] for i in range(3)]
        drawn[name] = {clips.read(i, rng)[1] for _ in range(30) for i in range(3)}
    rows = [json.loads(line) for line in (tmp_path / "videos" / "true.jsonl").read_text().splitlines()]
    assert drawn["true"] == {row[register] for row in rows for register in ("short", "detailed")}
    assert drawn["written"] == {"short words", "long words"}
    assert len(drawn["lost"]) <= 3
    assert not drawn["lost"] & drawn["true"]
    np.testing.assert_array_equal(frames["true"], frames["lost"])
    assert np.ptp(frames["true"][0]) > 50, "a picture"
