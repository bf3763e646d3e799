"""Flags of all tools: one meaning each, old forms for one version, names of arguments in errors."""

import argparse
import runpy
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "tools").rglob("*.py"))


ONE_FOLDER_A_FILE = (
    "tools/check_dataset.py",
    "--img-dir",
)  # several annotation files, each with its own images


@pytest.fixture(scope="module")
def parsers():
    return {tool: runpy.run_path(str(ROOT / tool))["build_parser"]() for tool in TOOLS}


@pytest.fixture(scope="module")
def flags(parsers):
    """Flag -> tool -> its action, hidden ones left out."""
    found = defaultdict(dict)
    for tool, parser in parsers.items():
        for action in parser._actions:
            for flag in action.option_strings if action.help is not argparse.SUPPRESS else ():
                found[flag][tool] = action
    return found


def test_a_flag_means_the_same_in_every_tool(flags):
    assert len(flags) > 80  # the walk works
    differing = {}
    for flag, actions in flags.items():
        shared = [a for tool, a in actions.items() if (tool, flag) != ONE_FOLDER_A_FILE]
        kinds = {(a.nargs, a.metavar, type(a).__name__, a.type) for a in shared}
        if len(kinds) > 1 and flag != "--out":
            differing[flag] = kinds
    assert not differing


def test_shared_flags(flags):
    """The flags that several tools have, in all the tools that need them."""
    several = {
        "--ann": ("ANN.json", None),
        "--img-dir": ("DIR", None),
        "--detector": (("CONFIG", "WEIGHTS"), 2),
        "--batch-size": ("N", None),
        "--device": ("NAME", None),
        "--cfg-options": ("KEY=VALUE", "+"),
    }
    for flag, meaning in several.items():
        assert len(flags[flag]) >= 4, flag
        found = {(a.metavar, a.nargs) for tool, a in flags[flag].items() if (tool, flag) != ONE_FOLDER_A_FILE}
        assert found == {meaning}


def test_out_is_a_folder_or_a_file_as_its_help_says(flags):
    places = {tool: action.metavar for tool, action in flags["--out"].items()}
    assert set(places.values()) == {"DIR", "FILE"}
    files = {Path(tool).stem for tool, place in places.items() if place == "FILE"}
    # the side products of two of them bear the file's name
    assert files == {"extract_attributes", "join_results", "quality_gate", "stuff_maps", "test"}
    assert "same name" in flags["--out"]["tools/extract_attributes.py"].help
    assert "same name" in flags["--out"]["tools/quality_gate.py"].help


@pytest.mark.parametrize(
    ("tool", "old", "new"),
    [
        (
            "extract_attributes.py",
            ["c.py", "w.pth", "--ann", "a.json", "--out", "o.json"],
            ["--detector", "c.py", "w.pth", "--ann", "a.json", "--out", "o.json"],
        ),
        (
            "evaluate_fidelity.py",
            ["--detector", "c", "w", "--real", "a", "--real-images=i", "--synthetic", "e=d", "--out", "o"],
            ["--detector", "c", "w", "--ann", "a", "--img-dir", "i", "--synthetic", "e=d", "--out", "o"],
        ),
        (
            "evaluate_yolo_score.py",
            ["--detector", "c", "w", "--ann", "a", "--real-images", "i", "--images", "d", "--out", "o"],
            ["--detector", "c", "w", "--ann", "a", "--img-dir", "i", "--synthetic", "d", "--out", "o"],
        ),
        (
            "analysis_tools/browse_dataset.py",
            ["--out", "o", "a.json", "b.json", "--ids", "1", "2"],
            ["--ann", "a.json", "--ann", "b.json", "--out", "o", "--image-ids", "1", "2"],
        ),
        (
            "dataset_converters/miniscenes.py",
            ["--out", "o", "--split", "train=3"],
            ["--out", "o", "--counts", "train=3"],
        ),
    ],
)
def test_old_forms_do_the_same_and_say_so(parsers, capsys, tool, old, new):
    parser = parsers[f"tools/{tool}"]
    expected = parser.parse_args(new)
    assert capsys.readouterr().err == ""
    found = parser.parse_args(old)
    notes = capsys.readouterr().err.splitlines()
    assert found == expected
    assert notes and all(n.startswith("note: ") and "the next version" in n for n in notes)
    hidden = {word.split("=")[0] for word in old if word.startswith("--")} - set(new)
    shown = parser.format_help()
    assert not [flag for flag in hidden if f"{flag} " in shown]


def test_what_is_missing_or_too_much_is_an_error(parsers, capsys):
    extract, browse = (
        parsers["tools/extract_attributes.py"],
        parsers["tools/analysis_tools/browse_dataset.py"],
    )
    for parser, arguments, message in (
        (browse, ["--out", "o"], "required: --ann"),
        (browse, ["--out", "o", "a.json", "--ann", "b.json"], "unrecognized arguments: a.json"),
        (extract, ["c.py", "--ann", "a.json", "--out", "o"], "unrecognized arguments: c.py"),
    ):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args(arguments)
        assert message in capsys.readouterr().err
