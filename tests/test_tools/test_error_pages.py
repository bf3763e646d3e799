"""The messages of docs/errors.md are those of the code."""

import ast
import re
from functools import lru_cache

import pytest
from pages import DOCS, ROOT, blocks

GAP = "…"  # what a message says of the case at hand
MESSAGES = [block.strip() for block in blocks(DOCS["errors"].read_text(), "text")]


def template(node):
    """A string of the code with ``GAP`` for each value, and flags for the arguments in backticks."""
    values = node.values if isinstance(node, ast.JoinedStr) else [node]
    text = "".join(str(v.value) if isinstance(v, ast.Constant) else GAP for v in values)
    return plain(re.sub(r"`([a-z]+(?:_[a-z]+)*)`", lambda name: "--" + name[1].replace("_", "-"), text))


def plain(text):
    """Without the length of gaps, and of what separates two of them."""
    return re.sub(rf"(?:{GAP}[ ,;:.()]*)+", GAP, " ".join(text.split()))


@lru_cache
def templates():
    found = set()
    for path in (ROOT / "detdiffusion").rglob("*.py"):
        if ".mim" not in path.parts:
            nodes = ast.walk(ast.parse(path.read_text()))
            found |= {
                template(node)
                for node in nodes
                if isinstance(node, ast.JoinedStr)
                or (isinstance(node, ast.Constant) and isinstance(node.value, str))
            }
    return found


@pytest.mark.parametrize("message", MESSAGES, ids=lambda text: text[:50])
def test_the_code_has_the_message(message):
    wanted = plain(message).strip(GAP)
    assert len(wanted.split()) >= 5  # enough to be told from others
    assert any(wanted in text for text in templates())


def test_every_message_has_a_heading_of_its_own():
    text = DOCS["errors"].read_text()
    assert (
        20
        <= len(MESSAGES)
        == len(set(MESSAGES))
        == len(re.findall(r"^### .+\n\n```text\n", text, re.MULTILINE))
    )
