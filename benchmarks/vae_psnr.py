"""Reconstruction PSNR of a VAE folder on a folder of images.

python benchmarks/vae_psnr.py detdiffusion/zoo/miniscenes_base/vae data/miniscenes/val/images
"""

import argparse
from pathlib import Path

import cv2
import torch
from diffusers import AutoencoderKL


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("vae", help="folder of an AutoencoderKL")
    parser.add_argument("images", help="folder of PNG images of one size")
    args = parser.parse_args()
    vae = AutoencoderKL.from_pretrained(args.vae).eval()
    scores = []
    for path in sorted(Path(args.images).glob("*.png")):
        image = torch.from_numpy(cv2.imread(str(path))[:, :, ::-1].copy()).permute(2, 0, 1)[None]
        image = image.float() / 127.5 - 1
        with torch.no_grad():
            copy = vae.decode(vae.encode(image).latent_dist.mode()).sample.clamp(-1, 1)
        scores.append(-10 * torch.log10((copy - image).square().mean() / 4))
    scores = torch.stack(scores)
    print(f"{args.vae}: PSNR {scores.mean():.2f} dB (deviation {scores.std():.2f}) over {len(scores)} images")


if __name__ == "__main__":
    main()
