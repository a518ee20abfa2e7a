"""Previews are shown as long as their videos are sampled."""

from sorajax.server.studio.previews import Previews
from tests.server.conftest import PROMPT


def test_a_preview_is_shown_while_its_video_is_sampled(idle):
    name = idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()["id"]
    assert idle.http.get(f"/v1/videos/{name}/preview").status_code == 404
    previews = Previews(idle.service.database)
    assert previews.due
    with previews.during([name]):
        previews.put([name], [b"one"])
        assert not previews.due
        previews.put([name], [b"two"])
        answer = idle.http.get(f"/v1/videos/{name}/preview")
        assert (answer.content, answer.headers["content-type"]) == (b"two", "image/webp")
    assert idle.http.get(f"/v1/videos/{name}/preview").status_code == 404
