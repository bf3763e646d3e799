"""Convert labelled sets to one YOLO set with a data.yaml, ready for `yolo detect train data=OUT/data.yaml`.

A SOURCE is a COCO json (of a real set, or annotations.json of a generated one), or the folder of a set of any form that
to_coco.py reads. SPLIT=SOURCE names the split of a set that has none (default: train); sources of the same split are
joined. Crowd regions are left out and counted.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/dataset_converters/coco_to_yolo.py data/my_set --out data/my_yolo
  # real and generated images to train on, real ones to validate
  python tools/dataset_converters/coco_to_yolo.py train=data/my_set/annotations/train.json \\
      train=work_dirs/synthetic/hard val=data/my_set/annotations/val.json --out data/my_mixed_yolo --images copy
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser, add_export

    parser = ToolParser(__doc__, EXAMPLES)
    add_export(parser, "folder of the YOLO set")
    return parser


def main(args) -> None:
    from detdiffusion.datasets.formats.exports import read_for_export, write_yolo

    export = read_for_export(args.sources, args.img_dir, crowds=False)
    path = write_yolo(export, args.out, args.images)
    print(export.summary())
    print(f"written: {path} ({len(export.classes)} classes)")
    for split in {"train", "val"} - export.splits.keys():
        print(f"note: Ultralytics' training needs {split} too; add {split}=SOURCE")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
