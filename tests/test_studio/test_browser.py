"""The page in a real browser: boxes by mouse and keys, images, saving, a narrow screen, and two people at once.

It needs Chromium (Debian's package, or the path in ``$CHROMIUM``) and Playwright, see ``requirements/studio.txt``.
"""

import json
import os
import shutil

import pytest
from studio_world import serving
from tiny_generation import write_world

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="no Playwright: pip install -r requirements/studio.txt"
)
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium: apt-get install chromium, or set $CHROMIUM"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    world = write_world(tmp_path_factory.mktemp("world"), images=4)
    with serving(world, tmp_path_factory.mktemp("studio") / "set") as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


@pytest.fixture
def new_page(browser, server):
    """Opens the page in a context of its own; errors and requests to elsewhere fail the test."""
    contexts, faults = [], []

    def open_page(width=1280, height=900, expected="no error"):
        known = (server.url, "data:")

        def note(line):
            if expected not in line:
                faults.append(line)

        context = browser.new_context(viewport=dict(width=width, height=height))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: note(line.text) if line.type == "error" else None)
        page.on("request", lambda sent: None if sent.url.startswith(known) else faults.append(sent.url))
        page.goto(server.url)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def drag(page, start, end):
    """Press, move and release on the drawing area; positions in [0, 1]."""
    area = page.locator("#stage").bounding_box()
    x, y = ([area["x"] + p[0] * area["width"], area["y"] + p[1] * area["height"]] for p in (start, end))
    page.mouse.move(*x)
    page.mouse.down()
    page.mouse.move(*y, steps=4)
    page.mouse.up()


def kept(page):
    """What the page keeps of its boxes for this tab."""
    return json.loads(page.evaluate("sessionStorage['detdiffusion-studio']"))


def boxes(page):
    return [one["box"] for one in kept(page)["boxes"]]


def set_row(page, number, name, attribute):
    page.get_by_label(f"Class of box {number}").fill(name)
    page.get_by_label(f"Attribute of box {number}").select_option(attribute)


def generate(page, columns):
    for column in ("origin", "easy", "hard"):
        page.locator(f"#columns input[value={column}]").set_checked(column in columns)
    page.get_by_label("Steps", exact=True).fill("2")
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("images, done").wait_for()
    assert page.locator("#error").is_hidden()


def pixels(page):
    """The files of the images on the page."""
    sources = [image.get_attribute("src") for image in page.locator("#images img").all()]
    return [page.request.get(page.url + source).body() for source in sources]


def test_two_boxes_by_mouse_become_images_and_a_set(new_page, server):
    page = new_page()
    drag(page, (0.1, 0.2), (0.5, 0.6))
    drag(page, (0.9, 0.8), (0.6, 0.3))  # from the lower right
    assert boxes(page)[0] == pytest.approx([0.1, 0.2, 0.5, 0.6], abs=0.01)
    assert boxes(page)[1] == pytest.approx([0.6, 0.3, 0.9, 0.8], abs=0.01)
    set_row(page, 1, "ball", "easy")
    set_row(page, 2, "mug", "hard")
    generate(page, ["origin", "easy"])
    drawn, easy = pixels(page)
    assert drawn != easy and drawn.startswith(b"\x89PNG")
    figures = page.locator("#images figure")
    assert figures.count() == 2
    assert figures.nth(0).locator(".box.drawn").all_inner_texts() == ["ball easy", "mug hard"]
    assert figures.nth(1).locator(".box.drawn").all_inner_texts() == ["ball easy", "mug easy"]
    assert "[hard]" in figures.nth(0).locator(".prompt").inner_text()
    area = page.locator("#images .box").nth(1).bounding_box()
    canvas = page.locator("#images .canvas").first.bounding_box()
    assert (area["x"] - canvas["x"]) / canvas["width"] == pytest.approx(0.6, abs=0.03)
    page.get_by_label("drawn boxes").uncheck()
    assert page.locator("#images .box").count() == 0
    page.get_by_role("button", name="Save to the set").click()
    page.get_by_text("2 saved").wait_for()
    out = server.studio.saved.out
    coco = json.loads((out / "annotations.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    image = next(one for one in coco["images"] if one["strategy"] == "origin")
    saved = [one for one in coco["annotations"] if one["image_id"] == image["id"]]
    assert [(names[one["category_id"]], one["attribute"]) for one in saved] == [
        ("ball", "easy"),
        ("mug", "hard"),
    ]
    x, y, w, h = (value / 32 for value in saved[1]["bbox"])
    assert [x, y, x + w, y + h] == pytest.approx([0.6, 0.3, 0.9, 0.8], abs=0.01)
    assert (out / "images" / image["file_name"]).stat().st_size > 0


def test_moving_resizing_and_deleting_by_mouse(new_page):
    page = new_page()
    drag(page, (0.2, 0.2), (0.4, 0.4))
    drag(page, (0.3, 0.3), (0.5, 0.6))  # the box is selected, so it moves
    assert boxes(page) == [pytest.approx([0.4, 0.5, 0.6, 0.7], abs=0.01)]
    drag(page, (0.6, 0.7), (0.95, 0.9))  # its handle
    assert boxes(page) == [pytest.approx([0.4, 0.5, 0.95, 0.9], abs=0.01)]
    drag(page, (0.7, 0.7), (2, 0.7))  # not out of the area
    assert boxes(page) == [pytest.approx([0.45, 0.5, 1, 0.9], abs=0.01)]
    page.keyboard.press("Escape")
    drag(page, (0.6, 0.6), (0.8, 0.8))  # none is selected: a new box inside
    assert len(boxes(page)) == 2
    page.get_by_label("Remove box 1").click()
    assert boxes(page) == [pytest.approx([0.6, 0.6, 0.8, 0.8], abs=0.01)]
    page.get_by_role("button", name="Undo").click()
    assert len(boxes(page)) == 2


def test_everything_by_keyboard(new_page):
    page = new_page()
    page.get_by_role("button", name="Add box").press("Enter")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    assert boxes(page) == [pytest.approx([0.34, 0.36, 0.65, 0.65])]
    assert page.evaluate("document.activeElement.ariaLabel") == (
        "Box 1 of 1: ball, easy; left 34, top 36, width 31, height 29 percent"
    )
    page.get_by_role("button", name="Add box").press("Enter")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("Box 1 of 2")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # the focus is seen
    page.keyboard.press("Delete")
    page.keyboard.press("Delete")
    assert boxes(page) == []


def test_errors_are_shown_in_words_and_layouts_are_opened(new_page, tmp_path):
    page = new_page(expected="status of 400")
    page.get_by_role("button", name="Generate").click()
    page.get_by_text("the layout has no boxes: draw at least one").wait_for()
    page.get_by_label("COCO file").select_option(index=1)
    page.locator("#stage .box").nth(2).wait_for()
    assert page.get_by_role("spinbutton", name="Layout").input_value() == "1"
    page.get_by_role("button", name="Next layout").click()
    page.get_by_text("000002.png: ").wait_for()
    assert page.get_by_role("spinbutton", name="Layout").input_value() == "2"
    second = kept(page)
    assert second["boxes"] and second["imageId"] is not None
    page.get_by_role("button", name="Clear").click()
    assert kept(page) == dict(boxes=[], imageId=None)
    page.get_by_role("button", name="Undo").click()
    assert kept(page) == second
    (tmp_path / "own.json").write_text("{}")
    page.locator("#upload").set_input_files(tmp_path / "own.json")
    page.get_by_text("own.json:").wait_for()


def test_a_narrow_screen_shows_everything(new_page):
    page = new_page(width=390, height=844)
    drag(page, (0.1, 0.2), (0.5, 0.6))
    generate(page, ["easy", "hard"])
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for where in ("#stage", "#generate", "#images figure >> nth=1", "#boxes", "#save"):
        area = page.locator(where).bounding_box()
        assert area["x"] >= 0 and area["x"] + area["width"] <= 390, where


def test_two_people_get_their_own_images(new_page):
    first, second = new_page(), new_page()
    drag(first, (0.1, 0.1), (0.5, 0.5))
    drag(second, (0.4, 0.3), (0.9, 0.9))
    set_row(first, 1, "ball", "easy")
    set_row(second, 1, "star", "hard")
    for page in (first, second):
        page.get_by_label("Steps", exact=True).fill("8")
    for page in (first, second):
        page.get_by_role("button", name="Generate").click()
    for page, name in ((first, "ball"), (second, "star")):
        page.get_by_text("2 images, done").wait_for()
        assert page.locator("#images .box.drawn").all_inner_texts() == [f"{name} easy", f"{name} hard"]
    assert not set(pixels(first)) & set(pixels(second))


def test_a_job_is_cancelled(new_page):
    page = new_page()
    drag(page, (0.1, 0.1), (0.5, 0.5))
    page.get_by_label("Steps", exact=True).fill("1000")
    page.get_by_role("button", name="Generate").click()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("cancelled").wait_for()
    assert page.get_by_role("button", name="Generate").is_enabled()


def test_a_report_fits_a_telephone(browser, tmp_path):
    """Paths break where they must; wide tables scroll in a box of their own."""
    from detdiffusion.visualization.report import table, write_report

    rows = [[str(number) * 9 for number in range(10)]]
    wide = table("a table", [f"column {number}" for number in range(10)], rows)
    write_report(tmp_path / "report.html", "A report", ["warning: " + "long_path/" * 30], [wide])
    page = browser.new_page(viewport=dict(width=390, height=844))
    page.goto((tmp_path / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert page.evaluate("document.querySelector('.wide').scrollWidth") > 390
    page.close()
