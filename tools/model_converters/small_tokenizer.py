"""Write a CLIPTokenizer over a few words, for models too small to carry CLIP's 49,408 token embeddings."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/model_converters/small_tokenizer.py --classes-of data/miniscenes/val/instances.json \\
      data/miniscenes/val/stuff.json --out work_dirs/zoo/base/tokenizer
  python tools/model_converters/small_tokenizer.py --words red blue --out tokenizer
"""
PROMPT_WORDS = ("an", "image", "with", "easy", "hard", "background")


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--classes-of", nargs="+", default=[], metavar="JSON", help="COCO files with the classes"
    )
    parser.add_argument("--words", nargs="+", default=[], help=f"words beside {', '.join(PROMPT_WORDS)}")
    return parser


def main(args) -> None:
    from detdiffusion.datasets.coco_json import read_coco
    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer

    names = [category["name"] for path in args.classes_of for category in read_coco(path).categories]
    words = [word.lower() for name in names for word in name.replace("-", " ").split()]
    size = write_small_tokenizer(args.out, [*PROMPT_WORDS, *words, *(word.lower() for word in args.words)])
    print(f"{args.out}: {size} tokens")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
