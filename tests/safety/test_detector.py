"""Sound files, changed ones and unmarked ones are told apart, by the detector and by the command line."""

import random
import warnings
from dataclasses import replace

import av
import numpy as np
import pytest

from sorajax.commands.verify import main
from sorajax.media.video import Video
from sorajax.safety.certificates import make_credentials
from sorajax.safety.detector import State, inspect
from sorajax.safety.finishing import Safety
from sorajax.safety.policy import Policy
from sorajax.safety.provenance import Ingredient, read_manifest, sign

SUFFIXES = (".mp4", ".gif", ".webp", ".png")


def remuxed(path, out):
    """The same coded frames in a new container, as other programs write it."""
    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


def pixels_changed(path, out, rng):
    """A flipped bit outside of the manifest, which has unsigned padding: in coded frames, the index or metadata."""
    content = bytearray(path.read_bytes())
    start = content.index(b"jumb") - 4
    end = start + int.from_bytes(content[start : start + 4], "big") * 256 // 255 + 32  # gif has blocks of 255 bytes
    place = rng.choice([*range(start // 2), *range(end, len(content))])
    content[place] ^= 1 << rng.randrange(8)
    out.write_bytes(content)


def metadata_changed(path, out, rng):
    """The prompt in the file's metadata, of equal length."""
    content = path.read_bytes()
    changed = content.replace(b"a red box", bytes(rng.choices(b"abcdefgh", k=9)))
    assert changed != content
    out.write_bytes(changed)


def truncated(path, out, rng):
    content = path.read_bytes()
    out.write_bytes(content[: rng.randrange(len(content) // 2, len(content))])


def appended(path, out, rng):
    out.write_bytes(path.read_bytes() + rng.randbytes(rng.randrange(1, 100)))


def manifest_changed(path, out, rng):
    content = path.read_bytes()
    changed = content.replace(b"trainedAlgorithmicMedia", b"compositeCapture" + rng.randbytes(7))
    assert changed != content
    out.write_bytes(changed)


def manifest_moved(path, out, rng):
    """The manifest of another clip. Both manifests are of equal length, so no other byte moves."""
    video = Video.load(path)
    frames = video.frames.copy()
    frames[:, rng.randrange(60) :] = rng.randrange(256)
    other = replace(video, frames=frames)
    unsigned = replace(other, finishing=Safety(Policy(provenance=False, frames=False)))
    plain = unsigned.save(path.with_name(f"other{path.suffix}"), overwrite=True).read_bytes()
    theirs = replace(other, finishing=Safety(Policy(frames=False))).save(out, overwrite=True).read_bytes()
    ours, length = path.read_bytes(), len(theirs) - len(plain)
    start = next(place for place, (a, b) in enumerate(zip(plain, theirs, strict=False)) if a != b)
    mine = ours.index(b"jumb") - theirs.index(b"jumb") + start
    changed = ours[:mine] + theirs[start : start + length] + ours[mine + length :]
    assert changed != ours
    assert changed != theirs
    out.write_bytes(changed)


def made_again(path, out, rng):
    """Other frames under the old name: no manifest is left."""
    remuxed(path, out) if path.suffix == ".mp4" else Video.load(path).save(out, overwrite=True)


CHANGES = (
    pixels_changed,
    metadata_changed,
    truncated,
    appended,
    manifest_changed,
    manifest_moved,
    made_again,
)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_sound_file_is_described(video, tmp_path, suffix):
    report = inspect(video.save(tmp_path / f"clip{suffix}"))
    assert (report.state, report.manifest, report.changed) == (State.SOUND, "valid", ())
    assert (report.issuer, report.model) == ("sorajax", "world")
    assert report.program.startswith("sorajax 0.")
    assert "An algorithm made it with the model world." in report.words
    assert any("anybody can make such a certificate" in words for words in report.words)


def change(kind, path, number):
    """The report on a file that was changed."""
    out = path.with_name(f"changed{path.suffix}")
    kind(path, out, random.Random(number))
    return inspect(out)


@pytest.mark.parametrize("kind", CHANGES, ids=lambda kind: kind.__name__)
def test_a_change_is_found(video, tmp_path, kind):
    report = change(kind, video.save(tmp_path / "clip.mp4"), 0)
    assert report.state is not State.SOUND
    if kind not in (truncated, made_again):
        assert report.state is State.TAMPERED
        assert report.changed


@pytest.mark.slow
def test_a_hundred_changed_files_are_told_apart_from_sound_ones(video, tmp_path):
    found, video = [], replace(video, finishing=Safety(Policy(frames=False)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(112):
            kind, suffix = CHANGES[number % len(CHANGES)], SUFFIXES[number // len(CHANGES) % len(SUFFIXES)]
            one = replace(video, frames=np.roll(video.frames, number, 2), metadata={**video.metadata, "seed": number})
            path = one.save(tmp_path / f"clip{suffix}", overwrite=True)
            assert inspect(path).state is State.SOUND
            found.append((kind.__name__, suffix, change(kind, path, number).state))
    assert not [row for row in found if row[2] is State.SOUND]
    allowed = {"truncated": {State.TAMPERED, State.UNREADABLE}, "made_again": {State.UNMARKED, State.WATERMARKED}}
    others = {State.TAMPERED, State.UNREADABLE}  # a flipped bit may hit the file's structure
    assert not [row for row in found if row[2] not in allowed.get(row[0], others)]


def test_unmarked_and_unreadable_files(moving, tmp_path):
    bare = Video(moving, 8.0).save(tmp_path / "bare.mp4")
    assert inspect(bare).state is State.UNMARKED
    (tmp_path / "junk.mp4").write_bytes(bytes(range(256)) * 20)
    assert inspect(tmp_path / "junk.mp4").state is State.UNREADABLE
    assert inspect(tmp_path / "gone.mp4").state is State.UNREADABLE


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_watermark_outlives_the_manifest(video, tmp_path, capsys, suffix):
    path, again = video.save(tmp_path / f"clip{suffix}"), tmp_path / f"again{suffix}"
    stated = inspect(path).watermark
    Video.load(path).save(again)
    assert read_manifest(again) is None
    report = inspect(again)
    assert (report.state, report.manifest, report.watermark) == (State.WATERMARKED, "not_present", stated)
    assert main([str(again)]) == 0
    out = capsys.readouterr().out
    assert "watermark" in out
    assert stated[0] in out
    assert inspect(again, key="another").state is State.UNMARKED


def test_given_clips_are_named(video, tmp_path):
    first = video.save(tmp_path / "first.mp4")
    edited = replace(video, finishing=Safety().made_from("edit", (Ingredient("parentOf", first),)))
    report = inspect(edited.save(tmp_path / "edited.mp4"))
    assert (report.state, report.ingredients) == (State.SOUND, ("first.mp4",))
    assert "An algorithm made parts of it with the model world." in report.words


def test_a_certificate_can_be_trusted(video, tmp_path):
    path = Video(video.frames, 8.0).save(tmp_path / "clip.mp4")
    made = make_credentials()
    sign(path, ".mp4", {}, made)
    assert inspect(path, made.chain).state is State.SOUND
    assert inspect(path, make_credentials().chain).manifest == "valid"
