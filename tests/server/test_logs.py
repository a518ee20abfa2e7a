"""Logs are one JSON object a line, with prompts only when the operator asks for them."""

import json
import logging

import pytest

from sorajax.server import logs
from tests.server.conftest import PROMPT


@pytest.mark.parametrize("asked", [False, True])
def test_prompts_are_logged_only_when_the_operator_asks(capfd, monkeypatch, asked):
    monkeypatch.setattr(logs, "SETTINGS", {"prompts": asked, "quiet": False})
    logs.log("job started", job="video_1", prompt=PROMPT)
    line = json.loads(capfd.readouterr().err)
    assert (line["job"], line.get("prompt")) == ("video_1", PROMPT if asked else None)


def test_lines_of_libraries_are_json_too(capfd, monkeypatch):
    monkeypatch.setattr(logs, "SETTINGS", {"prompts": False, "quiet": False})
    record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "%s is slow", ("it",), None)
    logs.LibraryLines().emit(record)
    line = json.loads(capfd.readouterr().err)
    assert (line["event"], line["level"], line["library"], line["message"]) == (
        "library",
        "warning",
        "uvicorn.error",
        "it is slow",
    )
