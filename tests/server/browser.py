"""The studio in Debian's Chromium, on a server with the model that comes with sorajax."""

import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from sorajax.media.video import Video
from sorajax.sampling.loading import load
from sorajax.server.engine import Engine
from sorajax.server.options import ServeOptions
from sorajax.server.studio.previews import Previews
from tests.server.conftest import running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SLOW = 240_000  # milliseconds for a clip, compilation included
QUICK = 15_000
PROMPT = "a red ball bounces on a grey floor"


def engine_of(pipeline):
    """Makes an engine that shows previews, for a service."""

    def engine(service):
        folder = service.options.data / "windows"
        return Engine(pipeline, service.content, folder, service.limits, Previews(service.database))

    return engine


@pytest.fixture(scope="session")
def world():
    return load()


@pytest.fixture(scope="module")
def browser():
    """Chromium; the tests are skipped where it is not installed. Playwright's event loop runs until it is closed, and a
    process can have one, so each file of tests closes its own."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as tools:
        one = tools.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield one
        one.close()


@pytest.fixture(scope="module")
def studio(world, tmp_path_factory):
    with running(ServeOptions(data=tmp_path_factory.mktemp("studio")), engine_of(world)) as one:
        yield one


@pytest.fixture
def page(browser):
    """A page whose scripts must not fail, and which asks no host but its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    one, wrong = context.new_page(), []
    one.set_default_timeout(QUICK)
    one.on("pageerror", lambda error: wrong.append(f"{error} {error.stack}"))
    one.on("console", lambda message: wrong.append(message.text) if "Content Security Policy" in message.text else None)
    hosts = set()
    one.on("request", lambda request: hosts.add(re.sub(r"^(\w+:(?://[^/:]*)?).*", r"\1", request.url)))
    yield one
    context.close()
    assert not wrong, wrong
    assert hosts <= {"http://127.0.0.1", "blob:http:", "blob:", "data:"}, hosts


def visit(page, server, address=""):
    """Opens an address of the studio, as if from outside."""
    page.goto("about:blank")
    page.goto(f"{server.address}/{address}")
    page.wait_for_selector("h1")


def until(page, expression):
    """Waits until an expression is true in the page. (Playwright's own waiting is forbidden by the page's policy.)"""
    end = time.monotonic() + QUICK / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"{expression} at {page.url}"
        time.sleep(0.05)


def make(page, name="Make"):
    """Asks for what the form says, and waits until it is made; returns the new videos' ids, the newest first."""
    before = {one["id"] for one in page.request.get(api(page, "v1/videos?limit=100")).json()["data"]}
    page.get_by_role("button", name=name, exact=True).click()
    page.wait_for_selector(".job:not(.failed)", timeout=QUICK)
    page.wait_for_selector(".job:not(.failed)", state="detached", timeout=SLOW)
    data = page.request.get(api(page, "v1/videos?limit=100")).json()["data"]
    new = [one for one in data if one["id"] not in before]
    assert new
    assert {one["status"] for one in new} == {"completed"}, [one["error"] for one in new]
    return [one["id"] for one in new]


def api(page, path):
    """An address of the API, for the page's server."""
    return re.sub(r"^(\w+://[^/]+/).*", r"\1", page.url) + path


def download(page, server, name, folder: Path, kind="mp4") -> Video:
    """Downloads a video from its page, and reads the file."""
    visit(page, server, f"#/video/{name}")
    with page.expect_download() as waiting:
        page.get_by_role("button", name=f"Download as {kind}").click()
    path = folder / f"{name}.{kind}"
    waiting.value.save_as(path)
    return Video.load(path)


def difference(one, two) -> float:
    """Mean absolute difference of frames, of 255."""
    return float(np.abs(one.astype(np.float32) - two.astype(np.float32)).mean())


def drag(page, selector, by):
    """Drags an element by so many pixels to the right."""
    box = page.locator(selector).bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by / 2, y, steps=3)
    page.mouse.move(x + by, y, steps=3)
    page.mouse.up()
