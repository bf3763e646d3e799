"""Damage to the bytes of text files, as caused by editors, transfers, and other line ends and encodings."""

from __future__ import annotations

import random
from pathlib import Path


def damage_text(path: Path, rng: random.Random) -> str:
    """Change a text file; return a description."""
    name = rng.choice(sorted(_WAYS))
    path.write_bytes(_WAYS[name](path.read_bytes(), rng))
    return f"{path.name}: {name}"


def damage_lines(path: Path, rng: random.Random) -> str:
    """Change one or all lines of a line-based file (labels, lists); return a description."""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    name = rng.choice(sorted(_LINES))
    full = [k for k, line in enumerate(lines) if line.strip()]
    if not full:
        return f"{path.name}: left as it is"
    chosen = full if rng.random() < 0.4 else [rng.choice(full)]
    for k in chosen:
        lines[k] = _LINES[name](lines[k], rng)
    path.write_text("\n".join(lines), encoding="utf-8")
    return f"{path.name}: {len(chosen)} lines {name}"


def _cut(data: bytes, rng) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _flip(data: bytes, rng) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 20])):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _digits(data: bytes, rng) -> bytes:
    """Change digits, keeping the file well-formed."""
    changed = bytearray(data)
    places = [k for k, c in enumerate(changed) if chr(c).isdigit()]
    for k in rng.sample(places, min(len(places), rng.choice([1, 2, 5]))):
        changed[k] = ord(rng.choice("0123456789"))
    return bytes(changed)


def _utf16(data: bytes, rng) -> bytes:
    return data.decode("utf-8", "replace").encode("utf-16")


def _lose_part(data: bytes, rng) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice([1, 5, 40]) :]


_WAYS = {
    "cut off": _cut,
    "bytes flipped": _flip,
    "digits changed": _digits,
    "a part lost": _lose_part,
    "byte order mark": lambda data, rng: b"\xef\xbb\xbf" + data,
    "CR LF": lambda data, rng: data.replace(b"\n", b"\r\n"),
    "CR alone": lambda data, rng: data.replace(b"\n", b"\r"),
    "UTF-16": _utf16,
    "latin-1 byte": lambda data, rng: data[: len(data) // 2] + b"\xe9" + data[len(data) // 2 :],
    "zeros at the end": lambda data, rng: data + b"\0" * 64,
    "twice": lambda data, rng: data + data,
    "empty": lambda data, rng: b"",
    "white space": lambda data, rng: b" \n\t\n",
    "points as commas": lambda data, rng: data.replace(b".", b","),
    "html in place": lambda data, rng: b"<html><body>404 Not Found</body></html>\n",
}

_LINES = {
    "with commas": lambda line, rng: line.replace(" ", ","),
    "with a column more": lambda line, rng: line + rng.choice([" 0.9", " 1", " abc", " 0.9 3"]),
    "with a column less": lambda line, rng: line.rsplit(" ", 1)[0],
    "with tabs": lambda line, rng: line.replace(" ", "\t"),
    "with spaces around": lambda line, rng: f"  {line}  ",
    "with a comment": lambda line, rng: line + " # good",
    "quoted": lambda line, rng: f'"{line}"',
    "with backslashes": lambda line, rng: line.replace("/", "\\"),
    "with a suffix": lambda line, rng: line + rng.choice([".jpg", ".xml", ".JPG", " -1", " 1"]),
    "without a suffix": lambda line, rng: line.rsplit(".", 1)[0],
    "in capitals": lambda line, rng: line.upper(),
    "in a sub-folder": lambda line, rng: "sub/" + line,
    "twice": lambda line, rng: f"{line}\n{line}",
    "unknown": lambda line, rng: "nobody_knows_this",
    "of odd numbers": lambda line, rng: " ".join(
        rng.choice(["nan", "inf", "-1", "1e9", "0", "7", "0.5"]) if rng.random() < 0.5 else part
        for part in line.split(" ")
    ),
    "in pixels": lambda line, rng: " ".join(
        part if k == 0 or not part.replace(".", "").isdigit() else f"{float(part) * 64:.1f}"
        for k, part in enumerate(line.split(" "))
    ),
}
