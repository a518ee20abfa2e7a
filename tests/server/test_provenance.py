"""Files are checked by the published client's call."""

import numpy as np
import pytest
from openai import BadRequestError

from sorajax.media.video import Video
from sorajax.safety.finishing import Safety
from sorajax.safety.policy import Policy
from sorajax.safety.provenance import read_manifest
from sorajax.sampling.loading import load
from sorajax.server.engine import Engine
from sorajax.server.options import ServeOptions
from sorajax.server.studio.previews import Previews
from tests.server.conftest import PROMPT, running

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def client(server):
    return server.client()


def test_a_video_of_the_server_is_found_sound(server, client, tmp_path):
    made = server.finished(server.http.post("/v1/videos", json={"prompt": PROMPT, "frames": 5}))
    path = tmp_path / "clip.mp4"
    path.write_bytes(client.videos.download_content(made["id"]).read())
    found = client.content_provenance_checks.create(file=path)
    (result,) = found.results
    assert (found.object, result.type, result.outcome) == ("content_provenance_check", "c2pa", "detected")
    assert (result.validation_state, result.issuer, result.model) == ("valid", "sorajax", made["model"])
    assert result.generated_at.endswith("Z")
    path.write_bytes(path.read_bytes() + b"more")
    changed = client.content_provenance_checks.create(file=path)
    assert (changed.results[0].outcome, changed.results[0].validation_state) == ("not_detected", "invalid")
    assert "not as it was signed" in changed.summary


def test_an_unmarked_file_and_one_that_cannot_be_read(client, clip):
    result = client.content_provenance_checks.create(file=clip).results[0]
    assert (result.outcome, result.validation_state) == ("not_detected", "not_present")
    with pytest.raises(BadRequestError, match="cannot be read") as found:
        client.content_provenance_checks.create(file=("clip.mp4", clip.read_bytes()[:300]))
    assert found.value.param == "file"


def test_the_picture_of_a_scene_is_an_ingredient_and_keeps_its_manifest(server, client, tmp_path):
    picture = Video(np.full((1, 16, 16, 3), 200, np.uint8), 8.0, {}, Safety()).save(tmp_path / "signed.png")
    with picture.open("rb") as file:
        name = server.http.post("/v1/files", files={"file": file}, data={"purpose": "vision"}).json()["id"]
    scene = {"prompt": PROMPT, "seconds": 0.5, "image": {"file_id": name}}
    made = server.finished(server.http.post("/v1/videos", json={"storyboard": [scene]}))
    assert made["status"] == "completed", made["error"]
    out = tmp_path / "film.mp4"
    out.write_bytes(client.videos.download_content(made["id"]).read())
    store = read_manifest(out)
    (ingredient,) = store["manifests"][store["active_manifest"]]["ingredients"]
    assert ingredient["relationship"] == "inputTo"
    assert ingredient["active_manifest"] in store["manifests"], "the picture's own manifest"


@pytest.fixture
def refusing(pipeline, tmp_path):
    """A server whose filter of frames refuses every video."""
    policy = Policy(classifier=lambda frames: np.ones(len(frames)), refusals=str(tmp_path / "refusals.jsonl"))
    options = ServeOptions(data=tmp_path / "serve")

    def engine(service):
        strict = load(pipeline.folder, policy=policy)
        windows = service.options.data / "windows"
        return Engine(strict, service.content, windows, service.limits, Previews(service.database))

    with running(options, engine) as one:
        yield one


def test_a_refused_video_leaves_no_file(refusing, tmp_path):
    for body in ({"prompt": PROMPT, "frames": 1}, {"prompt": PROMPT, "frames": 9}):
        video = refusing.finished(refusing.http.post("/v1/videos", json=body))
        assert (video["status"], video["error"]["code"]) == ("failed", "moderation_blocked")
        assert PROMPT not in video["error"]["message"]
        assert refusing.http.get(f"/v1/videos/{video['id']}/content").status_code == 409
        assert refusing.http.get(f"/v1/videos/{video['id']}/preview").status_code == 404
    data = tmp_path / "serve"
    left = [path for part in ("content", "windows") for path in (data / part).rglob("*") if path.is_file()]
    assert left == []
    log = (tmp_path / "refusals.jsonl").read_text()
    assert len(log.splitlines()) == 2
    assert PROMPT not in log


def test_a_given_clip_is_an_ingredient(server, client, clip, tmp_path):
    signed = Video.load(clip)
    path = Video(signed.frames, signed.fps, {}, Safety()).save(tmp_path / "signed.mp4")
    with path.open("rb") as file:
        answer = server.http.post("/v1/videos/edits", data={"prompt": "a blue ball"}, files={"video": file})
    made = server.finished(answer)
    out = tmp_path / "edited.mp4"
    out.write_bytes(client.videos.download_content(made["id"]).read())
    assert "It was made from" in client.content_provenance_checks.create(file=out).summary
