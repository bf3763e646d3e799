"""Take the pictures of docs/studio.png from the real page, in a headless browser, and put them side by side.

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
WIDTH, HEIGHT, COLOURS = 1180, 860, 96


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
    """Return screenshots: a layout that is being drawn, and the images made from it."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=dict(width=WIDTH, height=HEIGHT))
        page.set_default_timeout(300_000)
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        with_attributes = page.locator("#columns").is_visible()
        for number, (name, attribute, first, last) in enumerate(BOXES, 1):
            draw(page, first, last)
            page.get_by_label(f"Class of box {number}").fill(name)
            if with_attributes:
                page.get_by_label(f"Attribute of box {number}").select_option(attribute)
        shots = [page.screenshot()]
        for number, (name, first, last) in enumerate(GROUND, len(BOXES) + 1):
            page.locator("#stage .box.selected").press("Escape")
            draw(page, first, last)
            page.get_by_label(f"Class of box {number}").fill(name)
            if with_attributes:
                page.get_by_label(f"Attribute of box {number}").select_option("background")
        page.get_by_label("Steps", exact=True).fill(str(STEPS))
        page.get_by_label("Seed", exact=True).fill(str(SEED))
        page.get_by_role("button", name="Generate").click()
        page.get_by_text(", done").wait_for()
        page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
        shots.append(page.screenshot())
        browser.close()
    return shots


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
    strip = Image.new("RGB", (sum(image.width for image in images), images[0].height))
    for number, image in enumerate(images):
        strip.paste(image, (number * image.width, 0))
    strip.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {strip.width} x {strip.height}, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    from studio import build_parser

    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
