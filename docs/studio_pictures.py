"""Makes the pictures of docs/studio.md, in Chromium, from a server that has no clips yet:

python docs/studio_pictures.py http://127.0.0.1:8000
"""

import io
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import sync_playwright

OUT = Path(__file__).parent / "studio"
PROMPTS = (
    ("a red ball bounces on a grey floor", "64x64", ""),
    ("a blue star spins on a beige floor", "96x64", ""),
    ("a green ring circles on a navy floor", "64x64", ""),
    ("a yellow box slides to the right on a brown floor", "96x64", ""),
    ("a white ball falls on a black floor", "64x64", "neon"),
    ("a purple triangle moves left on a grey floor", "64x64", ""),
    ("a red ball bounces on a navy floor", "64x64", "film"),
)
PLAY = "#/play?prompt=a+red+ball+on+a+grey+floor&world=true"
DESKTOP, PHONE = (1280, 860), (390, 844)
SHEET, GAP = 300, 8  # pixels: height of a screenshot in the sheet of all views, and between two


def make(http: httpx.Client, **fields: Any) -> str:
    """Makes a video; returns its id."""
    name: str = http.post("/v1/videos", json=fields).raise_for_status().json()["id"]
    while (video := http.get(f"/v1/videos/{name}").json())["status"] in ("queued", "in_progress"):
        time.sleep(0.2)
    assert video["status"] == "completed", video["error"]
    return name


def main(address: str) -> None:
    """Makes clips, opens each view, and saves what it looks like."""
    OUT.mkdir(exist_ok=True)
    http = httpx.Client(base_url=address, timeout=60)
    names = [
        make(http, prompt=text, size=size, seed=1, **({"style": style} if style else {}))
        for text, size, style in PROMPTS
    ]
    film = make(
        http,
        storyboard=[
            {"prompt": "a red ball moves right on a grey floor", "seconds": 2},
            {"prompt": "a red ball bounces on a grey floor", "seconds": 2},
            {"prompt": "the same red ball circles on a navy floor", "seconds": 2, "join": "cut"},
        ],
        seed=1,
    )
    board = http.get(f"/v1/videos/{film}/request").json()["fields"]["storyboard"]
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])

        def shoot(
            name: str, hash_: str, work: Any = None, size: tuple[int, int] = DESKTOP, theme: Any = "light"
        ) -> None:
            page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
            page.goto(f"{address}/{hash_}")
            page.wait_for_selector("h1")
            page.wait_for_timeout(1500)
            if work is not None:
                work(page)
            save(page.screenshot(), OUT / f"{name}.webp")
            page.close()

        def paint(page: Any) -> None:
            page.get_by_role("button", name="Paint a mask").click()
            page.wait_for_selector(".mask-paint")
            page.locator(".option-mask").scroll_into_view_if_needed()
            box = page.locator(".mask-paint").bounding_box()
            page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
            page.mouse.down()
            page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.6 * box["height"], steps=8)
            page.mouse.up()
            page.wait_for_timeout(500)

        def grow(page: Any) -> None:
            page.wait_for_selector(".strip-frames canvas:nth-child(10)")
            page.get_by_role("slider", name="New part before the beginning").press("ArrowUp")
            page.wait_for_timeout(500)

        def begin(page: Any) -> None:
            page.get_by_role("button", name="Make", exact=True).click()
            page.wait_for_selector(".job .preview img", timeout=300_000)
            page.wait_for_timeout(900)

        def wait_in_line(page: Any) -> None:
            for text, _, _ in PROMPTS[:4]:
                http.post("/v1/videos", json={"prompt": text, "steps": 100})
            page.get_by_text("in the queue,").wait_for()
            page.wait_for_timeout(1000)

        def steer(page: Any) -> None:
            page.get_by_role("button", name="Begin").click()
            page.wait_for_selector(".play-rate[data-frames]", timeout=120_000)
            for key, wait in (("ArrowRight", 500), ("ArrowUp", 600)):
                page.keyboard.down(key)
                page.wait_for_timeout(wait)
                page.keyboard.up(key)

        shoot("clip", f"#/video/{names[6]}")
        shoot("gallery", "#/gallery", theme="dark")
        shoot("extend", f"#/make?task=extend&prompt=it+bounces&inputs={names[0]}&trim=0.5:2.125", grow)
        shoot("edit", f"#/make?task=edit&prompt=a+blue+star+on+a+grey+floor&inputs={names[0]}&strength=0.9", paint)
        scenes = httpx.QueryParams({"scenes": json.dumps(board), "film": film})
        shoot("board", f"#/board?{scenes}")
        shoot("compare", f"#/compare/{names[0]}/{names[6]}", theme="dark")
        shoot("make", "#/make?prompt=a+yellow+ring+circles+on+a+navy+floor&variations=2&steps=100", begin)
        shoot("queue", "#/queue", wait_in_line)
        shoot("play", PLAY, steer)
        shoot("phone", "#/make?prompt=a+blue+star+spins+on+a+beige+floor", size=PHONE, theme="dark")
        edit = f"#/make?task=edit&prompt=a+blue+star+on+a+grey+floor&inputs={names[0]}"
        views: dict[str, Any] = dict.fromkeys(("#/make", edit, f"#/board?{scenes}", "#/gallery", f"#/video/{names[6]}"))
        views |= {f"#/compare/{names[0]}/{names[6]}": None, "#/queue": wait_in_line, PLAY: steer}
        rows = []
        for view, work in views.items():
            row = []
            for size, theme in ((DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")):
                shoot("views", view, work, size=size, theme=theme)
                row.append(Image.open(OUT / "views.webp").convert("RGB"))
            rows.append(row)
        sheet(rows).save(OUT / "views.webp", "webp", quality=75, method=6)
        browser.close()
    for entry in http.get("/v1/queue").json()["data"]:
        http.post(f"/v1/videos/{entry['id']}/cancel")


def sheet(rows: list[list[Image.Image]]) -> Image.Image:
    """Screenshots in rows, at one height."""
    small = [[one.resize((round(one.width * SHEET / one.height), SHEET), Image.LANCZOS) for one in row] for row in rows]
    width = sum(one.width + GAP for one in small[0]) - GAP
    whole = Image.new("RGB", (width, len(small) * (SHEET + GAP) - GAP), "white")
    for number, row in enumerate(small):
        x = 0
        for one in row:
            whole.paste(one, (x, number * (SHEET + GAP)))
            x += one.width + GAP
    return whole


def save(data: bytes, path: Path) -> None:
    """A screenshot as a small webp."""
    Image.open(io.BytesIO(data)).convert("RGB").save(path, "webp", quality=82, method=6)


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"))
