"""A folder, a manifest and a tar of the same videos give the same list; mistakes name the line."""

import json
import tarfile

import pytest

from sorajax.data.videos.decode import probe, read_clip
from sorajax.data.videos.entry import Entry
from sorajax.data.videos.listing import listing, open_video
from tests.data.videos.films import film, level, numbers


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    film(tmp_path / "a.mp4", 9)
    film(tmp_path / "deep" / "b.mkv", 17)
    (tmp_path / "a.txt").write_text("the first\n")
    (tmp_path / "deep" / "b.json").write_text('{"text": "the second"}')
    (tmp_path / "notes.md").write_text("no video")
    return tmp_path


def test_a_folder_lists_videos_with_their_captions(folder):
    a, b = listing(folder)
    assert a == Entry(str(folder / "a.mp4"), "the first")
    assert b == Entry(str(folder / "deep" / "b.mkv"), "the second")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_manifests_state_segments_and_captions(folder, suffix):
    rows = [
        {"path": "deep/b.mkv", "caption": "later", "start": 1.0, "end": 2.0},
        {"path": "deep/b.mkv", "caption": "sooner", "start": 0.25, "end": None},
    ]
    path = folder / f"list{suffix}"
    if suffix == ".csv":
        path.write_text("path,caption,start,end\ndeep/b.mkv,later,1.0,2.0\ndeep/b.mkv,sooner,0.25,\n")
    elif suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    else:
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
    film_path = str(folder / "deep" / "b.mkv")
    assert listing(path) == [Entry(film_path, "sooner", 0.25, None), Entry(film_path, "later", 1.0, 2.0)]


def test_a_tar_is_read_in_place(folder):
    with tarfile.open(folder / "shard.tar", "w") as tar:
        for name in ("a.mp4", "a.txt", "deep/b.mkv", "deep/b.json"):
            tar.add(folder / name, name)
    a, b = listing(folder / "shard.tar")
    assert (a.caption, b.caption) == ("the first", "the second")
    assert a.path == f"{folder / 'shard.tar'}::a.mp4"
    assert open_video(b.path).read() == (folder / "deep" / "b.mkv").read_bytes()
    assert probe(b.path) == probe(str(folder / "deep" / "b.mkv"))
    assert numbers(read_clip(b.path, 1.0, 5, 8.0)) == [8, 9, 10, 11, 12]
    with pytest.raises(FileNotFoundError, match="no member"):
        open_video(a.path.replace("a.mp4", "c.mp4"))


def test_images_are_listed_except_a_videos_poster(folder):
    from PIL import Image

    for name in ("a.png", "picture.png"):
        Image.new("RGB", (48, 32), (90, 0, 0)).save(folder / name)
    paths = [entry.path for entry in listing(folder)]
    assert str(folder / "picture.png") in paths
    assert str(folder / "a.png") not in paths
    facts = probe(str(folder / "picture.png"))
    assert facts.still
    assert (facts.height, facts.width) == (32, 48)
    assert read_clip(str(folder / "picture.png"), 0, 1, 8.0, (16, 16)).shape == (1, 16, 16, 3)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
@pytest.mark.parametrize("in_tar", [False, True])
def test_animations_are_listed_as_videos(tmp_path, suffix, in_tar):
    from PIL import Image

    frames = [Image.new("RGB", (48, 32), (level(i),) * 3) for i in range(12)]
    lossless = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], duration=120, loop=0, **lossless)
    frames[0].save(tmp_path / f"still{suffix}")
    if in_tar:
        with tarfile.open(tmp_path / "s.tar", "w") as tar:
            for name in ("a", "still"):
                tar.add(tmp_path / f"{name}{suffix}", f"{name}{suffix}")
    moving, still = listing(tmp_path / "s.tar" if in_tar else tmp_path)
    facts = probe(moving.path)
    assert not facts.still
    assert facts.seconds == pytest.approx(1.44, abs=0.01)
    assert numbers(read_clip(moving.path, 0.36, 5, 1000 / 120)) == [3, 4, 5, 6, 7]
    assert probe(still.path).still
    assert read_clip(still.path, 0, 1, 8.0).shape == (1, 32, 48, 3)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.csv", "file_name,caption\n,x\n", "line 2: no path"),
        ("l.csv", "path,start\na.mp4,soon\n", "line 2: start 'soon' is not a number"),
        ("l.jsonl", '{"path": "a.mp4", "start": 3, "end": 2}\n', "start 3.0 and end 2.0 .* are no interval"),
        ("l.jsonl", "{path}\n", "line 1 is no JSON"),
        ("l.tar", "no tar", "no uncompressed tar"),
        ("l.xyz", "", "neither folder nor"),
    ],
)
def test_a_wrong_manifest_names_its_line(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=said):
        listing(tmp_path / name)


def test_an_empty_or_missing_folder_names_the_suffixes_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no video"):
        listing(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        listing(tmp_path / "gone")
