"""Write a CLIPTokenizer with a small vocabulary, for models too small for CLIP's 49,408 token embeddings."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/model_converters/small_tokenizer.py --classes-of data/miniscenes/val/instances.json \\
      data/miniscenes/val/stuff.json --out work_dirs/zoo/base/tokenizer
  python tools/model_converters/small_tokenizer.py --words red blue --out tokenizer
"""


def build_parser():
    from detdiffusion.utils.clip_bpe import PROMPT_WORDS
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--classes-of",
        nargs="+",
        default=[],
        metavar="JSON",
        help="COCO files whose class names become tokens",
    )
    parser.add_argument(
        "--words", nargs="+", default=[], help=f"further words besides {', '.join(PROMPT_WORDS)}"
    )
    return parser


def main(args) -> None:
    from detdiffusion.datasets.coco_json import read_coco
    from detdiffusion.models.editors.detdiffusion.small_tokenizer import write_small_tokenizer
    from detdiffusion.utils.clip_bpe import PROMPT_WORDS

    names = [category["name"] for path in args.classes_of for category in read_coco(path).categories]
    words = [word.replace("-", " ") for word in (*names, *args.words)]  # as prompts have them
    size = write_small_tokenizer(args.out, [*PROMPT_WORDS, *words])
    print(f"{args.out}: {size} tokens")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
