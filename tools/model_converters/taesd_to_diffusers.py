"""Write TAESD (a tiny VAE of Stable Diffusion's latent space) as a diffusers folder for the editor's `vae`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

EXAMPLES = """examples:
  python tools/model_converters/taesd_to_diffusers.py taesd_encoder.safetensors taesd_decoder.safetensors models/taesd
  # then, in a config: vae=dict(_delete_=True, type="AutoencoderTiny", from_pretrained="models/taesd")
"""


def build_parser():
    from detdiffusion.utils.tool_parser import ToolParser

    parser = ToolParser(__doc__, EXAMPLES)
    parser.add_argument("encoder", help="taesd_encoder.safetensors")
    parser.add_argument("decoder", help="taesd_decoder.safetensors")
    parser.add_argument("out", help="folder to write")
    return parser


def main(args) -> None:
    from detdiffusion.models.editors.converters.taesd import convert_taesd

    print(f"{args.out}: AutoencoderTiny, {convert_taesd(args.encoder, args.decoder, args.out):,} parameters")


if __name__ == "__main__":
    from detdiffusion.utils.cli import run_main

    run_main(main, build_parser)
