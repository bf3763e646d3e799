"""What the documentation says is right: commands, options, configs, links, files and Python blocks of every page."""

import ast
import importlib.util
import inspect
import json
import re
import runpy
import shlex
import sys
from functools import lru_cache

import pytest
from pages import DOCS, PAGES, RECORDS, ROOT, blocks, commands, help_of, name_of, table
from site_pages.reference_pages import names_of
from site_pages.symbols import home_of, lines_of, module_path

from detdiffusion.cli import commands as commands_of_the_package

COMMANDS = [(name_of(page), words) for page in PAGES for words in commands(page.read_text())]
FREE = {"pip", "source", ".venv/bin/ruff"}  # programs that are not ours
BLOCKS = [(name_of(page), code) for page in PAGES for code in blocks(page.read_text(), "python")]
SHELL = {"tools/dist_train.sh": (1, "tools/train.py"), "tools/dist_generate.sh": (2, "tools/generate.py")}


def split_command(words):
    """The Python file that a command runs, and its arguments."""
    program, *arguments = words
    if program == "make":
        (target, *settings) = arguments
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        options = shlex.split(dict(setting.split("=", 1) for setting in settings).get("ARGS", ""))
        if target.startswith("demo"):
            return "tools/quickstart.py", options
        assert all((ROOT / path).exists() for path in options)
        return None, []
    if program == "detdiffusion":
        command, *arguments = arguments
        return name_of(commands_of_the_package()[command]), arguments
    assert program in ("python", "bash")
    tool, *arguments = arguments
    assert (ROOT / tool).is_file()
    if tool in SHELL:
        place, tool = SHELL[tool]
        assert arguments.pop(place).isdigit()
    return tool, arguments


@lru_cache
def config_with(path, options):
    """A config with the options of a command, checked as the tools check it."""
    from detdiffusion.utils.config import load_config

    return load_config(str(ROOT / path), list(options))


@lru_cache
def parser_of(tool):
    """The parser of a tool or benchmark, or None where it has no function that builds it."""
    build = runpy.run_path(str(ROOT / tool)).get("build_parser")
    return build and build()


def parse(tool, arguments):
    """Every option is one of the tool; tools parse the whole command."""
    if parser_of(tool) is not None:
        parser_of(tool).parse_args(arguments)
        return
    text = help_of(tool)
    flags = [word for word in arguments if word.startswith("--")]
    assert [flag for flag in flags if not re.search(rf"{flag}\b(?!-)", text)] == []


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda value: value if isinstance(value, str) else " ".join(value[:3])
)
def test_command_exists_with_its_options(page, words, capsys):
    if words[0] in FREE:
        return
    tool, arguments = split_command(words)
    if tool is None:
        return
    if "..." not in arguments:
        parse(tool, arguments)
    assert capsys.readouterr().err == ""  # no note: no form that is about to go
    configs = [word for word in arguments if word.startswith("configs/")]
    assert all((ROOT / config).is_file() for config in configs)
    if "--cfg-options" in arguments:
        config_with(configs[0], tuple(arguments[arguments.index("--cfg-options") + 1 :]))


def test_the_whole_way_is_shown():
    shown = {words[1] for page, words in COMMANDS if page == "docs/guides/step_by_step.md"}
    assert {
        "tools/dataset_converters/voc_to_coco.py",
        "tools/extract_attributes.py",
        "tools/generate.py",
        "tools/train.py",
        "tools/compare_trainability.py",
    } <= shown


@pytest.mark.parametrize("page", PAGES[1:], ids=name_of)
def test_it_opens_with_what_the_reader_can_do(page):
    assert re.match(r"# .+\n\nAfter this page you ", page.read_text())


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", *RECORDS], ids=name_of)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(((?!http)[^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".py":
            lines_of(target, anchor)
        else:
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page):
    text = page.read_text()
    folders = r"`((?:configs|detdiffusion|tools|tests|benchmarks|requirements)(?:/[\w.-]+)*/?)(?:::(\w+))?`"
    for path, test in re.findall(folders, text):
        assert (ROOT / path).exists(), path
        assert not test or f"\ndef {test}(" in (ROOT / path).read_text(), test
    files = {name_of(path) for path in ROOT.rglob("*.py") if ".venv" not in str(path.relative_to(ROOT))}
    for path in re.findall(r"`([a-z][\w/.-]*\.py)`", text):
        assert any(f"/{file}".endswith(f"/{path}") for file in files), path


@pytest.fixture(scope="module")
def known_flags():
    tools = [name_of(path) for path in (ROOT / "tools").rglob("*.py")]
    parsers = [parser_of(tool) for tool in tools]
    flags = {flag for parser in parsers for action in parser._actions for flag in action.option_strings}
    benchmarks = [f"benchmarks/{name}.py" for name in ("paper_in_miniature", "low_data", "fuzz_inputs")]
    flags.update(flag for path in benchmarks for flag in re.findall(r"--[a-z][\w-]*", help_of(path)))
    return flags | {"--nproc_per_node"}  # torchrun's


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_flags_that_are_named_exist(page, known_flags):
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
    named = {flag for span in spans for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)}
    assert named <= known_flags


@pytest.fixture(scope="module")
def registered():
    """Whether some registry of ours or of the libraries below has a type."""
    import mmdet.datasets.samplers  # noqa: F401

    import detdiffusion.datasets.share_schedule
    import detdiffusion.datasets.synthetic_coco
    import detdiffusion.engine
    import detdiffusion.evaluation.generation_metrics  # noqa: F401
    from detdiffusion import registry

    registries = [value for value in vars(registry).values() if isinstance(value, registry.Registry)]
    return lambda name: any(one.get(name) or one.get(f"mmdet.{name}") for one in registries)


@pytest.mark.parametrize(("page", "code"), BLOCKS, ids=[f"{page}-{i}" for i, (page, _) in enumerate(BLOCKS)])
def test_python_block_names_what_exists(page, code, registered):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            names = [name.name for name in node.names]
            assert [n for n in names if not hasattr(module, n) and not is_module(f"{node.module}.{n}")] == []
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "type":
                    assert registered(keyword.value.value), keyword.value.value
                if keyword.arg == "imports":
                    names = [item.value for item in keyword.value.elts]
                    assert all(name == "mine" or importlib.util.find_spec(name) for name in names)


def is_module(name):
    return importlib.util.find_spec(name) is not None


# What the blocks that are programs are told by; each is run by a test of this module or the named one.
RUN = {
    **{part: "test_docs" for part in ("Inferencer(", "generate_dataset(", "load_config(", "rare = ")},
    **{part: "test_docs" for part in ("OVERFLOW_POLICIES", "SmoothNoiseLoss", "_base_ = ")},
    "SmallIsHard": "test_drawn_attributes",
    "def recipe_of": "test_server",
    "integrations.mmagic": "test_mmagic",
    "DiffusionPipeline": "test_exported_pipeline",
}
# The configs that the other blocks, parts of a config, are added to.
BASES = {
    "attributes": "detdiffusion_coco.py",
    "detectors": "trainability/faster-rcnn_r50_fpn_mixed_coco.py",
    "evaluation": "detdiffusion_validated_miniscenes.py",
    "extending": "detdiffusion_coco.py",
    "generator": "detdiffusion_small_coco.py",
    "large_data": "detdiffusion_coco.py",
}
SESSION = "docs/guides/python.md"  # its blocks are run together
PARTS = [(page, code) for page, code in BLOCKS if page != SESSION and not any(part in code for part in RUN)]


@pytest.mark.parametrize(("page", "code"), PARTS, ids=[f"{page}-{i}" for i, (page, _) in enumerate(PARTS)])
def test_a_part_of_a_config_loads(page, code, tmp_path, monkeypatch):
    from detdiffusion.utils.config import load_config

    (tmp_path / "mine.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    names = "".join(f'{name} = "{name}"\n' for name in ("DETECTOR", "WEIGHTS") if name in code)
    base = ROOT / "configs" / BASES[re.search(r"(\w+)\.md$", page)[1]]
    path = tmp_path / "config.py"
    path.write_text(f'_base_ = "{base}"\n{names}{code}')
    config = load_config(str(path))
    added = [node.targets[0].id for node in ast.parse(code).body]
    assert added and all(config.get(name) for name in added)


def block_of(page, part):
    """The Python block of a page that has this text."""
    (code,) = [code for code in blocks(DOCS[page].read_text(), "python") if part in code]
    return code


def test_the_example_in_python_draws():
    """With the pretrained small model in place of Stable Diffusion's."""
    code = block_of("generator", "Inferencer(")
    config = ROOT / "configs/detdiffusion_miniscenes.py"
    for theirs, ours in {
        '"configs/detdiffusion_coco.py", "epoch_60.pth"': f'{str(config)!r}, None, device="cpu"',
        '"person", "sky"': '"ball", "sky"',
        "num_inference_steps=50": "num_inference_steps=2",
    }.items():
        assert theirs in code
        code = code.replace(theirs, ours)
    names = {}
    exec(code, names)
    assert names["images"].shape == (1, 3, 64, 64) and 0 <= names["images"].min() < names["images"].max() <= 1


def test_a_set_made_in_python(tmp_path, monkeypatch):
    from tiny_generation import write_world

    world = write_world(tmp_path / "world", images=3)
    code = block_of("synthetic_sets", "generate_dataset(")
    for theirs, ours in {
        "configs/detdiffusion_coco.py": str(world / "config.py"),
        "epoch_60.pth": str(world / "weights.pth"),
        'split="val"': f"attributes={str(world / 'attributes.json')!r}",
        "steps=30": "steps=1, batch_size=3",
    }.items():
        assert theirs in code
        code = code.replace(theirs, ours)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["counts"]["written"] == len(list((tmp_path / "work_dirs/val/mix/images").iterdir())) > 0


def test_the_config_of_ones_own_takes_effect(tmp_path):
    from detdiffusion.utils.config import load_config

    path = tmp_path / "mine.py"
    path.write_text(block_of("configs", "_base_"))
    config = load_config(str(path))
    assert config.model.perception_loss.loss_weight == 0.02 and config.model.perception_loss.use_dice
    assert config.train_dataloader.batch_size == 8 and config.train_dataloader.dataset.ann_files


def test_the_options_of_a_config_in_python(monkeypatch):
    monkeypatch.chdir(ROOT)
    names = {}
    exec(block_of("configs", "load_config("), names)
    config = names["config"]
    assert config.train_dataloader.dataset.ann_files == ["data/mine/instances.json"]
    assert config.model.lora.r == 16


def test_the_part_of_a_set_with_rare_classes(tmp_path, monkeypatch):
    categories = [dict(id=1, name="person"), dict(id=2, name="bicycle")]
    annotations = [dict(id=i, image_id=k, category_id=c) for i, k, c in ((1, 7, 1), (2, 8, 2), (3, 8, 1))]
    coco = dict(images=[dict(id=7), dict(id=8)], annotations=annotations, categories=categories)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/my_coco").mkdir(parents=True)
    (tmp_path / "data/my_coco/instances.json").write_text(json.dumps(coco))
    exec(block_of("questions", "rare = "), {})
    expected = dict(coco, images=[dict(id=8)], annotations=annotations[1:])
    assert json.loads((tmp_path / "rare.json").read_text()) == expected


def test_the_strategy_of_ones_own_is_imported_by_the_config(tmp_path, monkeypatch):
    from detdiffusion.generation.strategies import build_strategy
    from detdiffusion.utils.config import load_config

    (tmp_path / "mine.py").write_text(block_of("extending", "SmallIsHard"))
    (tmp_path / "my_config.py").write_text(block_of("extending", "_base_ = "))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    load_config(str(tmp_path / "my_config.py"))
    assert build_strategy("SmallIsHard").name == "small-is-hard"
    sys.modules.pop("mine")


def test_the_overflow_policy_of_ones_own(tmp_path):
    from tiny_editor import WORDS
    from transformers import CLIPTokenizer

    from detdiffusion.models.editors.detdiffusion.layout_tokenizer import LayoutTokenizer
    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer
    from detdiffusion.structures import Layout

    exec(block_of("extending", "OVERFLOW_POLICIES"), {})
    write_small_tokenizer(tmp_path, WORDS)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    tokenizer = LayoutTokenizer(tokenizer, bins=(4, 4), max_length=13, overflow="smallest")
    boxes = [[0, 0, 0.1, 0.1], [0, 0, 1, 1], [0, 0, 0.5, 0.5]]
    layout = Layout(boxes, ["ball", "sky", "ball"], ["easy", "background", "hard"])
    assert tokenizer.encode([layout]).kept == [[0, 2]] and tokenizer.dropped == {"sky": 1}


def test_the_loss_of_ones_own_trains(tmp_path):
    import torch
    from tiny_editor import build_editor, layouts
    from torch.nn.functional import smooth_l1_loss

    exec(block_of("extending", "SmoothNoiseLoss"), {})
    loss = build_editor(tmp_path, noise_loss=dict(type="SmoothNoiseLoss")).noise_loss
    pred, target = torch.randn(2, 1, 4, 8, 8)
    boxes = [layout.boxes for layout in layouts()]
    assert torch.equal(loss(pred, target, boxes), smooth_l1_loss(pred, target))


MODULES = [
    row
    for section in re.split(r"^## ", DOCS["reference"].read_text(), flags=re.MULTILINE)[1:]
    for row in table(section, "| module |")[1]
]


@pytest.mark.parametrize("row", MODULES, ids=lambda row: row[1])
def test_names_of_the_reference_exist(row):
    module = importlib.import_module(row[0].strip("`"))
    names = names_of(row[1])
    assert names and [name for name in names if not hasattr(module, name)] == []
    for name in names:  # the site finds its docstring without importing the module
        value, home = getattr(module, name), home_of(module.__name__, name)
        first, last = lines_of(module_path(home), name)
        if inspect.isclass(value) or inspect.isfunction(value):
            lines, start = inspect.getsourcelines(value)
            assert (value.__module__, first, last) == (home, start, start + len(lines) - 1)


def test_names_that_are_given_as_stable_are_registered():
    import detdiffusion.datasets.synthetic_coco
    import detdiffusion.models  # noqa: F401
    from detdiffusion.registry import DATASETS, MODELS, TRANSFORMS

    text = DOCS["extending"].read_text()
    line = re.search(r"Names to build on in configs are (.*?), scope", text, re.DOTALL)[1]
    names = re.findall(r"`(\w+)`", line)
    assert len(names) == 5
    for name in names:
        assert any(registry.get(name) for registry in (DATASETS, MODELS, TRANSFORMS)), name


def test_changes_of_the_contributing_table():
    """Every row names a place, and tests that exist (checked with the other files)."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    _, rows = table(text, "| change |")
    assert [row[0] for row in rows] == [
        *("backbone", "condition", "strategy", "overflow policy", "FID protocol", "detector backend"),
        *("annotation format", "loss term", "report page", "resume logic"),
    ]
    for _, place, _, test in rows:
        paths = [path for path in re.findall(r"`([\w/.]+)`", place) if "/" in path]
        assert paths and all((ROOT / "detdiffusion" / p).exists() or (ROOT / p).exists() for p in paths)
        assert re.fullmatch(r"`tests/[\w/]+\.py(::\w+)?`", test)


def test_the_session_in_python_runs(tmp_path, monkeypatch, capsys):
    """All blocks of the page, one after the other, with the weights that the config names and few steps."""
    from detdiffusion.datasets.miniscenes import write_miniscenes

    write_miniscenes(tmp_path / "work_dirs/demo/data", "val", 2)
    code = "\n".join(blocks(DOCS["python"].read_text(), "python"))
    for theirs, ours in {
        '"configs/detdiffusion_miniscenes.py"': repr(str(ROOT / "configs/detdiffusion_miniscenes.py")),
        '"work_dirs/demo/generator/iter_400.pth"': "None",
        "num_inference_steps=25": "num_inference_steps=1",
    }.items():
        assert theirs in code
        code = code.replace(theirs, ours)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code, names)
    assert names["image"].size == names["copy"].images[0].size == (64, 64)
    assert len(names["variants"].images) == 4 and (tmp_path / "generated/predictions.json").is_file()
    printed = capsys.readouterr().out
    page = " ".join(DOCS["python"].read_text().split())
    for message in printed.splitlines()[-3:-1]:
        assert message in page
