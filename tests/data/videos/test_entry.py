"""The captions of a listing's entry."""

from sorajax.data.videos.entry import Entry, Written


def test_captions_are_those_that_are_there():
    assert Entry("a.mp4").captions == []
    assert Entry("a.mp4", "own", detailed="long").captions == ["own", "long"]


def test_one_written_caption_serves_as_both():
    assert Entry("a.mp4", "own").written is None
    assert Entry("a.mp4", short="s").written == Written("s", "s")
    assert Entry("a.mp4", short="s", detailed="d").written == Written("s", "d")
