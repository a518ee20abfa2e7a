"""Batches of a user's clips: each is drawn once per epoch, positions resume, broken clips are replaced."""

import json
from collections import Counter
from dataclasses import replace

import jax
import numpy as np
import pytest

from sorajax.data.buckets import Bucket, Phase, fill_token_budget
from sorajax.data.videos import preparation
from sorajax.data.videos.clips import (
    BROKEN,
    Source,
    VideoData,
    captions_of,
    check_captioned,
    clip_batches,
    is_held_out,
    latent_clips,
    pixel_clips,
    prepare_sources,
)
from sorajax.data.videos.listing import path_within
from tests.data.videos.films import film, moving, numbers
from tests.data.videos.test_encoding import encode
from tests.data.videos.test_preparation import in_turn

WIDE, LONG, IMAGE = Bucket(9, 32, 48, batch_size=2), Bucket(17, 32, 48, batch_size=2), Bucket(1, 32, 48, batch_size=4)


def lengths(prompts):
    """Tokens that are the lengths of the prompts' words."""
    ids = np.zeros((len(prompts), 8), np.int32)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt.split())] = [len(word) for word in prompt.split()]
    return {"ids": ids, "mask": ids > 0}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Eight numbered films of 9 to 16 frames, one of 17, with captions; and a broken one."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(8):
        film(folder / f"{number}.mp4", 9 + number, size=(32, 48))
        (folder / f"{number}.txt").write_text("x" * (number + 1))
    film(folder / "long.mp4", 17, size=(32, 48))
    (folder / "junk.mp4").write_bytes(b"junk")
    return folder


def taken(dataset, count):
    iterator = iter(dataset)
    return [next(iterator) for _ in range(count)]


def same(a, b):
    return a.bucket == b.bucket and all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)))


def test_raw_videos_become_batches_of_their_bucket(videos, tmp_path):
    data = VideoData(folder=videos, buckets=(WIDE, LONG, IMAGE), held_out=0.0, most_broken=0.2)
    said = []
    dataset = clip_batches(pixel_clips(data, tmp_path), data, tmp_path, lengths, said.append)
    assert said == ["9x32x48: 9 clips", "17x32x48: 1 clips", "1x32x48: 9 clips"]
    for batch in taken(dataset, 12):
        assert batch.pixels.shape == (batch.bucket.batch_size, *batch.bucket.size, 3)
        for clip in batch.pixels:
            read = numbers(clip)
            assert read == list(range(read[0], read[0] + len(read)))
    assert "junk.mp4" in (tmp_path / BROKEN).read_text()


def test_every_clip_is_drawn_once_per_epoch(videos, tmp_path):
    data = VideoData(folder=videos, buckets=(WIDE,), held_out=0.0, dropout=0.0, most_broken=0.2, seed=3)
    dataset = clip_batches(pixel_clips(data, tmp_path), data, tmp_path, lengths)
    seen = [row[0] for batch in taken(dataset, 9) for row in batch.ids]
    assert len(seen) == 18
    assert Counter(seen[:9]) == Counter(seen[9:])
    assert seen[:9] != seen[9:]


def test_the_position_resumes_exactly(videos, tmp_path):
    data = VideoData(folder=videos, buckets=(WIDE, IMAGE), held_out=0.0, most_broken=0.2)
    first = iter(clip_batches(pixel_clips(data, tmp_path), data, tmp_path, lengths))
    for _ in range(5):
        next(first)
    position = json.loads(json.dumps(first.get_state()))
    expected = [next(first) for _ in range(4)]
    (videos / "new.mp4").write_bytes((videos / "0.mp4").read_bytes())  # what comes later is another run's
    second = iter(clip_batches(pixel_clips(data, tmp_path), data, tmp_path, lengths))
    (videos / "new.mp4").unlink()
    second.set_state(position)
    assert all(same(a, next(second)) for a in expected)


def test_any_number_of_processes_draws_the_same_batches(videos, tmp_path, monkeypatch):
    data = VideoData(folder=videos, buckets=(WIDE, IMAGE), held_out=0.0, dropout=0.0, most_broken=0.2)
    whole = taken(clip_batches(pixel_clips(data, tmp_path), data, tmp_path, lengths), 6)
    parts = []
    for process in range(2):
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        parts.append(taken(clip_batches(pixel_clips(data, tmp_path), data, tmp_path, lengths), 6))
    for batch, a, b in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(batch.pixels, np.concatenate([a.pixels, b.pixels]))
        np.testing.assert_array_equal(batch.ids, np.concatenate([a.ids, b.ids]))


def test_a_video_deleted_during_the_run_is_replaced_and_named(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(6):
        film(folder / f"{number}.mp4", 9, size=(32, 48))
    data = VideoData(folder=folder, buckets=(WIDE,), held_out=0.0, most_broken=0.4, prefetch=1, threads=1)
    iterator = iter(clip_batches(pixel_clips(data, tmp_path), data, tmp_path))
    next(iterator)
    for number in (1, 4):
        (folder / f"{number}.mp4").unlink()
    for _ in range(9):
        assert next(iterator).pixels.shape == (2, 9, 32, 48, 3)
    named = [json.loads(line)["path"] for line in (tmp_path / BROKEN).read_text().splitlines()]
    assert sorted(named) == [str(folder / "1.mp4"), str(folder / "4.mp4")]
    (folder / "2.mp4").unlink()
    with pytest.raises(RuntimeError, match=r"3 of 6 files cannot be read.*--data\.most-broken"):
        taken(clip_batches(pixel_clips(data, tmp_path), data, tmp_path), 9)


@pytest.fixture
def encoded(videos, tmp_path, monkeypatch):
    """Two folders of latents."""
    monkeypatch.setattr(preparation, "run_parts", in_turn)
    other = tmp_path / "other"
    other.mkdir()
    for seed in range(5):
        film(other / f"m{seed}.mp4", moving(seed, 9))
        (other / f"m{seed}.txt").write_text("y" * (20 + seed))
    filters = preparation.Filters(dark=0.0, static=0.0, duplicate=-1)
    settings = preparation.Preparation(buckets=(WIDE,), filters=filters, most_broken=0.2, videos_per_part=2)
    for name, source in (("a", videos), ("b", other)):
        preparation.prepare(source, tmp_path / name, settings, say=lambda text: None)
    data = VideoData(folder=tmp_path / "a", more=(Source(tmp_path / "b", 3.0),), buckets=(WIDE, IMAGE), held_out=0.0)
    prepare_sources(data, None, lambda: encode, "me", say=lambda text: None)
    return data


def test_sources_are_mixed_by_weight_and_images_are_first_frames(encoded, tmp_path):
    data = replace(encoded, dropout=0.0)
    batches = taken(clip_batches(latent_clips(data, "me"), data, tmp_path, lengths), 40)
    of_b = np.concatenate([batch.ids[:, 0] >= 20 for batch in batches])
    assert 0.7 < of_b.mean() < 0.8
    assert {batch.latent.shape[1] for batch in batches} == {3, 1}
    films = np.concatenate([batch.latent[:, 0] for batch in batches if batch.bucket == WIDE])
    for batch in batches:
        if batch.bucket == IMAGE:
            assert all(np.any(np.all(films == image[0], axis=(1, 2, 3))) for image in batch.latent)


def test_a_corrupt_shard_is_replaced_and_named(encoded, tmp_path):
    files = sorted((tmp_path / "a" / "latents" / "me").glob("*.arrayrecord"))
    files[1].write_bytes(files[1].read_bytes()[:100])
    data = replace(encoded, buckets=(WIDE,), more=(), most_broken=0.4)
    assert len(taken(clip_batches(latent_clips(data, "me"), data, tmp_path, lengths), 20)) == 20
    assert [json.loads(line)["path"] for line in (tmp_path / BROKEN).read_text().splitlines()] == [str(files[1])]


def test_held_out_videos_are_never_trained_on(encoded, tmp_path):
    data = replace(encoded, held_out=0.5, dropout=0.0, buckets=(WIDE,))
    kept, out = latent_clips(data, "me"), latent_clips(data, "me", held_out=True)
    totals = [len(a[WIDE]) + len(b[WIDE]) for a, b in zip(kept, out)]
    assert totals == [len(clips[WIDE]) for clips in latent_clips(encoded, "me")]
    assert all(len(clips[WIDE]) for clips in out)
    captions = [
        {clips[WIDE].read(i, None)[1] for clips in side for i in range(len(clips[WIDE]))} for side in (kept, out)
    ]
    assert not captions[0] & captions[1]


def test_files_of_one_name_in_many_folders_are_held_out_by_their_path(tmp_path, monkeypatch):
    """`scene0/color.mp4` ... are not all on one side, whether read raw or prepared."""
    monkeypatch.setattr(preparation, "run_parts", in_turn)
    for number in range(10):
        (tmp_path / "videos" / f"scene{number}").mkdir(parents=True)
        film(tmp_path / "videos" / f"scene{number}" / "color.mp4", 9)
    data = VideoData(folder=tmp_path / "videos", buckets=(WIDE,), held_out=0.4)
    sides = [pixel_clips(data, tmp_path, held_out)[0][WIDE] for held_out in (True, False)]
    names = [{clips.name(i) for i in range(len(clips))} for clips in sides]
    assert 0 < len(names[0]) < 10
    assert len(names[0] | names[1]) == 10
    filters = preparation.Filters(static=0.0, duplicate=-1)
    settings = preparation.Preparation(buckets=(WIDE,), filters=filters)
    preparation.prepare(tmp_path / "videos", tmp_path / "made", settings, say=lambda text: None)
    prepared = pixel_clips(replace(data, folder=tmp_path / "made"), tmp_path, True)[0][WIDE]
    assert len(prepared) == len(names[0])


def test_sources_of_which_none_has_a_caption_are_refused(videos, tmp_path):
    (tmp_path / "bare").mkdir()
    film(tmp_path / "bare" / "a.mp4", 9)
    bare = VideoData(folder=tmp_path / "bare")
    with pytest.raises(ValueError, match=r"bare: none of 1 videos has a caption"):
        check_captioned(bare, tmp_path / "latents")
    check_captioned(replace(bare, more=(Source(videos),)), tmp_path / "latents")


def test_a_moved_folder_holds_out_the_same():
    assert path_within("/a/x/b.mp4", "/a") == path_within("/elsewhere/x/b.mp4", "/elsewhere") == "x/b.mp4"
    assert path_within("/a/s.tar::x/b.mp4", "/a/s.tar") == path_within("/a/s.tar::x/b.mp4", "/a") == "s.tar::x/b.mp4"
    assert path_within("/a/x/b.mp4", "/a/list.csv") == path_within("/a/x/b.mp4", "/a/") == "x/b.mp4"
    assert path_within("/b/x.mp4", "/a/list.csv") == "/b/x.mp4"
    assert path_within("tfds:n:train@/data#3", "tfds:n:train@/data") == "#3"
    assert [
        number for number in range(10) if is_held_out(f"{number}.mp4", 0.3)
    ]  # a flat folder: by the names, as before


def test_phases_draw_other_buckets(encoded, tmp_path):
    phases = (Phase(6, (0, 1)), Phase(4, (1, 1)), Phase(1, (1, 0)))
    data = replace(encoded, phases=phases)
    frames = [batch.bucket.frames for batch in taken(clip_batches(latent_clips(data, "me"), data, tmp_path), 16)]
    assert frames[:6] == [1] * 6
    assert sorted(frames[6:10]) == [1, 1, 9, 9]
    assert frames[10:] == [9] * 6


def test_batches_of_a_token_budget_have_equal_tokens():
    buckets = (Bucket(17, 64, 64), Bucket(33, 64, 64), Bucket(1, 64, 64), Bucket(17, 64, 96))
    tokens = lambda bucket: ((bucket.frames - 1) // 4 + 1) * bucket.height * bucket.width // 256  # noqa: E731
    sized = fill_token_budget(buckets, 5760, tokens, multiple=2)
    assert [bucket.batch_size for bucket in sized] == [72, 40, 360, 48]
    assert all(0.9 * 5760 < bucket.batch_size * tokens(bucket) <= 5760 for bucket in sized)
    with pytest.raises(ValueError, match=r"bucket 33x64x64 needs 288 tokens a step, and data\.tokens is 200"):
        fill_token_budget(buckets, 200, tokens, multiple=2)


def test_mistakes_are_one_line(encoded, videos, tmp_path):
    with pytest.raises(ValueError, match=r"was prepared at 8 fps and data\.fps is 12"):
        latent_clips(replace(encoded, fps=12.0), "me")
    with pytest.raises(FileNotFoundError, match="encode"):
        latent_clips(encoded, "you")
    with pytest.raises(ValueError, match="holds raw videos: add --latents"):
        prepare_sources(VideoData(folder=videos), None, lambda: encode, "me")
    nothing = replace(encoded, buckets=(Bucket(9, 64, 64),))
    with pytest.raises(ValueError, match="has no clip for any bucket: 9x64x64"):
        clip_batches(latent_clips(nothing, "me"), nothing, tmp_path)
    with pytest.raises(ValueError, match=r"a phase of data.phases has 1 weights, there are 2 buckets"):
        replace(encoded, phases=(Phase(1, (1.0,)),))
    assert len(captions_of(videos)) == len(captions_of(encoded.folder)) == 8
