"""The page's server with a real generator at tiny size: images, sets, uploads, and what is refused."""

import io
import json
import threading

import numpy as np
import pytest
from pages import DOCS, blocks
from PIL import Image
from pycocotools.coco import COCO
from studio_world import BOXES, Client, options_of, request, serving
from tiny_generation import draw, pixels, write_world

from detdiffusion.generation.writer import CocoWriter
from detdiffusion.studio import serve
from detdiffusion.studio.start import open_studio
from detdiffusion.utils.errors import UserError


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world"), images=4)


@pytest.fixture(scope="module")
def server(world, tmp_path_factory):
    with serving(world, tmp_path_factory.mktemp("studio") / "set") as server:
        yield server


@pytest.fixture
def client(server):
    return Client(server)


def image_of(client, key, index):
    status, headers, data = client.raw("GET", f"/api/jobs/{key}/{index}.png")
    assert status == 200 and headers["Content-Type"] == "image/png"
    return Image.open(io.BytesIO(data))


def test_the_page_needs_nothing_from_elsewhere(client):
    for path, kind in (("/", "text/html"), ("/studio.js", "text/javascript"), ("/studio.css", "text/css")):
        status, headers, data = client.raw("GET", path)
        assert status == 200 and headers["Content-Type"].startswith(kind)
        assert "default-src 'none'" in headers["Content-Security-Policy"] and b"://" not in data


def test_it_describes_itself(client, server):
    status, model = client("GET", "/api/model")
    assert status == 200
    assert model["attributes"] == ["easy", "hard", "background"] and model["columns"] == [
        "origin",
        "easy",
        "hard",
    ]
    assert (model["width"], model["height"], model["detector"]) == (32, 32, None)
    assert model["trained_attributes"]
    assert {"ball", "sky"} <= set(model["classes"]) and model["files"][0]["layouts"] == 4


def test_images_differ_by_attribute_and_repeat(client):
    key, images = client.images()
    assert [image["column"] for image in images] == ["easy", "hard"]
    assert [[one["attribute"] for one in image["objects"]] for image in images] == [
        ["easy"] * 2,
        ["hard"] * 2,
    ]
    assert images[0]["objects"][1]["box"] == pytest.approx(BOXES[1]["box"], abs=1e-3)
    assert "[easy]" in images[0]["prompt"] and "[hard]" not in images[0]["prompt"]
    easy, hard = (np.asarray(image_of(client, key, index)) for index in (0, 1))
    assert easy.shape == (32, 32, 3) and (easy != hard).any()
    again, _ = client.images()
    assert again != key and (np.asarray(image_of(client, again, 0)) == easy).all()
    other, _ = client.images(seed=4)
    assert (np.asarray(image_of(client, other, 0)) != easy).any()


def test_a_png_carries_the_recipe_that_makes_it_again(client):
    key, _ = client.images(columns=["origin", "hard"])
    (code,) = blocks(DOCS["studio"].read_text(), "python")  # the guide's way to read it
    names = {}
    exec(code, names)
    recipe = names["recipe_of"](io.BytesIO(client.raw("GET", f"/api/jobs/{key}/1.png")[2]))
    assert recipe == client("GET", f"/api/jobs/{key}/1.json")[1]
    assert recipe["attributes"] == "hard" and recipe["prompt"].startswith("An image with")
    again, images = client.images(**recipe["request"])
    assert images[1]["column"] == "hard"
    assert (np.asarray(image_of(client, again, 1)) == np.asarray(image_of(client, key, 1))).all()


def test_a_layout_of_a_file_is_generated_as_by_the_tool(client, world, tmp_path):
    """Same noise, prompt and pixels as ``tools/generate.py``, up to the batch size."""
    draw(world, tmp_path / "hard", steps=3, seed=5, limit=2, guidance_scale=3.0)
    record = json.loads((tmp_path / "hard/annotations.json").read_text())["images"][1]
    index = next(
        n
        for n in range(4)
        if client("GET", f"/api/layouts/ann/{n}")[1]["image_id"] == record["source_image_id"]
    )
    layout = client("GET", f"/api/layouts/ann/{index}")[1]
    assert {box["attribute"] for box in layout["boxes"]} >= {"background"}
    key, _ = client.images(
        boxes=layout["boxes"],
        image_id=layout["image_id"],
        columns=["hard"],
        seed=5,
        steps=3,
        guidance_scale=3.0,
    )
    found = np.asarray(image_of(client, key, 0)).astype(int)
    assert np.abs(found - pixels(tmp_path / "hard")[record["file_name"]]).max() <= 1


def test_a_set_grows_and_is_complete_after_every_save(world, tmp_path):
    boxes = [*BOXES, dict(box=[0, 0, 0.3, 0.3], name="drone", attribute="easy")]  # of no category
    for saves, expected in (
        (1, dict(saved=2, already_there=0, total=2)),
        (2, dict(saved=1, already_there=2, total=3)),
    ):
        with serving(world, tmp_path / "set") as server:  # the second time it continues
            client = Client(server)
            columns = ["easy", "hard"] if saves == 1 else ["easy", "hard", "origin"]
            key, images = client.images(boxes=boxes, columns=columns)
            status, saved = client("POST", f"/api/jobs/{key}/save", dict(images=list(range(len(images)))))
            assert (status, saved) == (200, dict(expected, out=str(tmp_path / "set")))
    coco = COCO(str(tmp_path / "set/annotations.json"))
    assert len(coco.imgs) == 3 and len(coco.anns) == 9
    source = {
        c["id"]: c["name"] for c in json.loads((world / "train/instances.json").read_text())["categories"]
    }
    for annotation in coco.anns.values():
        name = coco.cats[annotation["category_id"]]["name"]
        assert source.get(annotation["category_id"], "drone") == name
        drawn = next(box for box in boxes if box["name"] == name)["box"]
        x, y, w, h = np.array(annotation["bbox"]) / 32
        assert [x, y, x + w, y + h] == pytest.approx(drawn, abs=1e-3)
    by_column = {image["strategy"]: image["id"] for image in coco.imgs.values()}
    assert {a["attribute"] for a in coco.imgToAnns[by_column["hard"]]} == {"hard"}
    assert [a["attribute"] for a in coco.imgToAnns[by_column["origin"]]].count("hard") == 1
    files = {path.name for path in (tmp_path / "set/images").iterdir()}
    assert files == {image["file_name"] for image in coco.imgs.values()}
    with pytest.raises(UserError, match="holds another run"):
        open_studio(*options_of(world, tmp_path / "set", ann=[world / "train/stuff.json"], attributes=None))


def test_layouts_are_uploaded(client, world):
    data = (world / "train/instances.json").read_bytes()
    status, file = client.raw("POST", "/api/layouts?name=mine.json", data)[::2]
    file = json.loads(file)
    assert (status, file["name"], file["layouts"]) == (200, "mine.json", 4)
    layout = client("GET", f"/api/layouts/{file['key']}/3")[1]
    annotations = json.loads(data)["annotations"]
    expected = [a for a in annotations if a["image_id"] == layout["image_id"]]
    assert len(layout["boxes"]) == len(expected)
    assert {box["attribute"] for box in layout["boxes"]} == {"easy"}  # nothing is known of them
    x, y, w, h = np.array(expected[0]["bbox"]) / 32
    assert layout["boxes"][0]["box"] == pytest.approx([x, y, x + w, y + h], abs=1e-4)
    assert client("GET", f"/api/layouts/{file['key']}/4") == (
        400,
        dict(error="mine.json has layouts 1 to 4, there is no 5"),
    )
    for content, message in (
        (b'{"images": [', "mine.json: broken json"),
        (b"import os", "mine.json: broken json"),
        (b"\x80\x04\x95pickle", "not UTF-8"),
        (b"[]", "mine.json"),
    ):
        status, _, answer = client.raw("POST", "/api/layouts?name=mine.json", content)
        assert status == 400 and message in json.loads(answer)["error"], answer
        assert "/tmp" not in json.loads(answer)["error"]


def test_a_running_job_is_cancelled(client):
    _, job = client("POST", "/api/jobs", request(steps=1000))
    assert client("DELETE", f"/api/jobs/{job['key']}")[0] == 200
    client.wait(job["key"], "cancelled")
    assert client("GET", f"/api/jobs/{job['key']}/0.png") == (400, dict(error="there is no such image"))


def test_errors_are_words(client):
    for status, message, asked in (
        (400, "the layout has no boxes", ("POST", "/api/jobs", request(boxes=[]))),
        (400, "no images to save", ("POST", f"/api/jobs/{client.images()[0]}/save", dict(images="all"))),
        (400, "there is no such image", ("POST", f"/api/jobs/{client.images()[0]}/save", dict(images=[2]))),
        (404, "generate them again", ("GET", "/api/jobs/abc")),
        (400, "no longer open", ("GET", "/api/layouts/abc/0")),
        (404, "nothing here", ("GET", "/api/nothing")),
        (404, "nothing here", ("GET", "/api/jobs")),
    ):
        found, answer = client(*asked)
        assert found == status and message in answer["error"], answer
    assert client.raw("POST", "/api/jobs", "{")[0] == 400
    _, _, answer = client.raw("POST", "/api/jobs", b"x" * (1 << 20) + b"x")
    assert b"at most 1 MB" in answer


@pytest.mark.parametrize(
    "path",
    [
        "/../server.py",
        "/%2e%2e/server.py",
        "//etc/passwd",
        "/etc/passwd",
        "/page/index.html",
        "/api/jobs/../../x.png",
    ],
)
def test_no_other_file_is_served(client, path):
    status, _, data = client.raw("GET", path)
    assert status == 404 and json.loads(data) == dict(error="there is nothing here")


def test_foreign_pages_are_refused(client):
    """DNS rebinding, forms and scripts of other sites."""
    port, body = client.port, json.dumps(request())
    assert client.raw("GET", "/api/model", Host=f"evil.example:{port}")[0] == 403
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", f"192.168.0.7:{port}"):
        assert client.raw("GET", "/api/model", Host=host)[0] == 200
    for headers in (
        dict(Origin="https://evil.example"),
        dict(Origin="null"),
        dict(Origin=f"http://localhost:{port}"),  # another origin than the host's
        dict(Content_Type="text/plain"),
        dict(Content_Type="multipart/form-data; boundary=x"),
    ):
        assert client.raw("POST", "/api/jobs", body, **headers)[0] == 403, headers
    assert client.raw("POST", "/api/jobs", body, Origin=f"http://127.0.0.1:{port}")[0] == 200
    assert client.raw("OPTIONS", "/api/jobs", Origin="https://evil.example")[0] == 501


def test_the_address_in_use_is_said(world, server, tmp_path):
    port = server.server_address[1]
    with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1, port {port}: .*choose another"):
        with serving(world, tmp_path / "set", port=port):
            pass


def test_it_serves_until_it_is_stopped(world, tmp_path):
    def ready(server):
        assert server.url.startswith("http://127.0.0.1:")

        def visit():
            key, _ = Client(server).images()
            assert Client(server)("POST", f"/api/jobs/{key}/save", dict(images=[0]))[0] == 200
            server.shutdown()

        threading.Thread(target=visit).start()

    serve(*options_of(world, tmp_path / "set"), ready)
    with CocoWriter(tmp_path / "set", json.loads((tmp_path / "set/run.json").read_text()), []) as writer:
        assert len(writer) == 1  # the folder was released
