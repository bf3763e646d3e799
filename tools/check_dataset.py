"""Check a labelled set before anything is trained on it; the exit status is 1 if there are errors.

Prints classes, sizes and every finding with what to do about it: classes without objects, objects annotated twice,
images that are missing, unreadable or in two splits, copies and neighbouring frames that a split divides. With
--config also what its filter keeps, which objects fit into a prompt, whether its classes fit, and the memory and time
that training needs.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/check_dataset.py my_export
  python tools/check_dataset.py data/my_set --out work_dirs/check
  python tools/check_dataset.py labels_train.json labels_val.json --img-dir photos
  python tools/check_dataset.py train=day_1.json val=day_2.json --img-dir photos --classes cat dog
  python tools/check_dataset.py data/my_set --config configs/detdiffusion_small_coco.py --attributes attributes.json
"""


def build_parser():
    from detdiffusion.utils.image_rules import add_image_options
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.shared_options import ConfigOptions
    from detdiffusion.utils.tool_parser import ToolParser, add_forms

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SET",
        help="COCO jsons, also as train=JSON, val=JSON and test=JSON, a data.yaml, or a folder of COCO, VOC, YOLO, "
        "Roboflow, CVAT or Label Studio (default: the "
        "data of --config)",
    )
    parser.add_argument("--config", metavar="CONFIG", help="a config that is to be trained on the set")
    parser.add_argument(
        "--work-dir",
        metavar="DIR",
        help="work dir of an earlier training of --config on this machine, whose logs tell the seconds of a step "
        "(default: that of tools/train.py, if it has logs)",
    )
    parser.add_argument("--attributes", metavar="FILE", help="an attributes file of the set")
    parser.add_argument(
        "--out", metavar="DIR", help="folder for check.json and check.html, a page with pictures"
    )
    parser.add_argument(
        "--img-dir",
        nargs="+",
        metavar="DIR",
        help="folder of the images of COCO jsons, or one for each of them (default: found beside them)",
    )
    parser.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="classes to check (default: all, which must be the same in every split; not for YOLO)",
    )
    parser.add_argument(
        "--sample",
        type=int,
        default=2000,
        metavar="N",
        help="images of each split that are compared with the other splits for similarity, default: %(default)s; equal "
        "files are always found",
    )
    add_forms(parser)
    add_options(parser, ConfigOptions)
    add_image_options(parser)
    return parser


def main(args) -> int:
    from detdiffusion.apis import check_dataset

    report = check_dataset(
        args.sources,
        config=args.config,
        cfg_options=args.cfg_options,
        work_dir=args.work_dir,
        attributes=args.attributes,
        out=args.out,
        img_dir=args.img_dir,
        classes=args.classes,
        sample=args.sample,
        task=args.task,
        one_based=args.one_based,
    )
    print(report)
    if args.out:
        print(f"written: {Path(args.out) / 'check.json'}, {Path(args.out) / 'check.html'}")
    return int(report.errors > 0)


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
