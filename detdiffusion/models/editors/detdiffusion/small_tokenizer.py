"""Files of a ``CLIPTokenizer`` with a small vocabulary, for models too small for 49,408 token embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path


def _byte_symbols() -> list[str]:
    """Return the 256 printable symbols that represent bytes in CLIP's BPE, in CLIP's vocabulary order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + k) for k in range(len(rest))]


def write_small_tokenizer(folder: str | Path, words: Sequence[str], model_max_length: int = 77) -> int:
    """Write ``vocab.json``, ``merges.txt`` and ``tokenizer_config.json`` of a ``CLIPTokenizer``.

    Every given word becomes one token; any other text is split into bytes, so no text is unknown.

    Args:
        folder: folder to write; created if missing.
        words: lower-case words.
        model_max_length: the tokenizer's length limit in tokens.

    Returns:
        The vocabulary's size.
    """
    merges: dict[tuple[str, str], None] = {}
    for word in dict.fromkeys(words):
        symbols = [*word[:-1], word[-1] + "</w>"]
        while len(symbols) > 1:
            merges[symbols[0], symbols[1]] = None
            symbols = [symbols[0] + symbols[1], *symbols[2:]]
    letters = _byte_symbols()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(
        json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False)
    )
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines))
    special = dict(bos_token="<|startoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>")
    config = dict(
        tokenizer_class="CLIPTokenizer",
        pad_token="<|endoftext|>",
        model_max_length=model_max_length,
        do_lower_case=True,
        **special,
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
    return len(tokens)
