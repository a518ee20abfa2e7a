"""One clip and its caption: from the named part of a video, or as it was stored."""

import numpy as np
import pytest

from sorajax.data.buckets import Bucket
from sorajax.data.records import Records, encode_frames, write_records
from sorajax.data.videos.captioning import CaptionShares
from sorajax.data.videos.decode import Facts
from sorajax.data.videos.entry import Entry, Written
from sorajax.data.videos.readers import RawClips, StoredClips, span
from tests.data.videos.films import film, numbers

FACTS = Facts(3.0, 8.0, 32, 48)
WRITTEN = CaptionShares(captioned=1.0, detailed=1.0)


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(None, None, (0, 3)), (1.0, None, (1, 3)), (None, 2.0, (0, 2)), (1.0, 9.0, (1, 3))]
)
def test_the_part_of_an_entry_ends_with_the_video(start, end, expected):
    assert span(Entry("a.mp4", start=start, end=end), FACTS) == expected


def test_a_clip_lies_in_the_named_part(tmp_path):
    path = str(film(tmp_path / "a.mp4", 24))
    clips = RawClips([(Entry(path, "a ball", start=1.0, end=2.0), FACTS)], Bucket(5, 32, 48), 8.0)
    assert (len(clips), clips.name(0)) == (1, path)
    first = set()
    for seed in range(6):
        row, caption = clips.read(0, np.random.default_rng(seed))
        read = numbers(row["pixels"])
        assert read == list(range(read[0], read[0] + 5))
        assert read[0] >= 8
        assert read[-1] <= 16
        assert caption == "a ball"
        first.add(read[0])
    assert len(first) > 1


@pytest.fixture
def stored(tmp_path):
    """A record of pixels and one of latents with a further input, which has captions of its own."""
    frames = np.full((1, 8, 8, 3), 90, np.uint8)
    latent = np.arange(3, dtype=np.float16).reshape(3, 1, 1, 1)
    common = {"path": "b.mp4", "start": 0.5, "caption": "typed"}
    records = [
        {"path": "a.mp4", "start": 0.0, "caption": "typed", "pixels": encode_frames(frames)},
        {**common, "latent": latent, "image": np.ones(2, np.float16), "short": "short", "detailed": "listed"},
    ]
    write_records(tmp_path / "0.arrayrecord", records)
    return Records([tmp_path / "0.arrayrecord"], [2])


def test_records_have_latents_or_pixels_and_the_captions_of_a_manifest(stored):
    clips, rng = StoredClips(stored, 3, shares=WRITTEN), np.random.default_rng(0)
    (pixels, typed), (latent, listed) = (clips.read(number, rng) for number in range(2))
    assert (typed, listed) == ("typed", "listed")
    assert pixels.keys() == {"pixels"}
    assert (pixels["pixels"] == 90).all()
    assert latent.keys() == {"latent", "image"}
    assert latent["latent"].ravel().tolist() == [0, 1, 2]


def test_captions_of_a_captioner_replace_those_of_a_manifest_and_images_are_first_frames(stored):
    written = {"b.mp4@0.5": Written("s", "a captioner's")}
    row, caption = StoredClips(stored, 1, written, WRITTEN).read(1, np.random.default_rng(0))
    assert caption == "a captioner's"
    assert row["latent"].ravel().tolist() == [0]
