"""Prompts that a chat server expands: both prompts are in the metadata, pictures are shown, bad answers are notes."""

import json
from pathlib import Path

import pytest

from sorajax.commands.sample import main
from sorajax.language.endpoint import KEY, EndpointError
from sorajax.language.remote_expander import FAMILIES, SHOWN
from sorajax.sampling.loading import load
from tests.language.chat_server import completion, failing
from tests.language.conftest import chat, endpoint, one_server  # noqa: F401
from tests.sampling.test_wording import LONG, prompted
from tests.tasks.inputs import clip

SECRET = "sk-a-secret-that-nobody-sees"


@pytest.fixture(scope="module")
def pipeline(tiny_model):
    return load(tiny_model)


@pytest.fixture
def sample(tiny_model, tmp_path, monkeypatch, chat):  # noqa: F811
    """Samples with these options; the answers are in the server."""
    monkeypatch.setattr("sorajax.language.endpoint.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    chat.usual = lambda body: prompted()
    elsewhere = ["--expand", "--endpoint", chat.url, "--expand-model", "writer"]
    usual = ["--model", str(tiny_model), "--steps", "1", *elsewhere]
    return lambda prompt, *more: main([*([prompt] if prompt else []), *usual, *more])


def metadata(name):
    return json.loads(Path(f"{name}.json").read_text())


def test_both_prompts_and_the_model_are_in_the_metadata(sample, chat, monkeypatch, capfd, tmp_path):  # noqa: F811
    monkeypatch.setenv(KEY, SECRET)
    assert sample("a red ball", "--out", "a.png", "--num", "2") == 0
    for name in ("a-1.png", "a-2.png"):
        found = metadata(name)
        assert (found["prompt"], found["original_prompt"], found["expand_model"]) == (LONG, "a red ball", "writer")
    assert len(chat.bodies) == 1
    system = chat.bodies[0]["messages"][0]["content"]
    assert FAMILIES["wan"] in system, "the model is not one of the bundled ones"
    printed = "".join(capfd.readouterr())
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [content for content in (printed.encode(), *files) if SECRET.encode() in content]


def test_the_picture_of_a_request_is_shown(sample, chat):  # noqa: F811
    clip(1).save("still.png")
    assert sample("a red ball", "--image", "still.png", "--out", "a.png") == 0
    system, user = chat.bodies[0]["messages"]
    assert SHOWN["picture"] in system["content"]
    assert len([part for part in user["content"] if part["type"] == "image_url"]) == 1
    assert metadata("a.png")["original_prompt"] == "a red ball"


@pytest.mark.slow
def test_each_scene_of_a_storyboard_is_expanded(sample, chat):  # noqa: F811
    clip(1).save("still.png")
    scenes = [{"prompt": "a red ball", "seconds": 0.5}, {"prompt": "a blue ball", "seconds": 0.5, "image": "still.png"}]
    Path("board.json").write_text(json.dumps(scenes))
    chat.usual = lambda body: prompted(body["messages"][1]["content"][-1]["text"].rpartition("\n")[2] + " bounces")
    assert sample("", "--storyboard", "board.json", "--out", "a.png") == 0
    found = metadata("a.png")
    assert [shot["prompt"] for shot in found["shots"]] == ["a red ball bounces", "a blue ball bounces"]
    assert found["original_prompt"] == "a red ball"
    assert sorted(len(body["messages"][1]["content"]) for body in chat.bodies) == [1, 2]  # asked in parallel


@pytest.mark.slow
def test_a_film_of_cuts_keeps_its_whole_prompt(sample, chat):  # noqa: F811
    chat.usual = lambda body: prompted("a red ball bounces. Cut to: a blue ball bounces")
    assert sample("a red ball. Cut to: a blue ball", "--frames", "13", "--out", "a.png") == 0
    assert metadata("a.png")["original_prompt"] == "a red ball. Cut to: a blue ball"


def test_a_prompt_that_stays_has_no_original(sample, chat, capfd):  # noqa: F811
    chat.usual = lambda body: completion("no")
    assert sample("a red ball", "--out", "a.png") == 0
    (note,) = capfd.readouterr().err.splitlines()
    assert note.startswith("note: the prompt 'a red ball' stays as it is: writer gave no usable answer in 4 tries")
    assert metadata("a.png")["prompt"] == "a red ball"
    assert "original_prompt" not in metadata("a.png")


def test_a_server_that_is_not_there_is_one_line_and_no_file(sample, tmp_path, capfd):
    assert sample("a red ball", "--endpoint", "http://127.0.0.1:9", "--out", "a.png") == 1
    error = capfd.readouterr().err
    assert "http://127.0.0.1:9/v1 cannot be reached" in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("a.png*"))


@pytest.mark.parametrize(
    "more",
    [
        ["--endpoint", "http://127.0.0.1:9"],
        ["--expand", "--expand-model", "m"],
        ["--endpoint", "x", "--expand-model", "m"],
    ],
)
def test_options_that_go_together_are_asked_for(more, capfd):
    assert main(["a red ball", *more]) == 2
    assert "--expand --endpoint URL --expand-model NAME: give all three" in capfd.readouterr().err


def test_from_python(pipeline, endpoint, chat):  # noqa: F811
    chat.usual = lambda body: prompted()
    text = pipeline.expand("a red ball", endpoint=endpoint)
    (video,) = pipeline(text, frames=5, steps=1)
    assert (video.metadata["prompt"], video.metadata["original_prompt"]) == (LONG, "a red ball")
    chat.replies = [failing(401)]
    with pytest.raises(EndpointError):
        pipeline.expand("a green ball", endpoint=endpoint)
