"""The studio's page is small, loads nothing from other hosts, and is served with a strict policy."""

import re

from sorajax.server.options import ServeOptions
from sorajax.server.studio.page import FOLDER
from sorajax.tasks.table import TASKS
from tests.server.conftest import running

MOST_BYTES = 300_000
SCRIPTS = sorted(FOLDER.rglob("*.js"))


def test_the_page_is_served_with_a_strict_policy(server):
    answer = server.http.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(
        policy.split("; ")
    )
    assert "unsafe" not in policy
    assert server.http.head("/").status_code == 200
    names = re.findall(r'(?:href|src)="([^"]+)"', answer.text)
    assert names
    for name in names:
        assert server.http.get(f"/{name}").status_code == 200


def test_files_are_asked_for_again_and_not_sent_again(server):
    first = server.http.get("/studio/app.js")
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
    assert server.http.get("/studio/app.js", headers={"if-none-match": first.headers["etag"]}).status_code == 304
    assert server.http.get("/studio/../page.py").status_code == 404
    assert server.http.get("/studio/%2e%2e/page.py").status_code == 404


def test_a_link_of_another_page_opens_the_studio_and_nothing_else(server):
    crossing = {"sec-fetch-site": "cross-site"}
    assert server.http.get("/", headers=crossing).status_code == 200
    for method, path in (("POST", "/"), ("GET", "/v1/studio"), ("GET", "/studio/app.js")):
        assert server.http.request(method, path, headers=crossing).status_code == 403


def test_an_allowed_origin_frames_the_studio_and_reaches_the_api(tmp_path):
    with running(ServeOptions(data=tmp_path, allow_origin=("https://notebook.example.org",))) as one:
        policy = one.http.get("/").headers["content-security-policy"]
        assert policy.endswith("frame-ancestors https://notebook.example.org")
        for origin, status in (("https://notebook.example.org", 200), ("https://other.example.org", 403)):
            assert one.http.get("/v1/videos", headers={"origin": origin}).status_code == status
        assert "frame-ancestors 'none'" in one.http.get("/v1/videos").headers["content-security-policy"]


def test_the_page_is_light_and_asks_no_other_host():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    for path in files:
        found = re.findall(r"https?://[^\s\"'`)]+", path.read_text())
        assert set(found) <= {"http://www.w3.org/2000/svg"}, path


def test_no_script_reads_text_as_markup():
    for path in SCRIPTS:
        words = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", path.read_text()
        )
        assert not words, path


def test_every_text_is_in_the_file_of_texts_and_used():
    texts = set(re.findall(r'^  "?([\w.]+)"?:', (FOLDER / "texts" / "en.js").read_text(), re.MULTILINE))
    source = "\n".join(path.read_text() for path in SCRIPTS if path.parent.name != "texts")
    named = set(re.findall(r'\b(?:t|maybe)\("([\w.]+)"', source))
    assert named - texts == set()
    templates = [
        re.sub(r"\$\{.*?\}", ".+", name.replace(".", r"\.")) for name in re.findall(r"`([\w.$ {}|\"]+)`", source)
    ]
    for name in texts:
        assert f'"{name}"' in source or any(re.fullmatch(one, name) for one in templates), f"{name} is not used"
    for task in TASKS:
        assert f"task.{task}" in texts
