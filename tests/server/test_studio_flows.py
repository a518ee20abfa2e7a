"""Each way to make a clip in the studio, in a browser, on the model that comes with sorajax: the downloaded file is
what was asked for."""

import json

import numpy as np
import pytest

from sorajax.interactive.session import TrueWorld
from sorajax.media.video import Video
from tests.server.browser import PROMPT, browser, difference, download, drag, make, page, studio, until, visit, world

__all__ = ["browser", "page", "studio", "world"]
pytestmark = pytest.mark.slow
CODED = 4.0  # difference that coding as mp4, and a second time, makes
FPS = 8
STEPS = 4  # the same for most: another number is another program to compile
MOVED = 8.0  # difference of frames with different grounds


@pytest.fixture(scope="module")
def sources(studio):
    """Two finished clips, on a grey and on a navy ground: their ids, and their files' frames."""
    texts = (PROMPT, "a blue box slides on a navy floor")
    answers = [studio.http.post("/v1/videos", json={"prompt": text, "seed": 3, "steps": STEPS}) for text in texts]
    return [studio.finished(answer)["id"] for answer in answers]


@pytest.fixture(scope="module")
def frames(studio, sources, tmp_path_factory):
    found = []
    for name in sources:
        path = tmp_path_factory.mktemp("source") / "clip.mp4"
        path.write_bytes(studio.http.get(f"/v1/videos/{name}/content").content)
        found.append(Video.load(path).frames)
    return found


def test_text_with_variations_preview_and_downloads(studio, page, tmp_path):
    visit(page, studio)
    page.get_by_label("Prompt").fill(PROMPT)
    page.get_by_label("Variations").select_option("2")
    page.get_by_label("Style").select_option("film")
    page.get_by_label("Size").select_option("96x64")
    page.get_by_role("button", name="More").click()
    page.get_by_label("Seed").fill("5")
    page.get_by_label("Steps").fill("6")
    page.get_by_role("button", name="Make", exact=True).click()
    page.wait_for_selector(".job .preview img", timeout=240_000)
    assert page.get_by_role("progressbar").count() >= 1
    page.wait_for_selector(".job", state="detached", timeout=240_000)
    cards = page.locator(".recent .card-open")
    names = [cards.nth(index).get_attribute("href").rpartition("/")[2] for index in range(2)]
    seeds = set()
    for kind, name in (("mp4", names[0]), ("gif", names[1]), ("webp", names[0])):
        clip = download(page, studio, name, tmp_path, kind)
        assert clip.frames.shape == (17, 64, 96, 3)
        assert clip.metadata["prompt"] == f"{PROMPT}. The style is film."
        assert clip.metadata["steps"] == 6
        seeds.add(clip.metadata["seed"])
    assert seeds == {5, 6}


def test_a_frame_becomes_the_first_picture(studio, page, sources, frames, tmp_path):
    visit(page, studio, f"#/video/{sources[1]}")
    until(page, "document.querySelector('video')?.readyState >= 2")
    page.evaluate("document.querySelector('video').pause()")
    page.evaluate(
        "new Promise(done => { const v = document.querySelector('video'); v.onseeked = done; v.currentTime = 1.06 })"
    )
    page.get_by_role("button", name="Use this frame").click()
    page.wait_for_selector(".slot-full img")
    page.get_by_role("button", name="More").click()
    page.get_by_label("Steps").fill(str(STEPS))
    (name,) = make(page)
    clip = download(page, studio, name, tmp_path)
    closest = min(range(17), key=lambda index: difference(clip.frames[0], frames[1][index]))
    assert closest == 8
    assert difference(clip.frames[0], frames[1][8]) < 2 * CODED


def test_a_clip_is_cut_and_extended_on_both_sides(studio, page, sources, frames, tmp_path):
    visit(page, studio, f"#/make?task=extend&inputs={sources[0]}&steps=4&seed=1")
    page.get_by_label("Prompt").fill(PROMPT)
    page.wait_for_selector(".strip-frames canvas:nth-child(10)")
    track = page.locator(".strip-track").bounding_box()["width"]
    drag(page, ".strip-track > [aria-label='Start of what is kept']", track * 4 / 17)
    page.locator("[aria-label='End of what is kept']").press("ArrowLeft")
    grow = page.get_by_role("slider", name="New part before the beginning")
    for _ in range(2):
        grow.press("ArrowUp")
    until(page, "location.hash.includes('direction=both') && location.hash.includes('trim=0.5%3A2')")
    (name,) = make(page)
    clip = download(page, studio, name, tmp_path)
    kept = frames[0][4:16]
    start = min(range(len(clip.frames) - 11), key=lambda index: difference(clip.frames[index : index + 12], kept))
    assert difference(clip.frames[start : start + 12], kept) < CODED
    assert start > 0
    assert len(clip.frames) > start + 12


def test_a_gap_is_filled(studio, page, sources, frames, tmp_path):
    visit(page, studio, f"#/video/{sources[0]}")
    page.get_by_role("button", name="Fill a gap").click()
    page.wait_for_selector(".strip-frames canvas:nth-child(10)")
    end = page.get_by_role("slider", name="End of the gap")
    while float(end.get_attribute("aria-valuenow")) < 1.49:
        end.press("ArrowRight")
    page.get_by_role("button", name="More").click()
    page.get_by_label("Steps").fill(str(STEPS))
    until(page, "/gap=0?.75%3A1.5/.test(location.hash)")
    (name,) = make(page)
    clip = download(page, studio, name, tmp_path)
    assert len(clip.frames) == 17
    for part in (slice(0, 6), slice(12, 17)):
        assert difference(clip.frames[part], frames[0][part]) < CODED


@pytest.mark.parametrize("task", ["connect", "blend"])
def test_two_clips_are_dropped(studio, page, sources, frames, tmp_path, task):
    page.set_viewport_size({"width": 1280, "height": 1500})  # a card and its place are in view
    visit(page, studio, f"#/make?task={task}&steps=4&seed=1")
    page.get_by_label("Prompt").fill("a ball")
    for index, name in enumerate(sources):
        page.locator(f".recent .card[data-id={name}]").drag_to(page.locator(".slot").nth(index))
    until(page, f"location.hash.includes('{sources[0]}%2C{sources[1]}')")
    (name,) = make(page)
    clip = download(page, studio, name, tmp_path)
    if task == "connect":
        assert len(clip.frames) > 34
        assert difference(clip.frames[:17], frames[0]) < CODED
        assert difference(clip.frames[-17:], frames[1]) < CODED
    else:
        assert difference(clip.frames[0], frames[0][0]) < CODED
        assert difference(clip.frames[-1], frames[1][-1]) < CODED


def test_between_two_frames_that_are_picked(studio, page, sources, frames, tmp_path):
    visit(page, studio, "#/make?task=between&steps=4&seed=1")
    page.get_by_label("Prompt").fill("a ball")
    for which, (slot, name) in enumerate(zip(("First picture", "Last picture"), sources, strict=True)):
        page.get_by_role("group", name=slot).get_by_role("button", name="Choose a picture").click()
        page.locator(f"dialog .card[data-id={name}] .card-open").click()
        slider = page.get_by_role("slider", name="Frame")
        slider.press("End" if which else "Home")
        page.get_by_role("button", name="Use this frame").click()
        page.get_by_role("group", name=slot).locator("img").wait_for()
    (name,) = make(page)
    clip = download(page, studio, name, tmp_path)
    assert difference(clip.frames[0], frames[0][0]) < CODED
    assert difference(clip.frames[-1], frames[1][-1]) < CODED


def test_a_loop_ends_where_it_begins(studio, page, tmp_path):
    visit(page, studio)
    page.get_by_role("button", name="Loop").click()
    page.get_by_label("Prompt").fill("a green ring spins on a grey floor")
    page.get_by_role("button", name="More").click()
    page.get_by_label("Steps").fill("8")
    (name,) = make(page)
    clip = download(page, studio, name, tmp_path)
    steps = [difference(one, two) for one, two in zip(clip.frames, np.roll(clip.frames, -1, 0), strict=True)]
    assert steps[-1] <= 1.5 * max(steps[:-1]) + 0.5


def test_an_edit_keeps_what_is_outside_the_painted_mask(studio, page, sources, frames, tmp_path):
    visit(page, studio, f"#/video/{sources[0]}")
    page.get_by_role("button", name="Remix").click()
    page.get_by_label("Prompt").fill("a blue star on a grey floor")
    strength = page.get_by_role("slider", name="How much changes")
    for _ in range(3):
        strength.press("ArrowRight")
    page.get_by_role("button", name="Paint a mask").click()
    box = page.locator(".mask-paint").bounding_box()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 0.9 * box["height"], steps=8)
    page.mouse.up()
    until(page, "location.hash.includes('mask=file')")
    page.get_by_role("button", name="More").click()
    page.get_by_label("Steps").fill(str(STEPS))
    (name,) = make(page)
    clip = download(page, studio, name, tmp_path)
    assert difference(clip.frames[:, :, 32:], frames[0][:, :, 32:]) < CODED
    assert difference(clip.frames[:, :, :12], frames[0][:, :, :12]) > difference(
        clip.frames[:, :, 32:], frames[0][:, :, 32:]
    )
    video = page.request.get(f"{studio.address}/v1/videos/{name}").json()
    assert video["remixed_from_video_id"] == sources[0]


def test_a_storyboard_has_its_shots_where_the_cards_say(studio, page, sources, frames, tmp_path):
    visit(page, studio, "#/board?steps=4&seed=2")
    page.get_by_label("Prompt of scene 1").fill("a blue box stands still on a navy floor")
    page.get_by_label("Prompt of scene 2").fill("a blue box moves left on a black floor")
    page.get_by_role("button", name="Add a scene").click()
    page.get_by_label("Prompt of scene 3").fill("a red ball stands still on a white floor")
    page.get_by_role("button", name="Move scene 3").press("ArrowLeft")
    cards = page.locator(".board-card")
    between = cards.nth(1).bounding_box()["x"] - cards.nth(0).bounding_box()["x"]
    drag(page, ".board-card:nth-child(2) .grip", -1.5 * between)
    assert page.get_by_label("Prompt of scene 1").input_value() == "a red ball stands still on a white floor"
    page.get_by_role("button", name="Delete scene 3").click()
    page.get_by_label("Seconds of scene 1").fill("2")
    page.get_by_label("Seconds of scene 2").fill("2")
    cards.nth(1).get_by_role("button", name="First picture").click()
    page.locator(f"dialog .card[data-id={sources[1]}] .card-open").click()
    page.get_by_role("button", name="Use this frame").click()
    cards.nth(1).locator("img").wait_for()
    joint = page.get_by_role("group", name="How scene 2 follows")
    assert joint.get_by_role("button", name="Cut").get_attribute("aria-pressed") == "true"
    (name,) = make(page, "Make the film")
    page.wait_for_selector(".board-film")
    clip = download(page, studio, name, tmp_path)
    steps = [difference(one, two) for one, two in zip(clip.frames[:-1], clip.frames[1:], strict=True)]
    cut = int(np.argmax(steps)) + 1
    assert abs(cut / FPS - 2) <= 0.25
    assert steps[cut - 1] > MOVED
    assert difference(clip.frames[cut], frames[1][0]) < 2 * CODED
    assert page.locator(".scene-part").count() == 2


def test_a_dropped_file_restores_its_settings(studio, page, sources, tmp_path):
    data = studio.http.get(f"/v1/videos/{sources[0]}/content").content
    visit(page, studio, "#/make?prompt=another")
    drop(page, ".compose", data, "clip.mp4", "video/mp4")
    until(page, "location.hash.includes('seed=3')")
    assert page.get_by_label("Prompt").input_value() == PROMPT
    assert page.get_by_label("Steps").input_value() == str(STEPS)


def test_a_dropped_file_of_an_extension_brings_back_its_clip(studio, page, sources, tmp_path):
    body = {"prompt": PROMPT, "extend": {"id": sources[0]}, "seconds": 1, "trim": "0.5:2", "seed": 9, "steps": STEPS}
    name = studio.finished(studio.http.post("/v1/videos", json=body))["id"]
    data = studio.http.get(f"/v1/videos/{name}/content").content
    visit(page, studio, "#/make?prompt=another")
    drop(page, ".compose", data, "clip.mp4", "video/mp4")
    until(page, f"location.hash.includes('task=extend') && location.hash.includes('inputs={sources[0]}')")
    assert "trim=0.5%3A2" in page.url
    assert "seconds=1" in page.url
    page.locator(".slot-full video").wait_for()


def test_a_dropped_file_names_the_inputs_that_are_not_here(studio, page, sources, clip, tmp_path):
    upload = studio.http.post("/v1/files", files={"file": ("b.mp4", clip.read_bytes())}, data={"purpose": "vision"})
    file = upload.json()["id"]
    body = {"prompt": PROMPT, "extend": {"file_id": file}, "seconds": 1, "trim": "0.5:1", "seed": 9, "steps": STEPS}
    name = studio.finished(studio.http.post("/v1/videos", json=body))["id"]
    data = studio.http.get(f"/v1/videos/{name}/content").content
    studio.http.delete(f"/v1/files/{file}")
    visit(page, studio, "#/make?prompt=another")
    drop(page, ".compose", data, "clip.mp4", "video/mp4")
    page.get_by_text("Give again what is not here: Clip.").wait_for()
    assert page.get_by_label("Prompt").input_value() == PROMPT
    page.locator(".slot-empty").wait_for()
    drop(page, ".slot", clip.read_bytes(), "b.mp4", "video/mp4")
    until(page, "location.hash.includes('inputs=file')")
    assert "trim=0.5%3A1" in page.url


def drop(page, selector, data, name, kind):
    """Drops a file."""
    page.evaluate(
        """([selector, bytes, name, type]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
        const target = document.querySelector(selector);
        target.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }""",
        [selector, list(data), name, kind],
    )


def test_two_clips_are_compared(studio, page, sources):
    visit(page, studio, f"#/video/{sources[0]}")
    page.get_by_role("button", name="Compare").click()
    page.locator(f"dialog .card[data-id={sources[1]}] .card-open").click()
    until(page, f"location.hash.endsWith('{sources[0]}/{sources[1]}')")
    until(page, "[...document.querySelectorAll('.compare video')].filter(one => one.readyState >= 2).length === 2")
    page.get_by_role("slider", name="Time").fill("500")
    until(page, "[...document.querySelectorAll('.compare video')].every(one => one.paused && one.currentTime > 0.9)")


def test_the_command_line_and_the_call_are_those_of_the_form(studio, page, sources):
    visit(
        page, studio, f"#/make?task=extend&inputs={sources[0]}&prompt=it%27s+a+ball&direction=both&trim=0.5%3A2&seed=4"
    )
    page.get_by_role("button", name="Command line and API").click()
    command, call = page.locator("dialog pre").all_inner_texts()
    words = (
        f"python -m sorajax.sample 'it'\\''s a ball' --extend {sources[0]}.mp4 --direction both --trim 0.5:2 --seed 4"
    )
    assert command == words
    body = json.loads(call.partition(" -d '")[2].removesuffix("'").replace("'\\''", "'"))
    assert body == {
        "prompt": "it's a ball",
        "seed": 4,
        "extend": {"id": sources[0]},
        "direction": "both",
        "trim": "0.5:2",
    }


@pytest.mark.parametrize("touch", [False, True], ids=["keys", "touch"])
def test_a_play_becomes_a_clip_that_is_extended(studio, page, tmp_path, touch):
    visit(page, studio, "#/play?prompt=a+red+ball+on+a+grey+floor&world=true&seed=2")
    page.get_by_role("button", name="Begin").click()
    page.wait_for_selector(".play-rate[data-frames]", timeout=120_000)
    if touch:
        pad = page.get_by_role("button", name="Right")
        pad.dispatch_event("pointerdown")
    else:
        page.keyboard.down("ArrowRight")
    until(page, "document.querySelector('.play-rate').dataset.frames > 12")
    assert "frames/s" in page.locator(".play-rate").inner_text()
    page.get_by_role("button", name="Keep as clip").click()
    page.get_by_role("link", name="Open").click()
    page.wait_for_selector("video.clip-film")
    name = page.url.rpartition("/")[2]
    clip = download(page, studio, name, tmp_path)
    assert clip.frames.shape[1:] == (64, 64, 3)
    actions = clip.metadata["actions"]
    assert actions.count(2) > 8
    session = TrueWorld().begin(["a red ball on a grey floor"], 2)
    frames = np.stack([session.step([action])[0] for action in actions])
    assert difference(clip.frames, frames) < CODED
    page.get_by_role("button", name="Use settings").click()
    until(page, "location.hash.startsWith('#/play?')")
    answer = studio.http.post("/v1/videos", json={"prompt": PROMPT, "extend": {"id": name}, "seconds": 1, "steps": 2})
    assert float(studio.finished(answer)["seconds"]) > clip.seconds


def test_a_frame_that_is_decoded_after_its_play_ended_is_left_out(studio, page):
    page.add_init_script(
        "const decode = createImageBitmap;"
        "window.decoding = 0;"
        "window.createImageBitmap = async (data) => {"
        "  window.decoding++;"
        "  await new Promise((done) => setTimeout(done, 300));"
        "  return decode(data).finally(() => window.decoding--);"
        "};"
    )
    visit(page, studio, "#/play?prompt=a+red+ball+on+a+grey+floor&world=true&seed=2")
    page.get_by_role("button", name="Begin").click()
    page.wait_for_selector(".play-rate[data-frames]", timeout=120_000)
    until(page, "window.decoding > 0")
    shown = page.evaluate(
        "document.querySelector('.play button.plain').click(), document.querySelector('.play-rate').dataset.frames"
    )
    until(page, "window.decoding === 0")
    assert page.locator(".play-rate").get_attribute("data-frames") == shown
