"""Favourites are a user's own, and end with their videos."""

from tests.server.conftest import PROMPT


def test_favourites_are_kept_until_they_are_taken_back(idle):
    names = [idle.http.post("/v1/videos", json={"prompt": PROMPT}).json()["id"] for _ in range(2)]
    for _ in range(2):
        assert idle.http.put(f"/v1/favourites/{names[0]}").status_code == 200
    idle.http.put(f"/v1/favourites/{names[1]}")
    assert idle.http.get("/v1/favourites").json()["data"] == names
    idle.http.delete(f"/v1/favourites/{names[0]}")
    idle.http.delete(f"/v1/videos/{names[1]}")
    assert idle.http.get("/v1/favourites").json()["data"] == []
    assert idle.http.put("/v1/favourites/video_none").status_code == 404
