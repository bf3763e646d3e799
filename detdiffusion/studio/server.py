"""The page's HTTP server: its static files and a json interface.

==========  ===============================  ==========================================================
``GET``     ``/api/model``                   what the page can do: :meth:`Studio.describe`
``GET``     ``/api/layouts/KEY/N``           the N-th layout, from 0, of a file
``POST``    ``/api/layouts?name=NAME``       upload of a COCO json; answers the file's key
``POST``    ``/api/jobs``                    a request for images; answers the job's key
``GET``     ``/api/jobs/KEY``                state, progress and results of a job
``DELETE``  ``/api/jobs/KEY``                cancels a job
``GET``     ``/api/jobs/KEY/N.png``          its N-th image, with the recipe
``GET``     ``/api/jobs/KEY/N.json``         the recipe of its N-th image
``POST``    ``/api/jobs/KEY/save``           saves images to the COCO set
==========  ===============================  ==========================================================
"""

from __future__ import annotations

import json
import re
import socket
import sys
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from urllib.parse import parse_qs, urlsplit

from detdiffusion.utils.cli import user_message
from detdiffusion.utils.errors import UserError

from .jobs import UnknownJob
from .security import HEADERS, local_names, refusal
from .studio import MAX_UPLOAD, Studio

_JSON = "application/json"
_PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/studio.css": ("studio.css", "text/css; charset=utf-8"),
    "/studio.js": ("studio.js", "text/javascript; charset=utf-8"),
    "/boxes.js": ("boxes.js", "text/javascript; charset=utf-8"),
}
_MAX_BODY = 1 << 20  # bytes of everything but uploads


class StudioServer(ThreadingHTTPServer):
    """Serves one studio.

    Args:
        studio: what the requests are answered from.
        host, port: address to listen on; port 0 takes a free one.

    Raises:
        UserError: the address cannot be used.
    """

    daemon_threads = True

    def __init__(self, studio: Studio, host: str, port: int) -> None:
        self.studio, self.names = studio, local_names(host)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), StudioHandler)
        except (OSError, UnicodeError) as error:
            raise UserError(
                f"cannot listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}; choose another "
                "`host` or `port`"
            ) from error

    @property
    def url(self) -> str:
        """Address of the page for a browser of this machine."""
        host, port = self.server_address[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    def handle_error(self, request, client_address) -> None:
        """Do not print a browser's closed connections."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class StudioHandler(BaseHTTPRequestHandler):
    """Answers one connection."""

    server: StudioServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "detdiffusion-studio", ""
    timeout = 60

    def do_GET(self) -> None:
        """Serve the page, and what it asks for."""
        self._answer()

    def do_POST(self) -> None:
        """Serve uploads and requests for images."""
        self._answer()

    def do_DELETE(self) -> None:
        """Cancel a job."""
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing for every request."""

    def _answer(self) -> None:
        refused = refusal(self.command, self.headers, self.server.names)
        if refused is not None:
            return self._fail(HTTPStatus.FORBIDDEN, refused)
        url = urlsplit(self.path)
        try:
            if self.command == "GET" and url.path in _PAGE:
                name, kind = _PAGE[url.path]
                return self._send((files(__package__) / "page" / name).read_bytes(), kind)
            for method, pattern, respond in _ROUTES:
                match = re.fullmatch(pattern, url.path)
                if match and method == self.command:
                    answer = respond(self, *match.groups())
                    if answer is not None:
                        self._send(
                            *answer if isinstance(answer, tuple) else (json.dumps(answer).encode(), _JSON)
                        )
                    return None
            self._fail(HTTPStatus.NOT_FOUND, "there is nothing here")
        except UnknownJob as error:
            self._fail(HTTPStatus.NOT_FOUND, str(error))
        except UserError as error:
            self._fail(HTTPStatus.BAD_REQUEST, user_message(error))
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:
            traceback.print_exc()
            self._fail(HTTPStatus.INTERNAL_SERVER_ERROR, f"internal error: {type(error).__name__}")

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, status: HTTPStatus, message: str) -> None:
        self.close_connection = True  # the body may not have been read
        self._send(json.dumps(dict(error=message)).encode(), _JSON, status)

    def _body(self, most: int = _MAX_BODY) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise UserError("the request has no content")
        if int(length) > most:
            self._discard(min(int(length), MAX_UPLOAD))
            raise UserError(
                f"the content has {int(length) / 1e6:.0f} MB; at most {most / 1e6:.0f} MB are accepted"
            )
        return self.rfile.read(int(length))

    def _discard(self, length: int) -> None:
        """Read what is sent: the sender reads the answer only after it has sent everything."""
        while length > 0 and (part := self.rfile.read(min(length, 1 << 16))):
            length -= len(part)

    def _json(self) -> object:
        try:
            return json.loads(self._body())
        except (ValueError, RecursionError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError("the content is not valid json") from None

    # Routes

    def _model(self) -> dict:
        return self.server.studio.describe()

    def _layout(self, key: str, index: str) -> dict:
        return self.server.studio.layouts.layout(key, int(index))

    def _upload(self) -> dict:
        names = parse_qs(urlsplit(self.path).query).get("name", ["the file"])
        return self.server.studio.layouts.upload(self._body(MAX_UPLOAD), names[0][:120])

    def _submit(self) -> dict:
        return self.server.studio.submit(self._json())

    def _job(self, key: str) -> dict:
        return self.server.studio.job(key)

    def _cancel(self, key: str) -> dict:
        return self.server.studio.cancel(key)

    def _image(self, key: str, index: str) -> tuple[bytes, str]:
        return self.server.studio.png(key, int(index)), "image/png"

    def _recipe(self, key: str, index: str) -> dict:
        return self.server.studio.recipe(key, int(index))

    def _save(self, key: str) -> dict:
        return self.server.studio.save(key, self._json())


_KEY = r"([\w-]{1,64})"
_INDEX = r"(\d{1,9})"
_ROUTES: list[tuple[str, str, Callable]] = [
    ("GET", "/api/model", StudioHandler._model),
    ("GET", f"/api/layouts/{_KEY}/{_INDEX}", StudioHandler._layout),
    ("POST", "/api/layouts", StudioHandler._upload),
    ("POST", "/api/jobs", StudioHandler._submit),
    ("GET", f"/api/jobs/{_KEY}", StudioHandler._job),
    ("DELETE", f"/api/jobs/{_KEY}", StudioHandler._cancel),
    ("GET", rf"/api/jobs/{_KEY}/{_INDEX}\.png", StudioHandler._image),
    ("GET", rf"/api/jobs/{_KEY}/{_INDEX}\.json", StudioHandler._recipe),
    ("POST", f"/api/jobs/{_KEY}/save", StudioHandler._save),
]
