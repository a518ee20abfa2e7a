"""Tar members with their captions are read."""

import tarfile

from sorajax.data.videos.listing import listing
from tests.data.videos.listed import touch


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
