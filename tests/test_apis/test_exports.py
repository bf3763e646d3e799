"""The façade: every name that it exports is there, and naming it loads nothing heavy."""

import ast
import subprocess
import sys

import pytest

from detdiffusion import apis

RUNS = {
    "DetDiffusionInferencer",
    "browse_dataset",
    "check_dataset",
    "compare_trainability",
    "evaluate_fidelity",
    "extract",
    "generate_dataset",
    "run_quality_gate",
    "score_methods",
    "sweep_sampling",
    "write_and_report",
    "write_paper_tables",
}


def test_every_export_is_there():
    assert set(apis.__all__) >= RUNS and dir(apis) == sorted(apis.__all__)
    assert all(getattr(apis, name).__doc__ for name in apis.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        apis.nothing  # noqa: B018


def test_settings_are_at_hand_without_torch():
    code = (
        "import sys\n"
        "from detdiffusion.apis import ContentOptions, PredictionOptions, FidOptions, SheetOptions, OutputOptions\n"
        "from detdiffusion.apis import AttributeRule\n"
        "print([m for m in ('torch', 'mmengine', 'numpy', 'PIL') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_tools_run_the_facade(repo_root):
    """What a tool runs of the library's rooms that the façade exports, it takes from there."""
    homes = {getattr(apis, name).__module__ for name in RUNS}
    for path in (repo_root / "tools").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert node.module not in homes, f"{path}: import it from detdiffusion.apis"


def test_size(repo_root):
    files = (repo_root / "detdiffusion/apis").glob("*.py")
    assert sum(len(path.read_text().splitlines()) for path in files) <= 2000  # about 130 lines a tool
