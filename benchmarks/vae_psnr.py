"""Measure the reconstruction PSNR of a VAE on folders of images; --out keeps the reconstructions for a detector.

python benchmarks/vae_psnr.py detdiffusion/zoo/miniscenes_vae/vae data/miniscenes/val/images
python benchmarks/vae_psnr.py VAE data/miniscenes/val/images data/dusk/val/images --out work_dirs/bound
python tools/test.py CONFIG CHECKPOINT --cfg-options \\
    test_dataloader.dataset.data_prefix.img=$PWD/work_dirs/bound/data/dusk/val/images/
"""

import argparse
from pathlib import Path

import cv2
import torch
from diffusers import AutoencoderKL


def reconstruct(vae: AutoencoderKL, path: Path) -> tuple[torch.Tensor, float]:
    """Return the VAE's reconstruction of an image file, (H, W, 3) uint8 RGB, and its PSNR in dB."""
    image = torch.from_numpy(cv2.imread(str(path))[:, :, ::-1].copy())
    inputs = image.permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        copy = vae.decode(vae.encode(inputs).latent_dist.mode()).sample.clamp(-1, 1)
    copy = ((copy[0].permute(1, 2, 0) + 1) * 127.5).round()
    return copy.byte(), -10 * torch.log10((copy - image).square().mean() / 255**2).item()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("vae", help="folder of an AutoencoderKL")
    parser.add_argument("images", nargs="+", help="folders of PNG images")
    parser.add_argument(
        "--out", help="folder for the reconstructions, with subfolders named like the image folders"
    )
    args = parser.parse_args()
    vae = AutoencoderKL.from_pretrained(args.vae).eval()
    for folder in map(Path, args.images):
        scores = []
        out = args.out and Path(args.out, *[part for part in folder.parts if part not in ("..", "/")])
        if out:
            out.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.glob("*.png")):
            copy, score = reconstruct(vae, path)
            scores.append(score)
            if out:
                cv2.imwrite(str(out / path.name), copy.numpy()[:, :, ::-1])
        scores = torch.tensor(scores)
        print(f"{folder}: PSNR {scores.mean():.2f} dB (deviation {scores.std():.2f}), {len(scores)} images")


if __name__ == "__main__":
    main()
