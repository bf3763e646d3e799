"""Two OpenCV distributions in one environment: told where they differ, with the one that wins."""

import os
import subprocess
import sys

import cv2
import pytest

from detdiffusion.utils.opencv import distribution_of, installed_opencv, mend_opencv, opencv_conflict


def test_the_imported_files_name_their_distribution():
    name, version = distribution_of(cv2)
    assert installed_opencv()[name] == version and version.startswith(cv2.__version__)


def test_only_different_versions_are_a_conflict():
    name, headless = "opencv-python", "opencv-python-headless"
    assert opencv_conflict({name: "4.12.0.88"}, name, "4.12.0.88") == ""
    assert opencv_conflict({name: "4.12.0.88", headless: "4.12.0.88"}, headless, "4.12.0.88") == ""
    text = opencv_conflict({name: "4.12.0.88", headless: "5.0.0.93"}, headless, "5.0.0.93")
    assert "opencv-python 4.12.0.88 and opencv-python-headless 5.0.0.93" in text
    assert "opencv-python-headless 5.0.0.93 is the one that is imported" in text
    assert text.endswith(
        "pip uninstall -y opencv-python opencv-python-headless && pip install --no-deps opencv-python-headless"
    )
    assert mend_opencv({}) == "pip install --no-deps opencv-python"


def run(code, folder, repo_root):
    program = f"from detdiffusion.utils.cli import run_main\ndef main():\n    {code}\nrun_main(main)"
    environment = dict(os.environ, PYTHONPATH=f"{folder}:{repo_root}")
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("version, warnings", [("4.0.0.1", 1), (distribution_of(cv2)[1], 0)])
def test_a_tool_tells_once(tmp_path, repo_root, version, warnings):
    """With a second distribution's record, as pip leaves it."""
    second = {"opencv-python", "opencv-python-headless"} - set(installed_opencv())
    if not second:
        pytest.skip("both are installed here")
    record = tmp_path / f"{second.pop().replace('-', '_')}-{version}.dist-info"
    record.mkdir()
    name = record.name.split("-")[0].replace("_", "-")
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    result = run("import cv2, cv2.utils", tmp_path, repo_root)
    assert result.returncode == 0 and result.stderr.count("warning: opencv-python") == warnings, result.stderr


def test_a_cv2_that_is_gone_is_one_error(tmp_path, repo_root):
    (tmp_path / "cv2.py").write_text("raise ModuleNotFoundError('No module named cv2', name='cv2')\n")
    result = run("import cv2", tmp_path, repo_root)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert result.stderr.startswith("error: OpenCV's module cv2 is missing; run pip uninstall -y opencv")
