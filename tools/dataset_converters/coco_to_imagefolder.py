"""Convert labelled sets to the imagefolder form of Hugging Face's `datasets`: images and a metadata.jsonl per split.

A line of metadata.jsonl has file_name, width, height and objects: bbox (x, y, width, height in pixels), categories
(numbers from 0; OUT/classes.txt names them), names, area and iscrowd. A SOURCE is a COCO json (of a real set, or
annotations.json of a generated one), or the folder of a set of any form that to_coco.py reads. SPLIT=SOURCE names the
split of a set that has none (default: train); sources of the same split are joined.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/dataset_converters/coco_to_imagefolder.py data/my_set --out data/my_imagefolder --images copy
  python tools/dataset_converters/coco_to_imagefolder.py train=work_dirs/synthetic/hard --out data/hard_imagefolder
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser, add_export

    parser = ToolParser(__doc__, EXAMPLES)
    add_export(parser, "folder of the converted set")
    return parser


def main(args) -> None:
    from detdiffusion.datasets.formats.exports import read_for_export, write_image_folder

    export = read_for_export(args.sources, args.img_dir)
    written = write_image_folder(export, args.out, args.images)
    print(export.summary())
    print(f"written: {', '.join(map(str, written))} ({len(export.classes)} classes)")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
