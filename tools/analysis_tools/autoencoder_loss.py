"""Measure what an autoencoder loses of a set's own images: PSNR, AP of a detector, and the scale of its latents.

A generator on its latents cannot show more. Writes OUT/autoencoder.json (with the scaling_factor for a config's vae)
and the images before and after, OUT/resized and OUT/reconstructed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/analysis_tools/autoencoder_loss.py work_dirs/taesd --ann data/bccd/annotations/train.json \\
      --height 144 --width 192 --out work_dirs/bccd/autoencoder
  # and what a detector still finds
  python tools/analysis_tools/autoencoder_loss.py work_dirs/taesd --ann instances.json --img-dir images \\
      --height 256 --width 256 --out DIR --detector CONFIG WEIGHTS
"""


def build_parser():
    from detdiffusion.utils.option_groups import add_options
    from detdiffusion.utils.shared_options import DETECTOR, AnnotatedImages
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument(
        "vae", metavar="FOLDER", help="diffusers folder of an autoencoder, or hub://OWNER/NAME"
    )
    add_options(parser, AnnotatedImages)
    parser.add_argument("--height", type=int, required=True, help="height of generated images in pixels")
    parser.add_argument("--width", type=int, required=True, help="width of generated images in pixels")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--limit", type=int, default=64, help="number of images, default: %(default)s")
    parser.add_argument("--detector", **DETECTOR)
    parser.add_argument(
        "--device", metavar="NAME", help="torch device (default: cuda where available, else cpu)"
    )
    return parser


def main(args) -> None:
    from detdiffusion.evaluation.autoencoder_loss import measure_autoencoder
    from detdiffusion.utils.option_groups import build_options
    from detdiffusion.utils.shared_options import AnnotatedImages

    result = measure_autoencoder(
        args.vae,
        build_options(AnnotatedImages, args),
        (args.height, args.width),
        args.out,
        limit=args.limit,
        detector=args.detector,
        device=args.device,
    )
    height, width = result["size"]
    print(
        f"{result['images']} images at {width} x {height}: {result['psnr']:.1f} dB after encoding and decoding"
    )
    for key, name in (("bbox_mAP", "AP"), ("bbox_mAP_50", "AP50")):
        if key in result:
            before, after = (100 * max(0.0, value) for value in result[key].values())
            print(f"{name} of the detector: {before:.1f} resized, {after:.1f} after encoding and decoding")
    print(f"latents' deviation {result['latent_std']:.3f}: scaling_factor={result['scaling_factor']:g}")
    print(f"written: {args.out}/autoencoder.json")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
