"""Whatever a pipeline makes is finished by its policy, whichever way it takes."""

import pytest

from sorajax import tasks
from sorajax.errors import Note, Refused
from sorajax.media.video import Video
from sorajax.safety.finishing import Safety
from sorajax.safety.policy import Policy
from sorajax.safety.provenance import read_manifest
from sorajax.sampling.loading import load
from sorajax.sampling.request import Request, StoryboardScene


@pytest.fixture(scope="module")
def pipeline(tiny_model):
    return load(tiny_model, policy=Policy())


def ingredients(video, folder):
    """Titles and relationships of the ingredients of a video's file."""
    store = read_manifest(video.save(folder / "out.mp4", overwrite=True))
    assert store["validation_state"] == "Valid"
    found = store["manifests"][store["active_manifest"]].get("ingredients", [])
    return [(one["title"], one["relationship"]) for one in found]


def test_a_prompt_has_no_ingredient(pipeline, tmp_path):
    assert ingredients(pipeline("a red ball", frames=5)[0], tmp_path) == []


def test_tasks_name_what_they_were_given(pipeline, tmp_path):
    pipeline("a red ball", frames=1)[0].save(tmp_path / "still.png")
    pipeline("a red ball", frames=5)[0].save(tmp_path / "clip.mp4")
    still, clip = Video.load(tmp_path / "still.png"), Video.load(tmp_path / "clip.mp4")
    one = Request(("a red ball",), frames=5)
    assert ingredients(next(tasks.animate(pipeline, one, still)), tmp_path) == [("still.png", "inputTo")]
    assert ingredients(next(tasks.extend(pipeline, one, clip, "forward")), tmp_path) == [("clip.mp4", "parentOf")]
    scenes = (StoryboardScene("a red ball", 0.5), StoryboardScene("a box", 0.5, image=tmp_path / "still.png"))
    board = next(tasks.storyboard(pipeline, Request(("a red ball",)), scenes))
    assert ingredients(board, tmp_path) == [("still.png", "inputTo")]


def test_the_policy_of_a_pipeline_can_be_named(tiny_model, tmp_path):
    video = load(tiny_model, policy=Policy(provenance=False))("a red ball", frames=1)[0]
    assert read_manifest(video.save(tmp_path / "still.png")) is None


def test_every_prompt_is_checked(pipeline, tmp_path):
    bad, one = "nazi propaganda", Request(("a red ball",), frames=5)
    scenes = (StoryboardScene("a red ball", 0.5), StoryboardScene(bad, 0.5))
    clip = Video(pipeline("a red ball", frames=5)[0].frames, 8.0, {"title": bad})
    for work in (
        lambda: pipeline(bad),
        lambda: pipeline(["a red ball", bad]),
        lambda: pipeline("a red ball", negative=bad),
        lambda: next(tasks.storyboard(pipeline, Request(("a red ball",)), scenes)),
        lambda: next(tasks.edit(pipeline, Request((bad,)), clip, 0.5)),
        lambda: next(tasks.extend(pipeline, one, clip)),
    ):
        with pytest.raises(Refused, match="hate"):
            work()


def test_a_format_without_a_place_for_a_manifest_is_not_signed(tmp_path):
    path = tmp_path / "clip.other"
    path.write_bytes(b"encoded")
    with pytest.warns(Note, match="have no place for a manifest: this one is not signed"):
        Safety(Policy()).file(path, ".other", {})
    assert path.read_bytes() == b"encoded"
