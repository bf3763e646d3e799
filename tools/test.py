"""Evaluate a checkpoint on its config's test set and print the metrics."""

import json
import math
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/test.py configs/detectors/faster-rcnn_miniscenes.py work_dirs/det/epoch_4.pth
  python tools/test.py configs/detectors/fcos_miniscenes.py fcos.pth --out metrics.json
  torchrun --nproc_per_node 2 tools/test.py CONFIG CHECKPOINT
"""


def build_parser():
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.shared_options import ConfigOptions
    from detdiffusion.utils.tool_parser import ToolParser, add_launcher

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("config", help="config file, or package::file.py of an installed package")
    parser.add_argument("checkpoint", help="checkpoint of that config")
    parser.add_argument(
        "--work-dir", metavar="DIR", help="folder of the logs (default: work_dirs/<config name>)"
    )
    parser.add_argument("--out", metavar="FILE", help="also write the metrics to this json file")
    add_options(parser, ConfigOptions)
    add_launcher(parser)
    add_image_options(parser)
    return parser


def main(args) -> None:
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))

    from detdiffusion.engine import launch
    from detdiffusion.utils.config import default_work_dir, load_config
    from detdiffusion.utils.config_kind import kind_of
    from detdiffusion.utils.errors import UserError
    from detdiffusion.utils.files import write_atomic

    cfg = load_config(args.config, args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or default_work_dir(cfg)
    missing = [key for key in ("test_dataloader", "test_evaluator", "test_cfg") if not cfg.get(key)]
    if missing:
        raise UserError(
            f"config {args.config} has no {', '.join(missing)}, so there is nothing to test; it is {kind_of(cfg)}."
        )
    if not Path(args.checkpoint).is_file():
        raise UserError(f"checkpoint {args.checkpoint} does not exist.")
    cfg.load_from, cfg.resume = args.checkpoint, False
    launch.prepare_ranks(cfg, args.launcher)
    runner = launch.build_runner(cfg, "test")
    # mmdet returns NaN, which json cannot represent, for the AP of a class without objects
    metrics = {k: float(v) for k, v in runner.test().items() if not math.isnan(v)}
    if args.out and runner.rank == 0:
        write_atomic(args.out, (json.dumps(metrics, indent=1) + "\n").encode())


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
