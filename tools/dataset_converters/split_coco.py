"""Cut a validation part, and a test part if asked for, from a COCO json file.

Images of the same scene stay together: augmented copies of one photograph (Roboflow's NAME_jpg.rf.HASH.jpg) and
numbered frames (NAME_000123.jpg). Writes OUT/annotations/{train,val,test}.json, with the ids of ANN, and puts the
images under OUT/images.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/dataset_converters/split_coco.py data/my_set/annotations/all.json --out data/my_split
  python tools/dataset_converters/split_coco.py labels.json --img-dir photos --out data/my_split --test-share 0.1
  # one group for each camera and day: cam2_20240131_0007.jpg
  python tools/dataset_converters/split_coco.py labels.json --out data/my_split --groups "^(cam[0-9]+_[0-9]+)_"
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("ann", metavar="ANN", help="COCO json of all images")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the data set")
    parser.add_argument("--img-dir", metavar="DIR", help="folder of the images (default: found beside ANN)")
    parser.add_argument(
        "--val-share", type=float, default=0.2, metavar="SHARE", help="share of val, default: %(default)s"
    )
    parser.add_argument(
        "--test-share", type=float, default=0.0, metavar="SHARE", help="share of test, default: %(default)s"
    )
    parser.add_argument(
        "--groups",
        default="auto",
        metavar="auto|sequences|none|REGEX",
        help="images that stay together: auto (default) keeps copies and numbered sequences together, or takes the end "
        "of each sequence where that would leave a class without images to train on; sequences always takes the ends; "
        "none divides single images; REGEX is searched in the file names, and its first parenthesis names the group",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice (default 0)")
    parser.add_argument(
        "--images",
        choices=("link", "copy", "none"),
        default="link",
        help="how OUT/images is filled, default: %(default)s",
    )
    return parser


def main(args) -> None:
    from detdiffusion.datasets.splitting import split_coco

    split_coco(
        args.ann,
        args.out,
        val_share=args.val_share,
        test_share=args.test_share,
        groups=args.groups,
        seed=args.seed,
        img_dir=args.img_dir,
        images=args.images,
    )


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
