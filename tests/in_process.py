"""Commands of the tools run in this process; the imports of a dozen processes would take minutes."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run_here(tool, *arguments):
    """Run ``tools/...`` with arguments."""
    names = runpy.run_path(str(ROOT / tool))
    assert not names["main"](names["build_parser"]().parse_args(arguments))
    _forget_runs()


def run_step(step):
    """Run a step and check that it wrote its outputs."""
    run_here(*step.command)
    assert [path for path in step.outputs if not path.is_file()] == []
    step.after()


def _forget_runs():
    """Drop mmengine's objects of a process, such as the visualizer that writes into the first run's folder."""
    from mmengine.utils import ManagerMixin

    pending = [ManagerMixin]
    while pending:
        kind = pending.pop()
        kind._instance_dict.clear()
        pending += kind.__subclasses__()
