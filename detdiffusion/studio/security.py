"""Which requests are answered: those of the page itself, under an address that a foreign page cannot take over."""

from __future__ import annotations

import ipaddress
import socket
from email.message import Message
from urllib.parse import urlsplit

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer: nothing is loaded from elsewhere, embedded elsewhere or kept."""


def local_names(host: str) -> set[str]:
    """Return the names under which a server that listens on ``host`` is reached, lower case."""
    return {"localhost", host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}


def refusal(method: str, headers: Message, names: set[str]) -> str | None:
    """Return why a request is refused, or None.

    - The host must be an address or a name of this machine. A page elsewhere whose name is made to point here (DNS
      rebinding) comes under its own name.
    - What changes something must come from this page: its origin, if the browser states one, is this host; and its
      content is json, which a foreign page cannot send without asking first.

    Args:
        method: of the request.
        headers: of the request.
        names: see :func:`local_names`.
    """
    host = headers.get("Host", "")
    name = _name_of(host)
    if name not in names and not _is_address(name):
        return f"the host {host[:80]!r} is not a name of this machine: use its address"
    if method == "GET":
        return None
    origin = headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return f"requests of {origin[:80]!r} are not answered"
    if headers.get_content_type() != "application/json":
        return "the content must be application/json"
    return None


def _name_of(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
