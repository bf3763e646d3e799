"""A studio of a tiny generator on its server, in this process, and what a page asks of it."""

import contextlib
import json
import threading
import time
from http.client import HTTPConnection

from detdiffusion.generation.options import GeneratorOptions
from detdiffusion.studio import StudioOptions
from detdiffusion.studio.server import StudioServer
from detdiffusion.studio.start import open_studio

BOXES = [
    dict(box=[0.1, 0.2, 0.5, 0.6], name="ball", attribute="easy"),
    dict(box=[0.4, 0.1, 0.9, 0.8], name="pine tree", attribute="hard"),
]


def request(**changes):
    return {
        **dict(boxes=BOXES, columns=["easy", "hard"], seed=3, steps=2, guidance_scale=2.5, image_id=None),
        **changes,
    }


def options_of(world, out, **changes):
    ann = [world / "train/instances.json", world / "train/stuff.json"]
    page = {**dict(ann=ann, attributes=world / "attributes.json", out=out, port=0), **changes}
    generator = GeneratorOptions(
        config=str(world / "config.py"), checkpoint=str(world / "weights.pth"), device="cpu"
    )
    return generator, StudioOptions(**page)


@contextlib.contextmanager
def serving(world, out, **changes):
    """The server of a studio that listens on a free port."""
    generator, options = options_of(world, out, **changes)
    studio = open_studio(generator, options)
    try:
        with StudioServer(studio, options.host, options.port) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.02))
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()
    finally:
        studio.close()


class Client:
    """Requests as a page makes them."""

    def __init__(self, server):
        self.port = server.server_address[1]

    def raw(self, method, path, body=None, **headers):
        """Status, headers and bytes of an answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Content-Type": "application/json", **names})
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read()
        connection.close()
        return found

    def __call__(self, method, path, value=None, **headers):
        """Status and json of an answer."""
        body = None if value is None else json.dumps(value)
        status, _, data = self.raw(method, path, body, **headers)
        return status, json.loads(data)

    def wait(self, key, state="done"):
        """A job once it is finished."""
        for _ in range(1500):
            status, job = self("GET", f"/api/jobs/{key}")
            assert status == 200
            if job["state"] not in ("queued", "running"):
                assert job["state"] == state, job
                return job
            time.sleep(0.02)
        raise TimeoutError(job)

    def images(self, **changes):
        """Key and images of a finished request."""
        status, job = self("POST", "/api/jobs", request(**changes))
        assert status == 200, job
        return job["key"], self.wait(job["key"])["images"]
