"""Files of a ``CLIPTokenizer`` with a small vocabulary, for models too small for 49,408 token embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from detdiffusion.utils.clip_bpe import byte_symbols, merges_of


def write_small_tokenizer(folder: str | Path, words: Sequence[str], model_max_length: int = 77) -> int:
    """Write ``vocab.json``, ``merges.txt`` and ``tokenizer_config.json`` of a ``CLIPTokenizer``.

    The pieces of the given words become tokens, see :func:`~detdiffusion.utils.clip_bpe.merges_of`; any other text is
    split into bytes, so no text is unknown.

    Args:
        folder: folder to write; created if missing.
        words: words in any script.
        model_max_length: the tokenizer's length limit in tokens.

    Returns:
        The vocabulary's size.
    """
    merges, letters = merges_of(words), list(byte_symbols().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges)]
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(
        json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False), encoding="utf-8"
    )
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
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
