"""Captions are found where a person, or another program, has put them; files that are no videos are counted."""

import os
import tarfile

import pytest

from sorajax.data.videos.listing import check_captions, listing, open_video
from tests.data.videos.listed import captions, touch


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "hello"),
        ("a.caption", "hello"),
        ("a.mp4.txt", "hello\n"),
        ("A.TXT", "hello"),
        ("a.Mp4.Txt", "hello"),
        ("a.json", '{"Caption": "hello"}'),
        ("a.mp4.json", '{"prompt": "hello", "seed": 3}'),
        ("a.json", '["hello"]'),
        ("metadata.csv", "File_Name,Caption\na.mp4,hello\n"),
        ("metadata.jsonl", '{"file_name": "a.mp4", "text": "hello"}'),
        ("../metadata.csv", "path,caption\nvideos/a.mp4,hello\n"),
        ("../metadata.jsonl", '{"video": "videos/a.mp4", "captions": ["hello", "hi"]}'),
    ],
)
def test_captions_are_read_from_every_usual_place(tmp_path, name, content):
    folder = tmp_path / "videos"
    touch(folder, "a.mp4")
    (folder / name).write_text(content)
    assert captions(folder) == {"a.mp4": "hello"}


def test_the_nearest_caption_wins_and_unrelated_tables_are_ignored(tmp_path):
    touch(tmp_path / "v", "a.mp4", "A.mov", "b.mp4")
    for name, text in (("a.txt", "small"), ("A.txt", "large"), ("b.txt", " "), ("b.json", '{"text": "b"}')):
        (tmp_path / "v" / name).write_text(text)
    (tmp_path / "metadata.csv").write_text("id,licence\n3,free\n")
    assert captions(tmp_path / "v") == {"a.mp4": "small", "A.mov": "large", "b.mp4": "b"}


def test_a_metadata_file_in_a_folder_below_is_read(tmp_path):
    touch(tmp_path, "train/a.mp4", "train/b.mp4", "test/c.mp4")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text\na.mp4,first\n")
    (tmp_path / "test" / "c.txt").write_text("third")
    said = []
    assert captions(tmp_path, said.append) == {"a.mp4": "first", "c.mp4": "third"}
    assert "1 videos that" in said[0]
    assert "metadata.csv does not name" in said[0]


def test_videos_without_a_caption_are_counted_and_none_at_all_is_refused(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    with pytest.raises(ValueError, match=r"none of 3 videos has a caption.*STEM\.txt"):
        check_captions(listing(tmp_path), tmp_path)
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "c.json").write_text('{"caption": "cut')
    said = []
    check_captions(listing(tmp_path, said.append), tmp_path)
    assert said[0].startswith(f"{tmp_path}: c.json is no JSON")
    assert said[1] == f"{tmp_path}: 2 of 3 videos have no caption"


def test_hidden_files_are_skipped_and_all_video_suffixes_are_read(tmp_path):
    films = ("a.mp4", "b.MTS", "c.m2ts", "d.mpg", "e.mpeg", "f.ts", "g.wmv", "h.3gp", "i.flv", "j.ogv", "deep/k.webm")
    touch(tmp_path, *films, "._a.mp4", ".cache/x.mp4", "deep/.trash/y.mp4", "z.docx", "y.docx", "a.png", "README")
    said = []
    assert sorted(captions(tmp_path, said.append)) == sorted(os.path.basename(name) for name in films)
    left = "3 hidden files or folders, 2 files .docx, 1 pictures of a film's name, 1 files without suffix"
    assert sorted(said[0].partition("left out are ")[2].split(", ")) == sorted(left.split(", "))


def test_linked_folders_are_read_once(tmp_path):
    touch(tmp_path / "videos" / "own", "a.mp4")
    touch(tmp_path / "elsewhere" / "more", "b.mp4")
    (tmp_path / "videos" / "aaa").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "videos" / "again").symlink_to(tmp_path / "videos" / "own")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "videos")
    (tmp_path / "videos" / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    said = []
    paths = [os.path.relpath(entry.path, tmp_path / "videos") for entry in listing(tmp_path / "videos", said.append)]
    assert paths == ["aaa/more/b.mp4", "own/a.mp4"]
    assert "1 links to nowhere" in said[0]


def test_a_video_name_may_contain_two_colons(tmp_path):
    (tmp_path / "a::b.mp4").write_bytes(b"film")
    (tmp_path / "x::y").mkdir()
    with tarfile.open(tmp_path / "x::y" / "s.tar", "w") as tar:
        tar.add(tmp_path / "a::b.mp4", "in::side.mp4")
    (tmp_path / "list.csv").write_text("path,caption\na::b.mp4,one\nx::y/s.tar::in::side.mp4,two\n")
    for source in (tmp_path, tmp_path / "list.csv"):
        entries = listing(source)
        assert len(entries) == 2
        for entry in entries:
            with open_video(entry.path) as file:
                assert file.read() == b"film"
