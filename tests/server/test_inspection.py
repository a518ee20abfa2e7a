"""A file is inspected in a process of its own; what that cannot read or end in time is named."""

import json
import subprocess
from types import SimpleNamespace

import pytest

from sorajax.errors import BadRequest
from sorajax.server import inspection
from sorajax.server.decoding import Limits

PNG = b"\x89PNG\r\n\x1a\n and more"


def test_the_report_is_that_of_the_process_which_gets_the_key(monkeypatch):
    def run(command, input, timeout, **_):
        *_, path, seconds, memory = command
        assert path.endswith("file.png")
        assert (input, json.loads(seconds), json.loads(memory)) == ("mine", 5, 7)
        assert timeout > 5
        return SimpleNamespace(stdout='a line of a library\n{"state": "sound"}\n')

    monkeypatch.setattr(inspection.subprocess, "run", run)
    assert inspection.inspected(PNG, Limits(memory=7, processor_seconds=5), "mine") == {"state": "sound"}


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ('{"state": "unreadable"}', "cannot be read: it is damaged, or of another format"),
        ("", "takes too much memory or time to read, or is damaged"),
        (subprocess.TimeoutExpired("x", 1), "takes too much memory or time to read, or is damaged"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_named(answer, line, monkeypatch):
    def run(*_, **more):
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(stdout=answer)

    monkeypatch.setattr(inspection.subprocess, "run", run)
    with pytest.raises(BadRequest, match=line):
        inspection.inspected(PNG, Limits(), "")


def test_a_file_of_another_format_starts_no_process(monkeypatch):
    monkeypatch.setattr(inspection.subprocess, "run", lambda *_, **more: pytest.fail("a process was started"))
    with pytest.raises(BadRequest, match="is no picture or clip"):
        inspection.inspected(b"#EXTM3U", Limits(), "")
