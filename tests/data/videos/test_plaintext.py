"""Captions and file names in the text encodings of any system are read."""

import ast
import io
import json
import os
import subprocess
import sys

import pytest

from sorajax.data.videos.clips import is_held_out
from sorajax.data.videos.listing import listing, open_video, path_within
from sorajax.data.videos.plaintext import decode_text
from sorajax.devices.distributed import print_any_name
from tests.data.videos.films import film
from tests.data.videos.listed import LETTERS, captions, touch


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
