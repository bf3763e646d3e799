"""CLIP's byte-pair encoding: pieces, symbols of bytes, and the merges of a few words; without torch."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

PROMPT_WORDS = ("an", "image", "with", "easy", "hard", "background")
"""Words of every prompt."""
Merges = Mapping[tuple[str, str], int]
"""Pair of symbols -> rank."""

# Numbers are replaced by 0 before: \w and \d of the standard library do not have Unicode's category N.
_PIECE = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")


def pieces(text: str) -> list[str]:
    """Split a text as ``CLIPTokenizer`` does: runs of letters, single digits, and runs of other characters.

    No token goes across two pieces, so a text has at least as many tokens: ``no_vest`` has three, ``car(old)`` four.

    Args:
        text: any text; it is normalised (NFC) and lower-cased first.

    Source: the pattern of OpenAI CLIP's ``SimpleTokenizer``, as in transformers'
    ``models/clip/tokenization_clip.py``.
    """
    text = "".join(letter.lower() for letter in unicodedata.normalize("NFC", text))
    masked = "".join("0" if unicodedata.category(letter)[0] == "N" else letter for letter in text)
    return [text[slice(*found.span())] for found in _PIECE.finditer(masked)]


def byte_symbols() -> dict[int, str]:
    """Return the 256 printable symbols that represent bytes, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + k) for k, byte in enumerate(rest)}


def merges_of(words: Sequence[str]) -> dict[tuple[str, str], int]:
    """Return merges that join the bytes of each piece of the words from left to right.

    Where a merge of an earlier word fits into a later one, as ``a n</w>`` into ``van``, the later one stays in two
    tokens; see :func:`count_tokens`.
    """
    merges: dict[tuple[str, str], int] = {}
    for piece in (piece for word in words for piece in pieces(word)):
        symbols = _symbols(piece)
        while len(symbols) > 1:
            merges.setdefault((symbols[0], symbols[1]), len(merges))
            symbols = [symbols[0] + symbols[1], *symbols[2:]]
    return merges


def count_tokens(text: str, merges: Merges) -> int:
    """Return the tokens of a text, without start and end tokens."""
    return sum(len(_merged(_symbols(piece), merges)) for piece in pieces(text))


def _symbols(piece: str) -> list[str]:
    symbol_of = byte_symbols()
    symbols = [symbol_of[byte] for byte in piece.encode()]
    return [*symbols[:-1], symbols[-1] + "</w>"]


def _merged(symbols: list[str], merges: Merges) -> list[str]:
    """Apply the merges, the lowest rank first, until none fits."""
    while known := [pair for pair in zip(symbols, symbols[1:]) if pair in merges]:
        first, k, joined = min(known, key=lambda pair: merges[pair]), 0, []
        while k < len(symbols):
            step = 2 if tuple(symbols[k : k + 2]) == first else 1
            joined.append("".join(symbols[k : k + step]))
            k += step
        symbols = joined
    return symbols
