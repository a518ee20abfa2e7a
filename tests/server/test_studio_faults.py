"""What goes wrong under the studio's page, in a browser: it says so, and nothing is lost. And how it is for all: screen
readers, keyboards, phones, and galleries of a thousand clips."""

import socket
import time

import pytest
from sqlalchemy import insert, select

from sorajax.server.database import VIDEOS, now
from sorajax.server.options import ServeOptions
from sorajax.server.studio.page import FOLDER
from tests.server.browser import PROMPT, browser, engine_of, page, studio, until, visit, world
from tests.server.conftest import running
from tests.server.test_kill import Program
from tests.server.test_studio_flows import drop

__all__ = ["browser", "page", "studio", "world"]
pytestmark = pytest.mark.slow
MANY = 1000
# A browser that is busy tells several crossings of one element at once, and late.
LATE = """
  const Now = window.IntersectionObserver;
  window.IntersectionObserver = class extends Now {
    constructor(told, options) {
      let waiting = [];
      super((entries, observer) => {
        if (!waiting.length) setTimeout(() => told(waiting.splice(0), observer), 100);
        waiting.push(...entries);
      }, options);
    }
  };
"""
VIEWS = (
    "",
    "#/gallery",
    "#/board",
    "#/queue",
    "#/play",
    "#/video/{id}",
    "#/compare/{id}/{id}",
    "#/make?task=edit&inputs={id}",
)


@pytest.fixture(scope="module")
def clip(studio):
    return studio.finished(studio.http.post("/v1/videos", json={"prompt": PROMPT, "seed": 3, "steps": 4}))["id"]


@pytest.fixture
def waiting(world, tmp_path):
    """A server whose worker takes no jobs, and which lets two wait."""

    def still(service):
        service.jobs.claim = lambda *_: []
        return engine_of(world)(service)

    with running(ServeOptions(data=tmp_path, max_jobs=2), still) as one:
        yield one


def test_a_refused_request_is_told_beside_the_form(studio, page):
    visit(page, studio, "#/make?size=65x64")
    page.get_by_role("button", name="Make", exact=True).click()
    assert "prompt is empty" in page.get_by_role("alert").inner_text()
    page.get_by_label("Prompt").fill("nazi propaganda")
    page.get_by_role("button", name="Make", exact=True).click()
    until(page, "document.querySelector('[role=alert]').textContent.includes('hate')")
    page.get_by_label("Prompt").fill(PROMPT)
    page.get_by_role("button", name="Make", exact=True).click()
    page.get_by_text("width 65 is not allowed: the model makes multiples of 8, nearest 64 or 72").wait_for()
    assert page.get_by_label("Prompt").input_value() == PROMPT
    page.get_by_role("button", name="More").click()
    page.get_by_label("Steps").fill("5000")
    page.get_by_role("button", name="Make", exact=True).click()
    page.get_by_text("steps 5000 is not allowed").wait_for()
    assert page.evaluate("document.activeElement.dataset.name") == "steps"


def test_a_refused_play_is_told_beside_the_form(studio, page):
    visit(page, studio, "#/play?prompt=a+red+cat&world=true")
    page.get_by_role("button", name="Begin").click()
    until(page, "document.querySelector('[role=alert]').innerText.includes('names no object')")
    page.get_by_text("Say what you want to steer, and begin.").wait_for()
    assert page.get_by_role("button", name="Keep as clip").is_disabled()
    page.get_by_label("Prompt").fill("a red ball")
    page.get_by_role("button", name="Begin").click()
    page.wait_for_selector(".play-rate[data-frames]", timeout=120_000)
    assert page.get_by_role("alert").count() == 0


def test_a_full_queue_takes_what_fits(waiting, page):
    visit(page, waiting)
    page.get_by_label("Prompt").fill(PROMPT)
    page.get_by_label("Variations").select_option("3")
    page.get_by_role("button", name="Make", exact=True).click()
    page.get_by_text("2 of 3 are queued. 2 jobs of this key are unfinished: wait, 2 are allowed").wait_for()
    assert page.locator(".job").count() == 2


def test_a_file_that_cannot_be_read_is_told_at_its_place(studio, page):
    visit(page, studio, "#/make?task=extend")
    for data, said in ((b"no clip" * 20, "the file is no picture or clip"), (b"\0\0\0\x18ftypmp42" + bytes(90), "")):
        drop(page, ".slot", data, "bad.mp4", "video/mp4")
        page.wait_for_selector(".slot [role=alert]:not([hidden])")
        assert said in page.locator(".slot [role=alert]").inner_text()
    page.get_by_label("Prompt").fill(PROMPT)
    page.get_by_role("button", name="Make", exact=True).click()
    page.get_by_text("Choose the pictures or clips first.").wait_for()


def test_without_a_network_the_form_is_kept_and_sent_later(waiting, page):
    visit(page, waiting)
    page.get_by_label("Prompt").fill(PROMPT)
    page.context.set_offline(True)
    page.get_by_role("button", name="Make", exact=True).click()
    page.get_by_role("alert").get_by_text("The server does not answer").wait_for()
    page.locator(".banner:not([hidden])").wait_for()
    page.context.set_offline(False)
    page.locator(".banner").wait_for(state="hidden")
    page.get_by_role("button", name="Make", exact=True).click()
    page.locator(".job").wait_for()
    assert len(waiting.http.get("/v1/videos").json()["data"]) == 1


def test_a_server_that_is_killed_comes_back_under_the_page(page, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    try:
        program = Program("sorajax.serve", tmp_path, "--port", port)
        page.goto(program.address)
        page.get_by_label("Prompt").fill(PROMPT, timeout=300_000)
        page.get_by_label("Length").select_option(label="8 s")
        page.get_by_role("button", name="More").click()
        page.get_by_label("Steps").fill("4")
        page.get_by_role("button", name="Make", exact=True).click()
        page.wait_for_selector(".job .preview img", timeout=240_000)
        program.kill()
        page.locator(".banner:not([hidden])").wait_for()
        assert page.get_by_label("Prompt").input_value() == PROMPT
        program = Program("sorajax.serve", tmp_path, "--port", port)
        page.locator(".banner").wait_for(state="hidden", timeout=300_000)
        page.locator(".recent .card").wait_for(timeout=300_000)
        assert page.locator(".job").count() == 0
        (video,) = program.http.get("/v1/videos").json()["data"]
        assert (video["status"], video["prompt"]) == ("completed", PROMPT)
    finally:
        Program.close()


def test_a_page_that_is_closed_loses_nothing(studio, page, clip):
    visit(page, studio)
    page.get_by_label("Prompt").fill("half a thou")
    page.get_by_label("Size").select_option("96x64")
    until(page, "location.hash.includes('96x64')")
    again = page.context.new_page()
    page.close()
    again.goto(f"{studio.address}/")
    again.wait_for_selector("h1")
    assert again.get_by_label("Prompt").input_value() == "half a thou"
    assert again.get_by_label("Size").input_value() == "96x64"
    again.goto(f"{studio.address}/#/video/{clip}")
    again.get_by_role("button", name="Extend").click()
    again.get_by_role("group", name="Clip", exact=True).wait_for()
    again.go_back()
    again.get_by_role("button", name="Remix").wait_for()


def test_prompts_are_shown_as_text(waiting, page):
    text = "<img src=x onerror=alert(1)><b>bold</b>"
    waiting.http.post("/v1/videos", json={"prompt": text})
    visit(page, waiting, "#/queue")
    assert page.locator(".job-prompt").inner_text() == text
    assert page.locator(".job-prompt *").count() == 0


def test_the_queue_is_sorted_changed_and_emptied(waiting, page):
    names = [waiting.http.post("/v1/videos", json={"prompt": f"{PROMPT} {n}"}).json()["id"] for n in range(2)]
    visit(page, waiting, "#/queue")
    page.get_by_role("button", name=f"Move: {PROMPT} 1").press("ArrowUp")
    wait_for(lambda: order(waiting) == names[::-1])
    box = page.locator(".queue-row").nth(1).locator(".grip").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 5, box["y"] - 100, steps=5)
    page.mouse.up()
    wait_for(lambda: order(waiting) == names)
    page.locator(".queue-row").first.get_by_role("button", name="Cancel").click()
    wait_for(lambda: order(waiting) == names[1:])
    page.get_by_role("button", name="Try again").click()
    wait_for(lambda: sorted(order(waiting)) == sorted(names))
    waiting.http.post(f"/v1/videos/{names[0]}/cancel")
    until(page, "document.querySelectorAll('.queue-row').length === 1")
    page.locator(".queue-row").get_by_role("button", name="Change").click()
    page.get_by_label("Prompt").fill("another prompt")
    page.get_by_role("button", name="Replace").click()
    page.get_by_text("The video in the queue was replaced.").wait_for()
    (left,) = waiting.http.get("/v1/queue").json()["data"]
    assert left["prompt"] == "another prompt"


def order(server):
    return [entry["id"] for entry in server.http.get("/v1/queue").json()["data"]]


def wait_for(condition):
    end = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_deleting_is_undone_or_done(studio, page, clip):
    name = studio.finished(studio.http.post("/v1/videos", json={"prompt": "one to delete", "steps": 4}))["id"]
    visit(page, studio, "#/gallery")
    card = page.locator(f".card[data-id={name}]")
    for _ in range(2):
        card.locator(".card-open").focus()
        page.keyboard.press("Delete")
        card.wait_for(state="detached")
        page.get_by_role("button", name="Undo").click()
        card.wait_for()
    card.locator(".card-open").focus()
    page.keyboard.press("Delete")
    card.wait_for(state="detached")
    visit(page, studio, "#/gallery")  # leaving the page finishes it
    wait_for(lambda: studio.http.get(f"/v1/videos/{name}").status_code == 404)
    assert studio.http.get(f"/v1/videos/{clip}").status_code == 200


def test_favourites_and_search(studio, page, clip):
    visit(page, studio, "#/gallery")
    page.locator(f".card[data-id={clip}] .card-open").focus()
    page.keyboard.press("f")
    wait_for(lambda: clip in studio.http.get("/v1/favourites").json()["data"])
    page.get_by_role("button", name="Favourites", exact=True).click()
    until(page, "document.querySelectorAll('.card').length === 1")
    page.keyboard.press("Tab")
    page.get_by_label("Search prompts").fill("nothing like this")
    page.get_by_text("Nothing found").wait_for()
    assert "q=nothing" in page.url


@pytest.mark.parametrize("size", [(1280, 900), (390, 844)], ids=["desktop", "phone"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(studio, browser, clip, size, theme):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    one = context.new_page()
    for address in VIEWS:
        visit(one, studio, address.format(id=clip))
        one.wait_for_timeout(700)
        found = Axe().run(one).response["violations"]
        serious = [
            (rule["id"], [node["html"][:160] for node in rule["nodes"][:3]])
            for rule in found
            if rule["impact"] in ("serious", "critical")
        ]
        assert not serious, f"{address}: {serious}"
        wide = one.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{address} is {wide} pixels too wide"
    context.close()


def test_the_first_view_is_quick_and_light(studio, page):
    visit(page, studio)
    weight = page.evaluate(
        "performance.getEntriesByType('resource').filter(one => one.name.includes('/studio/'))"
        ".reduce((sum, one) => sum + one.decodedBodySize, 0)"
    )
    assert weight < 300_000
    assert weight > 0.5 * sum(path.stat().st_size for path in FOLDER.rglob("*.js"))
    seconds = []
    for _ in range(4):  # the machine may be busy
        visit(page, studio)
        seconds.append(page.evaluate("performance.getEntriesByName('shown')[0].startTime") / 1000)
    assert min(seconds) < 1, seconds


@pytest.fixture
def many(studio, clip):
    """A thousand more clips."""
    with studio.service.database.begin() as connection:
        row = dict(connection.execute(select(VIDEOS).where(VIDEOS.c.id == clip)).mappings().one())
        del row["number"]
        rows = [{**row, "id": f"video_many{n}", "prompt": f"number {n}", "created_at": now()} for n in range(MANY)]
        connection.execute(insert(VIDEOS), rows)
    yield
    with studio.service.database.begin() as connection:
        connection.execute(VIDEOS.delete().where(VIDEOS.c.id.like("video_many%")))


@pytest.mark.parametrize("address", ["#/gallery", "#/gallery?q=number+7"])
def test_a_listing_that_fails_is_asked_for_again_after_a_pause(studio, page, many, address):
    failed = []

    def fail(route):
        failed.append(route.request.url)
        route.abort()

    page.route("**/v1/videos?*after=*", fail)
    visit(page, studio, address)
    while not failed:
        page.mouse.wheel(0, 2500)
        page.wait_for_timeout(60)
    page.wait_for_timeout(1000)
    assert len(failed) == 1
    page.unroute("**/v1/videos?*after=*")
    shown = page.locator(".gallery .card").count()
    page.mouse.wheel(0, 100_000)
    until(page, f"document.querySelectorAll('.gallery .card').length > {shown}")


def test_a_thousand_clips_scroll_without_jumping(studio, page, many):
    page.add_init_script(LATE)
    visit(page, studio, "#/gallery")
    page.evaluate(
        "window.shift = 0; new PerformanceObserver(list => list.getEntries().forEach(one => window.shift += one.value))"
        ".observe({ type: 'layout-shift', buffered: false })"
    )
    last = -1
    end = time.monotonic() + 60
    while (shown := page.locator(".gallery .card").count()) < MANY and time.monotonic() < end:
        page.mouse.wheel(0, 2500)
        page.wait_for_timeout(60)
        assert shown >= last
        last = shown
    assert shown >= MANY
    assert page.evaluate("window.shift") < 0.1
    page.get_by_label("Search prompts").fill("number 7 ")
    until(page, "document.querySelectorAll('.gallery .card').length < 300")
