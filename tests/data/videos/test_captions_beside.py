"""Captions are found where a person, or another program, has put them; files that are no videos are counted."""

import ast
import io
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from sorajax.data.videos.clips import is_held_out
from sorajax.data.videos.listing import check_captions, listing, open_video, path_within
from sorajax.data.videos.plaintext import decode_text
from sorajax.devices.distributed import print_any_name
from tests.data.videos.films import film

LETTERS = "ein grüner Ball — 球"


def captions(source, say=lambda line: None):
    return {os.path.basename(entry.path): entry.caption for entry in listing(source, say)}


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


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


def test_tar_members_with_two_dots_have_captions(tmp_path):
    texts = {
        "01.video.mp4": "",
        "01.caption.txt": "one",
        "x/sample.2.mp4": "",
        "x/sample.2.txt": "two",
        "x/sample.3.mp4": "",
        "04.mp4": "",
        "04.mp4.txt": "four",
        "05.low.mp4": "",
        "05.meta.json": '{"text": "5"}',
        "._01.video.mp4": "",
        "__MACOSX/._04.mp4": "",
    }
    for name, text in texts.items():
        touch(tmp_path / "in", name)
        (tmp_path / "in" / name).write_text(text)
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name in texts:
            tar.add(tmp_path / "in" / name, name)
    found = {entry.path.partition("::")[2]: entry.caption for entry in listing(tmp_path / "shard.tar")}
    assert found == {
        "01.video.mp4": "one",
        "x/sample.2.mp4": "two",
        "x/sample.3.mp4": "",
        "04.mp4": "four",
        "05.low.mp4": "5",
    }


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32"])
def test_captions_in_any_text_encoding_are_read(tmp_path, encoding):
    said = f"path;caption\r\na.mp4;{LETTERS}\r\n"
    touch(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_bytes(said.encode(encoding))
    assert captions(tmp_path / "list.csv") == {"a.mp4": LETTERS}
    (tmp_path / "a.txt").write_bytes(f"ball {LETTERS}\r\n".encode(encoding))
    assert captions(tmp_path) == {"a.mp4": f"ball {LETTERS}"}
    (tmp_path / "list.jsonl").write_bytes(json.dumps({"path": "a.mp4", "caption": LETTERS}).encode(encoding))
    assert captions(tmp_path / "list.jsonl") == {"a.mp4": LETTERS}


def test_one_latin1_line_leaves_the_others_unchanged():
    assert decode_text("grün\n".encode() + "grün\n".encode("latin-1") + "球".encode()) == "grün\ngrün\n球"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_manifests_may_have_any_separator_long_fields_and_empty_values(tmp_path, separator):
    rows = [
        ("Path", "Caption", "Start", "End"),
        ("a.mp4", "x" * 200_000, "", ""),
        ("b.mp4", '"two, and; more"', "nan", '"2,5"'),
        ("c.mp4", "NaN", "", ""),
    ]
    (tmp_path / "list.csv").write_text("\n".join(map(separator.join, rows)))
    a, b, c = listing(tmp_path / "list.csv")
    assert len(a.caption) == 200_000
    assert b.caption == "two, and; more"
    assert (c.caption, c.start, c.end) == ("", None, None)
    assert (b.start, b.end) == (None, 2.5)


def test_nan_is_no_caption_and_line_ends_are_spaces(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    table = {"path": ["a.mp4", "b.mp4"], "caption": [None, "b"], "start": [np.nan, 1.0], "end": [None, np.nan]}
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pydict(table), tmp_path / "list.parquet")
    a, b = listing(tmp_path / "list.parquet")
    assert (a.caption, a.start, a.end, b.start, b.end) == ("", None, None, 1.0, None)
    row = {"path": "a.mp4", "caption": "one\u2028two\u0085three"}
    (tmp_path / "list.jsonl").write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    assert captions(tmp_path / "list.jsonl") == {"a.mp4": "one\u2028two\u0085three"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name,caption\na.mp4,x\n", "has no column of paths: its columns are name, caption; name the column of files"),
        ("a.mp4,a red ball\nb.mp4,a blue one\n", "has no column of paths: its columns are a.mp4, a red ball; name"),
        ("path,caption\na.mp4,red, green\n", r"line 2 has 3 columns and the header 2.*quotation marks"),
        ('path,caption\na.mp4,x\nb.mp4,"open\nc.mp4,y\n', r"line 3 cannot be read .*quotation marks"),
    ],
)
def test_unreadable_text_is_named_with_file_and_line(tmp_path, content, said):
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(ValueError, match=said):
        listing(tmp_path / "list.csv")


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


def test_an_ascii_locale_reads_the_same_captions(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "a.txt").write_text(LETTERS, encoding="utf-8")
    (tmp_path / "b.json").write_text(json.dumps({"caption": LETTERS}, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "list.csv").write_text(f"path,caption\nc.mp4,{LETTERS}\n", encoding="utf-8")
    code = (
        "import sys; from sorajax.data.videos.listing import listing\n"
        "print(ascii([entry.caption for source in sys.argv[1:] for entry in listing(source)]))"
    )
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(tmp_path), str(tmp_path / "list.csv")]
    said = subprocess.run(command, env=ascii_only, capture_output=True, text=True, check=True).stdout
    assert ast.literal_eval(said) == [LETTERS, LETTERS, "", LETTERS]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_name_that_is_not_utf8_is_read_split_and_printed(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", 9)
    os.rename(path, os.fsencode(tmp_path) + b"/caf\xe9.mp4")
    (entry,) = listing(tmp_path)
    with open_video(entry.path) as file:
        assert file.read(12)[4:8] == b"ftyp"
    is_held_out(path_within(entry.path, tmp_path), 0.5)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    print_any_name()
    print(entry.path, LETTERS)
    sys.stdout.flush()
    assert b"caf\\udce9.mp4 ein gr\\xfcner Ball" in sys.stdout.buffer.getvalue()
