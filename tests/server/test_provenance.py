"""Files are checked by the published client's call."""

import pytest
from openai import BadRequestError

from sorajax.media.video import Video
from sorajax.safety.finishing import Safety
from tests.server.conftest import PROMPT

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


def test_a_given_clip_is_an_ingredient(server, client, clip, tmp_path):
    signed = Video.load(clip)
    path = Video(signed.frames, signed.fps, {}, Safety()).save(tmp_path / "signed.mp4")
    with path.open("rb") as file:
        answer = server.http.post("/v1/videos/edits", data={"prompt": "a blue ball"}, files={"video": file})
    made = server.finished(answer)
    out = tmp_path / "edited.mp4"
    out.write_bytes(client.videos.download_content(made["id"]).read())
    assert "It was made from" in client.content_provenance_checks.create(file=out).summary
