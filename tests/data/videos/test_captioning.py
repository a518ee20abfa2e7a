"""Captions that a captioner writes: a pair for each clip, once; training draws them and original ones by share."""

import json
import shutil
import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.videos import preparation
from sorajax.data.videos.captioning import (
    CaptionShares,
    caption_clips,
    count_captions,
    read_part,
    report_captions,
    written_captions,
)
from sorajax.data.videos.clips import (
    VideoData,
    captions_of,
    check_captioned,
    clip_batches,
    latent_clips,
    pixel_clips,
    prepare_sources,
    show_captions,
)
from sorajax.data.videos.entry import Written
from tests.data.videos.films import film, level, moving
from tests.data.videos.test_encoding import encode
from tests.data.videos.test_preparation import in_turn

BUCKET = Bucket(9, 32, 48, batch_size=2)
CLIPS = 6


class Grey:
    """Describes a numbered film by its first frame; fails for the numbers in `bad`."""

    def __init__(self, bad=(), error=ValueError):
        self.bad, self.error, self.seen, self.lock = set(bad), error, [], threading.Lock()

    def __call__(self, video, seed=0):
        number = round((float(video.frames[0].mean()) - level(0)) / 5)
        with self.lock:
            self.seen.append(number)
        if number in self.bad:
            raise self.error(f"no words\nfor {number}")
        return Written(f"grey {number}", f"A grey film begins with {number}.")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Six prepared clips in three parts, whose first frames have the numbers 0 to 5; one has no caption."""
    place = tmp_path_factory.mktemp("captioning")
    (place / "videos").mkdir()
    for number in range(CLIPS):
        frames = np.stack([np.full((32, 48, 3), level(number + i), np.uint8) for i in range(9)])
        film(place / "videos" / f"{number}.mp4", frames)
        if number:
            (place / "videos" / f"{number}.txt").write_text(f"mine {number}")
    filters = preparation.Filters(dark=0.0, static=0.0, duplicate=-1)
    settings = preparation.Preparation(buckets=(BUCKET,), filters=filters, videos_per_part=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "run_parts", in_turn)
        preparation.prepare(place / "videos", place / "made", settings, say=lambda text: None)
    return place / "made"


@pytest.fixture
def folder(prepared, tmp_path):
    """A copy of the prepared clips."""
    return shutil.copytree(prepared, tmp_path / "made")


def caption(folder, captioner, parallel=1, made_by="grey"):
    said = []
    caption_clips(folder, captioner, made_by, parallel, said.append)
    report_captions(folder, said.append)
    return said


def test_each_clip_has_two_captions_beside_its_own(folder):
    said = caption(folder, grey := Grey())
    assert sorted(grey.seen) == list(range(CLIPS))
    assert said[-1] == f"{folder}: 5 original captions, 6 short and 6 detailed ones"
    lines = [line for part in ("00000", "00001", "00002") for line in read_part(folder, part).values()]
    assert sorted(line["short"] for line in lines) == [f"grey {number}" for number in range(CLIPS)]
    for line in lines:
        number = line["short"].removeprefix("grey ")
        assert line["original"] == (f"mine {number}" if number != "0" else "")
    report = json.loads((folder / "report.json").read_text())
    assert report["captions"] == {"original": 5, "short": 6, "detailed": 6, "failed": []}
    assert report["clips"] == CLIPS, "the rest of the report stays"


def test_a_captioned_folder_is_not_captioned_again(folder):
    caption(folder, Grey())
    caption_clips(folder, pytest.fail, "grey")
    with pytest.raises(
        ValueError, match=r"was captioned by grey, not by other: to caption it again, remove .*captions$"
    ):
        caption(folder, Grey(), made_by="other")


def test_what_fails_is_named_and_tried_again_and_the_others_stay(folder):
    said = caption(folder, Grey(bad={1, 4}))
    assert next(line for line in said if "no words" in line).endswith("1.mp4@0.0: no words for 1")
    assert "run the same command again for these 2" in said[-1]
    assert count_captions(folder)["short"] == 4
    assert not any("\n" in line for line in said)
    caption(folder, grey := Grey())
    assert sorted(grey.seen) == [1, 4]
    assert count_captions(folder) == {"original": 5, "short": 6, "detailed": 6, "failed": []}


@pytest.mark.parametrize("parallel", [1, 3])
def test_an_interrupted_captioning_continues(folder, parallel):
    with pytest.raises(OSError, match="no words"):
        caption(folder, first := Grey(bad={3}, error=OSError), parallel)
    assert len(written_captions(folder)) == 3, "those before it"
    caption(folder, second := Grey(), parallel)
    assert sorted(second.seen) == [3, 4, 5]
    assert set(first.seen) >= {0, 1, 2, 3}
    assert len(written_captions(folder)) == CLIPS


def test_many_failures_in_a_row_stop(folder, monkeypatch):
    monkeypatch.setattr("sorajax.data.videos.captioning.MOST_IN_A_ROW", 2)
    with pytest.raises(
        RuntimeError, match=r"2 clips in a row have no caption, the last .*1\.mp4@0\.0 \(no words for 1\)"
    ):
        caption(folder, grey := Grey(bad=range(CLIPS)))
    assert grey.seen == [0, 1]


def test_a_captioner_that_writes_nothing_is_an_error(folder):
    with pytest.raises(ValueError, match="the captioner wrote no caption"):
        caption(folder, Grey(bad=range(CLIPS)))


def tokens(captions):
    """The kind of each caption: 0 none, 1 an original one, 2 short, 3 detailed."""
    kinds = {"": 0, "m": 1, "g": 2, "A": 3}
    ids = np.array([[kinds[text[:1]]] for text in captions], np.int32)
    return {"ids": ids, "mask": ids > 0}


@pytest.mark.parametrize("kind", ["pixels", "latents"])
def test_training_draws_captions_by_their_shares(folder, tmp_path, kind):
    caption(folder, Grey())
    data = VideoData(folder=folder, buckets=(BUCKET,), held_out=0.0, dropout=0.0, captioned=0.5, detailed=0.5)
    prepare_sources(data, None, lambda: encode, "me", say=lambda text: None)
    clips = pixel_clips if kind == "pixels" else lambda data, _: latent_clips(data, "me")

    def drawn(batches, **shares):
        one = replace(data, **shares)
        iterator = iter(clip_batches(clips(one, tmp_path), one, tmp_path, tokens))
        return Counter(int(x) for _ in range(batches) for x in next(iterator).ids[:, 0])

    assert set(drawn(12)) == {1, 2, 3}, "the clip without a caption of its own has a written one"
    assert drawn(3, captioned=1.0, detailed=1.0) == {3: 6}
    assert drawn(3, captioned=1.0, detailed=0.0) == {2: 6}
    assert drawn(3, captioned=0.0) == {1: 5, 0: 1}


def test_all_or_none_of_the_written_captions():
    rng, written = np.random.default_rng(0), Written("short", "long")
    assert {CaptionShares(1.0).draw("mine", written, rng) for _ in range(99)} == {"short", "long"}
    some = Counter(CaptionShares(0.5, 0.75).draw("mine", written, rng) for _ in range(4000))
    assert [some[text] / 4000 for text in ("mine", "short", "long")] == pytest.approx([0.5, 0.125, 0.375], abs=0.04)
    assert {CaptionShares(0.0).draw("mine", written, rng) for _ in range(99)} == {"mine"}
    assert CaptionShares(0.0).draw("", written, rng) == ""
    assert CaptionShares(0.95).draw("mine", None, rng) == "mine"
    usual = Counter(CaptionShares().draw("mine", written, rng) for _ in range(4000))
    assert usual["mine"] / 4000 == pytest.approx(0.05, abs=0.02)


def test_a_manifest_may_have_written_captions(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "run_parts", in_turn)
    for seed in range(2):
        film(tmp_path / f"{seed}.mp4", moving(seed, 9))
    rows = [
        {"path": "0.mp4", "caption": "mine", "short": "grey", "detailed": "All grey."},
        {"file": "1.mp4", "short": "g"},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = VideoData(folder=tmp_path / "list.jsonl", buckets=(BUCKET,), held_out=0.0, captioned=1.0, detailed=1.0)
    filters = preparation.Filters(dark=0.0, static=0.0, duplicate=-1)
    settings = preparation.Preparation(buckets=(BUCKET,), filters=filters)
    preparation.prepare(data.folder, tmp_path / "made", settings, say=lambda text: None)
    for one in (data, replace(data, folder=tmp_path / "made")):
        (clips,) = pixel_clips(one, tmp_path / "made")[0].values()
        rng = np.random.default_rng(0)
        assert sorted(clips.read(i, rng)[1] for i in range(2)) == ["All grey.", "g"]
        assert sorted(captions_of(one.folder)) == ["All grey.", "g", "grey", "mine"]
    said = []
    show_captions(replace(data, folder=tmp_path / "made"), said.append)
    assert said[0].endswith(
        "1 original captions, 2 short and 2 detailed ones; 100% are drawn from the latter, 100% of these detailed"
    )


def test_a_captioned_folder_needs_no_captions_of_its_own(folder):
    lines = [json.loads(line) | {"caption": ""} for line in (folder / "listing.jsonl").read_text().splitlines()]
    (folder / "listing.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = VideoData(folder=folder, buckets=(BUCKET,))
    with pytest.raises(ValueError, match="none of 6 videos has a caption"):
        check_captioned(data, None)
    caption(folder, Grey())
    check_captioned(data, None)
    assert len(captions_of(folder)) == 2 * CLIPS


@pytest.mark.parametrize("name", ["captioned", "detailed"])
def test_shares_are_shares(name):
    with pytest.raises(ValueError, match=rf"data.{name} is 1.5: it must be in \[0, 1\]"):
        VideoData(**{name: 1.5})
