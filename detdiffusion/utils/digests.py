"""Digests by which a step, or a result, tells whether what it was made with has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from .files import sha256_of

_CONFIGS: dict[tuple, str] = {}
"""Those of :func:`config_digest` so far, by the bytes of a config's files: evaluating one takes half a second."""
_FILES: dict[tuple, str] = {}
"""Those of :func:`file_digest` so far, by place, size and time."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, which is read again only if its size, time or place on the disk has changed."""
    facts = path.stat()
    known = str(path.absolute()), facts.st_ino, facts.st_size, facts.st_mtime_ns
    if known not in _FILES:
        _FILES[known] = sha256_of(path)
    return _FILES[known]


@cache
def code_digest() -> str:
    """Return the SHA-256 of the names and contents of the package's Python files, as they are at the first call."""
    package, digest = Path(__file__).resolve().parents[1], hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def config_digest(
    path: str | Path,
    parts: Sequence[str] | None = None,
    overrides: Mapping[str, object] | None = None,
    root: Path = Path(),
) -> str:
    """Return the SHA-256 of a config with its bases resolved, regardless of comments and the order of files.

    Args:
        path: the file, or ``PACKAGE::NAME``.
        parts: top-level keys to include; None includes all.
        overrides: dotted key -> value, applied first.
        root: folder that a relative path starts from.

    Raises:
        UserError: there is no such config, or it cannot be read.
    """
    from .config import config_file, reading
    from .config_files import read_tree
    from .config_variables import evaluate

    file = config_file(str(path) if "::" in str(path) else str(root / path))
    with reading(file):
        tree = read_tree(file)
        digests = [(one.path, file_digest(Path(one.path))) for one in tree.family()]
        known = parts and tuple(parts), json.dumps(overrides or {}, default=str), *digests
        if known not in _CONFIGS:
            config = evaluate(tree, {}, import_modules=False)
            config.merge_from_dict(dict(overrides or {}))
            content = config.to_dict()
            if parts is not None:
                content = {key: content[key] for key in parts if key in content}
            text = json.dumps(content, sort_keys=True, default=str)
            _CONFIGS[known] = hashlib.sha256(text.encode()).hexdigest()
    return _CONFIGS[known]
