"""Take the pictures of docs/studio.png from the real page in a headless browser, and put them side by side.

A box is drawn, the layout is complete, its images are there.

    python docs/make_strip.py CONFIG CHECKPOINT --detector CONFIG WEIGHTS --ann instances.json --ann stuff.json

It takes the options of tools/studio.py, and needs Chromium and requirements/studio.txt.
"""

import io
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

BOXES = [  # class, attribute, first and last corner
    ("star", "easy", (0.08, 0.5), (0.36, 0.82)),
    ("ball", "hard", (0.42, 0.3), (0.64, 0.55)),
    ("tent", "hard", (0.6, 0.56), (0.94, 0.9)),
]
GROUND = [("sky", (0, 0), (1, 0.45)), ("grass", (0, 0.45), (1, 1))]
STEPS, SEED = 25, 4
WIDTH, HEIGHT, GAP, COLOURS = 1180, 690, 16, 128


def main(args) -> None:
    from detdiffusion.generation.options import GeneratorOptions
    from detdiffusion.studio import StudioOptions, serve
    from detdiffusion.utils.option_groups import build_options

    with tempfile.TemporaryDirectory() as folder:
        options = build_options(StudioOptions, args, port=0, out=Path(folder) / "set")

        def take(server) -> None:
            def run() -> None:
                try:
                    write(photograph(server.url), ROOT / "docs/studio.png")
                finally:
                    server.shutdown()

            threading.Thread(target=run).start()

        serve(build_options(GeneratorOptions, args), options, take)


def photograph(url: str) -> list[bytes]:
    """Return screenshots of the layout, while it is drawn and complete, and of its images."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=dict(width=WIDTH, height=1000))
        page.set_default_timeout(300_000)
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        for box in BOXES:
            add(page, *box)
        shots = [shoot(page, "#draw")]
        for name, first, last in GROUND:
            page.locator("#stage").dispatch_event("keydown", dict(key="Escape"))
            add(page, name, "background", first, last)
        shots.append(shoot(page, "#draw"))
        page.get_by_label("Steps", exact=True).fill(str(STEPS))
        page.get_by_label("Seed", exact=True).fill(str(SEED))
        page.get_by_role("button", name="Generate").click()
        page.get_by_text(", done").wait_for()
        page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
        shots.append(shoot(page, "#result"))
        browser.close()
    return shots


def add(page, name: str, attribute: str, first: tuple[float, float], last: tuple[float, float]) -> None:
    """Draw a box, and choose its class and attribute if the model has attributes."""
    draw(page, first, last)
    number = page.locator("#stage .box").count()
    page.get_by_label(f"Class of box {number}").fill(name)
    page.get_by_label(f"Class of box {number}").press("Tab")
    if page.locator("#columns").is_visible():
        page.get_by_label(f"Attribute of box {number}").select_option(attribute)


def shoot(page, section: str) -> bytes:
    """Take a screenshot of the upper part of a section."""
    area = page.locator(section).bounding_box()
    return page.screenshot(clip={**area, "height": HEIGHT})


def draw(page, first: tuple[float, float], last: tuple[float, float]) -> None:
    """Draw a box by mouse; corners in [0, 1]."""
    area = page.locator("#stage").bounding_box()
    (x1, y1), (x2, y2) = (
        (area["x"] + x * area["width"], area["y"] + y * area["height"]) for x, y in (first, last)
    )
    page.mouse.move(x1 + 1, y1 + 1)
    page.mouse.down()
    page.mouse.move(x2 - 1, y2 - 1, steps=5)
    page.mouse.up()


def write(shots: list[bytes], path: Path) -> None:
    """Write screenshots side by side as a PNG of few colours."""
    from PIL import Image

    images = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
    strip = Image.new(
        "RGB", (sum(image.width for image in images) + GAP * (len(images) - 1), HEIGHT), "white"
    )
    left = 0
    for image in images:
        strip.paste(image, (left, 0))
        left += image.width + GAP
    strip.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {strip.width} x {strip.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    from studio import build_parser

    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
