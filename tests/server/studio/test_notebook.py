"""`sorajax.studio()`: the page in a notebook's cell."""

import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

import sorajax
from sorajax.server.studio.notebook import reached_through
from tests.server.browser import browser

__all__ = ["browser"]


@pytest.fixture(scope="module")
def opened(tiny_model, tmp_path_factory):
    one = sorajax.studio(str(tiny_model), data=tmp_path_factory.mktemp("notebook"))
    yield one
    one.stop()


def test_a_cell_shows_the_page_and_the_model_samples(opened):
    assert sorajax.studio(data=opened.data) is opened, "a cell that runs again shows the same studio"
    (address,) = re.findall(r'<iframe src="([^"]+)"', opened._repr_html_())
    with httpx.Client(base_url=address, timeout=30, transport=httpx.HTTPTransport(retries=5)) as http:
        assert http.get("").status_code == 200
        while (answer := http.post("v1/videos", json={"prompt": "a red ball"})).status_code == 503:
            pass
        name = answer.json()["id"]
        while (video := http.get(f"v1/videos/{name}").json())["status"] in ("queued", "in_progress"):
            pass
        assert video["status"] == "completed"


@pytest.mark.slow
def test_another_process_does_not_serve_the_same_folder(opened):
    lines = ("from pathlib import Path", "from sorajax.server.studio.notebook import locked")
    code = "; ".join((*lines, f"locked(Path({str(opened.data)!r}))"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "BadRequest" in done.stderr
    assert "is served by another process" in done.stderr


def test_a_proxy_is_allowed_by_its_name():
    options = reached_through("https://8000-m-s-abc.us-west1-0.prod.colab.dev/")
    assert options["allow_host"] == ("8000-m-s-abc.us-west1-0.prod.colab.dev",)
    assert "https://8000-m-s-abc.us-west1-0.prod.colab.dev" in options["allow_origin"]
    assert "https://colab.research.google.com" in options["allow_origin"]


class Notebook(BaseHTTPRequestHandler):
    """A page of another origin, with the studio in a frame."""

    html = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(self.html)

    def log_message(self, *_):
        pass


@pytest.mark.slow
def test_the_frame_of_a_notebook_works_in_a_browser(opened, browser):
    Notebook.html = opened._repr_html_().encode()
    server = HTTPServer(("127.0.0.1", 0), Notebook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://localhost:{server.server_port}/")
    frame = page.frame_locator("iframe")
    frame.get_by_label("Prompt").fill("a red ball")
    frame.get_by_role("button", name="Make", exact=True).click()
    frame.locator(".recent .card").first.wait_for(timeout=60_000)
    page.close()
    server.shutdown()
