"""Dataclass fields as flags: types, limits, defaults, and errors in words of the caller."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, fields

import pytest

from detdiffusion import apis
from detdiffusion.utils.cli import run_main
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.option_groups import OptionGroup, add_options, build_options, documented, option
from detdiffusion.utils.tool_parser import ToolParser, named_sets


@documented
@dataclass(frozen=True, kw_only=True)
class Base(OptionGroup):
    """What is inherited."""

    device: str | None = option(None, "where, default: %(default)s")


@documented
@dataclass(frozen=True, kw_only=True)
class Drawing(Base):
    """How to draw."""

    count: int = option(help="how many", minimum=1)
    share: float = option(0.5, "of all, default: %(default)s", minimum=0, below=1)
    image_format: str = option("png", "of files", flag="--format", choices=("png", "jpeg"))
    ids: Sequence[int] | None = option(None, "these", nargs="+")
    weights: Mapping[str, float] | None = option(None, "NAME=VALUE", nargs="+")
    files: Sequence[str] | None = option(None, "several", repeat=True)
    verify: bool = option(False, "check")


def parser():
    made = ToolParser("A tool.", "examples: tool")
    add_options(made, Drawing)
    return made


def test_flags_become_fields():
    text = "--count 3 --share 0.25 --format jpeg --ids 4 5 --weights a=1 --files x --files y --verify --device cpu"
    made = build_options(Drawing, parser().parse_args(text.split()))
    assert made == Drawing(
        count=3,
        share=0.25,
        image_format="jpeg",
        ids=[4, 5],
        weights=["a=1"],
        files=["x", "y"],
        verify=True,
        device="cpu",
    )
    assert build_options(Drawing, parser().parse_args(["--count", "1"])) == Drawing(count=1)
    with pytest.raises(FrozenInstanceError):
        made.count = 4


def test_help_comes_from_the_fields():
    shown = parser().format_help()
    assert "of all, default: 0.5" in shown and "where, default: None" in shown
    assert shown.index("--count") < shown.index("--device")  # a group's own flags come first
    assert "share: of all, default: 0.5" in Drawing.__doc__ and "device: where" in Drawing.__doc__


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(count=0), "`count` must be at least 1, it is 0"),
        (dict(count="3"), "`count` must be a number, it is '3'"),
        (dict(count=True), "`count` must be a number"),
        (dict(count=1, share=1.0), "`share` must be at least 0 and below 1, it is 1.0"),
        (dict(count=1, share=float("nan")), "`share` must be at least 0 and below 1, it is nan"),
        (dict(count=1, image_format="gif"), "`image_format` must be one of png, jpeg, it is 'gif'"),
    ],
)
def test_a_value_out_of_range_names_the_argument(values, message):
    with pytest.raises(UserError, match=message):
        Drawing(**values)


def test_the_command_line_names_the_flag(monkeypatch, capsys):
    def main(args):
        build_options(Drawing, args)
        raise UserError("`image_format` is wrong, `count` too, `other` is not ours")

    for arguments, message in (
        (["--count", "0"], "error: --count must be at least 1, it is 0"),
        (["--count", "1"], "error: --format is wrong, --count too, `other` is not ours"),
    ):
        monkeypatch.setattr(sys, "argv", ["tool", *arguments])
        with pytest.raises(SystemExit, match="2"):
            run_main(main, parser)
        assert capsys.readouterr().err.splitlines()[-1] == message


GROUPS = [name for name in apis.__all__ if isinstance(getattr(apis, name), type)]
GROUPS = [name for name in GROUPS if issubclass(getattr(apis, name), OptionGroup)]


@pytest.mark.parametrize("name", GROUPS)
def test_every_field_of_the_groups_is_explained(name):
    group = getattr(apis, name)
    assert all(field.metadata["option"].help for field in fields(group))
    assert all(f"    {field.name}: " in group.__doc__ for field in fields(group))


def test_conflicts_name_the_arguments():
    for make, message in (
        (lambda: apis.PredictionOptions(), "give a detector by `detector`"),
        (lambda: apis.PredictionOptions(detector=("c", "w"), predictions="r"), "not both"),
        (lambda: apis.PredictionOptions(predictions="r", device="cpu"), "`device` is for a detector"),
        (lambda: apis.PredictionOptions(detector=("c", "w"), detector_classes=["a"]), "`detector_classes`"),
        (
            lambda: apis.PredictionOptions(detector=("c", "w"), cache="x", no_cache=True),
            "`cache` or `no_cache`",
        ),
        (lambda: apis.LayoutOptions(img_dir="x"), "`img_dir` requires `ann`"),
        (lambda: apis.GateThresholds(moved_iou=0.6), "`moved_iou` must be above 0 and at most `iou_thr`"),
        (
            lambda: apis.AnnotatedImages(ann=["a", "b"]).file,
            "`ann`: exactly one annotation file is required here",
        ),
    ):
        with pytest.raises(UserError, match=message):
            make()


def test_named_sets():
    assert named_sets(["easy=a/b", "out/hard"]) == {"easy": "a/b", "hard": "out/hard"}
    for texts in (["a=x", "a=y"], ["x/a", "a=y"], ["=x"], ["a="]):
        with pytest.raises(UserError, match="`synthetic`"):
            named_sets(texts)
