"""Generate a synthetic COCO set from layouts; run it again to continue where it stopped.

Writes DIR/images/, DIR/annotations.json (COCO, the source's category ids), DIR/manifest.jsonl (one line an image,
with its checksum), DIR/run.json (what the set was made with) and DIR/preview.png (the latest images).
Several GPUs: tools/dist_generate.sh.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

EXAMPLES = """examples:
  python tools/generate.py configs/detdiffusion_miniscenes.py work_dirs/gen/iter_300.pth \\
      --out work_dirs/synthetic/hard --strategy hard --attributes work_dirs/attributes.json
  # held-out layouts, two images each
  python tools/generate.py configs/detdiffusion_miniscenes.py work_dirs/gen/iter_300.pth --split val \\
      --out work_dirs/fidelity/easy --strategy easy --samples-per-image 2 \\
      --attributes work_dirs/attributes.json
  # layouts of any COCO json; the weights that the config itself names
  python tools/generate.py CONFIG none --ann instances.json --ann stuff.json --out DIR --strategy origin \\
      --attributes attributes.json --limit 4
  # 30 % of the objects hard, edited layouts, more images of rare classes
  python tools/generate.py CONFIG CHECKPOINT --out DIR --strategy mix --strategy-options ratio=0.3 \\
      --edit flip=0.5 jitter=0.05 swap=0.2 --oversample-thr 0.1
  python tools/generate.py CONFIG CHECKPOINT --out DIR --strategy per-class \\
      --strategy-options attributes.person=hard "attributes.traffic light=easy" default=origin
  # check every file of a set, and make what is damaged or missing anew: the same command and --verify
  python tools/generate.py CONFIG CHECKPOINT --out DIR --strategy hard --verify
"""


def build_parser():
    from detdiffusion import apis
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    add_options(parser, apis.GeneratorOptions)
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch"],
        help="pytorch: a rank of torchrun (default: where torchrun started several processes); none: alone",
    )
    content = parser.add_argument_group("what is drawn")
    add_options(content, apis.ContentOptions)
    add_options(content, apis.LayoutOptions)
    add_options(parser.add_argument_group("how"), apis.SamplingOptions)
    add_options(parser.add_argument_group("files"), apis.SetFiles)
    return parser


def main(args) -> None:
    from detdiffusion import apis
    from detdiffusion.utils.config import nested_options
    from detdiffusion.utils.errors import UserError
    from detdiffusion.utils.option_groups import build_options

    if args.strategy.lstrip().startswith("{"):
        try:
            args.strategy = json.loads(args.strategy)
        except ValueError as error:
            raise UserError(f"`strategy`: broken json: {error}") from error
    args.strategy_options = nested_options(args.strategy_options, "`strategy_options`")
    args.edits = nested_options(args.edits, "`edits`")
    apis.generate_dataset(
        build_options(apis.GeneratorOptions, args),
        build_options(apis.LayoutOptions, args),
        build_options(apis.ContentOptions, args),
        build_options(apis.SetFiles, args),
        build_options(apis.SamplingOptions, args),
        launcher=args.launcher,
    )


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
