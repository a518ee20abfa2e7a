"""The examples of docs/server.md run, against a server; the files to launch it are parsed."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml

from sorajax.commands.serve import parse
from sorajax.media.video import Video
from sorajax.server.fields import Create
from sorajax.server.videos import router
from tests import ROOT

PAGE = (ROOT / "docs" / "server.md").read_text()
LAUNCH = ROOT / "launch" / "serve"


def block(language, word):
    """The code block of a language that contains a word."""
    (found,) = [code for code in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if word in code]
    return found


def run(command, server, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_example_runs(server, tmp_path):
    code = block("bash", "curl").replace("http://127.0.0.1:8000", server.address)
    run(["bash", "-euc", code], server, tmp_path)
    assert len(Video.load(tmp_path / "video.mp4").frames) == 17


def test_the_client_example_runs(server, tmp_path):
    code = block("python", "OpenAI").replace("http://127.0.0.1:8000", server.address)
    out = run([sys.executable, "-W", "ignore", "-c", code], server, tmp_path)
    assert out.split() == ["4.125", "16x16", "completed"]
    assert len(Video.load(tmp_path / "ball.mp4").frames) == 33


def test_the_page_has_every_operation_and_field():
    for route in router.routes:
        path = re.sub(r"\{\w+\}", "{id}", route.path)
        assert path in PAGE, path
    fields = set(Create.model_fields) - {"characters", "guidance_scale_low", "guidance_scale_2"}
    assert not {name for name in fields if f"`{name}`" not in PAGE}


def commands_of(document):
    """The arguments of `sorajax.serve` in a document of YAML."""
    if isinstance(document, dict):
        found = [document[name] for name in ("command", "args") if isinstance(document.get(name), list)]
        return found + [command for value in document.values() for command in commands_of(value)]
    return [command for value in document for command in commands_of(value)] if isinstance(document, list) else []


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_launch_files_use_options_that_exist(name):
    documents = list(yaml.safe_load_all((LAUNCH / name).read_text()))
    commands = [command for document in documents for command in commands_of(document)]
    assert len(commands) >= 2
    for command in commands:
        assert parse([str(word) for word in command]).database


def test_the_dockerfile_starts_the_server():
    lines = (LAUNCH / "Dockerfile").read_text().splitlines()
    assert 'ENTRYPOINT ["python", "-m", "sorajax.serve"]' in lines
    assert [line for line in lines if line.startswith("USER ")], "it does not run as root"
