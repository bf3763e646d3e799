"""Train a detector or a generator from an mmengine config."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/train.py configs/detectors/faster-rcnn_miniscenes.py
  python tools/train.py configs/detdiffusion_miniscenes.py --work-dir work_dirs/gen --resume
  python tools/train.py configs/detdiffusion_coco.py --cfg-options train_dataloader.batch_size=8
  python tools/train.py configs/detdiffusion_coco.py --track tensorboard
  bash tools/dist_train.sh configs/detdiffusion_coco.py 8 --amp
"""


def build_parser():
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.shared_options import ConfigOptions
    from detdiffusion.utils.tool_parser import ToolParser, add_launcher
    from detdiffusion.utils.tracking import TrackOptions

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("config", help="config file, or package::file.py of an installed package")
    parser.add_argument(
        "--work-dir", metavar="DIR", help="folder of logs and checkpoints (default: work_dirs/<config name>)"
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="PATH",
        help="resume from PATH, or from the last checkpoint in the work dir (if there is none, start from the config's "
        "load_from, or from scratch)",
    )
    parser.add_argument(
        "--amp", action="store_true", help="mixed precision, with bfloat16 if the GPU supports it"
    )
    parser.add_argument(
        "--auto-scale-lr", action="store_true", help="scale the learning rate with the total batch size"
    )
    add_options(parser, TrackOptions)
    add_options(parser, ConfigOptions)
    add_launcher(parser)
    add_image_options(parser)
    return parser


def main(args) -> None:
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))

    from detdiffusion.utils.option_groups import build_options
    from detdiffusion.utils.tracking import TrackOptions

    tracking = build_options(TrackOptions, args)  # checked before anything heavy is imported

    from detdiffusion.engine import launch
    from detdiffusion.engine.checkpoint import latest_checkpoint
    from detdiffusion.utils.config import default_work_dir, load_config
    from detdiffusion.utils.config_kind import kind_of
    from detdiffusion.utils.errors import UserError

    cfg = load_config(args.config, args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get("work_dir") or default_work_dir(cfg)
    if "train_dataloader" not in cfg:
        raise UserError(
            f"config {args.config} has no train_dataloader, so it cannot be trained; it is {kind_of(cfg)}."
        )
    if args.amp:
        launch.enable_amp(cfg)
    if args.auto_scale_lr:
        launch.enable_auto_scale_lr(cfg)
    if args.resume and args.resume != "auto":
        cfg.resume, cfg.load_from = True, args.resume
    elif args.resume and (not cfg.get("load_from") or latest_checkpoint(cfg.work_dir)):
        cfg.resume, cfg.load_from = True, None  # with both, mmengine would resume from load_from
    tracking.apply(cfg)
    launch.prepare_ranks(cfg, args.launcher)
    launch.build_runner(cfg).train()


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
