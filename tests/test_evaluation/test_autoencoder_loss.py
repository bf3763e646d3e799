"""What an autoencoder loses: against the images that are written, and latents of a known scale."""

import json
import runpy

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image

from detdiffusion.datasets.miniscenes import write_miniscenes
from detdiffusion.evaluation.autoencoder_loss import autoencoder_type, measure_autoencoder
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.shared_options import AnnotatedImages


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("loss")
    write_miniscenes(root, "val", 6)
    torch.manual_seed(0)
    blocks = dict(num_encoder_blocks=(1, 1, 1, 1), num_decoder_blocks=(1, 1, 1, 1))
    channels = dict(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
    AutoencoderTiny(**channels, **blocks).save_pretrained(root / "vae")
    return root


def test_figures_are_those_of_the_written_images(world):
    folder, real = str(world / "vae"), AnnotatedImages(ann=[world / "val/instances.json"])
    result = measure_autoencoder(folder, real, (32, 48), world / "out", limit=3, device="cpu")
    assert result == json.loads((world / "out/autoencoder.json").read_text())
    assert result["type"] == "AutoencoderTiny" and result["images"] == 3 and result["size"] == [32, 48]
    errors, latents = [], []
    vae = AutoencoderTiny.from_pretrained(folder).eval()
    for path in sorted((world / "out/resized").glob("*.png")):
        before, after = (
            np.asarray(Image.open(world / "out" / kind / path.name), np.float64) / 255
            for kind in ("resized", "reconstructed")
        )
        assert before.shape == after.shape == (32, 48, 3)
        errors.append(np.mean((before - after) ** 2))
        pixels = torch.from_numpy(before).permute(2, 0, 1)[None].float() * 2 - 1
        with torch.no_grad():
            latents.append(vae.encode(pixels).latents)
    assert result["psnr"] == pytest.approx(-10 * np.log10(np.mean(errors)), abs=0.05)
    deviation = torch.cat(latents).std().item()  # differences between images count, too
    assert result["latent_std"] == pytest.approx(deviation, rel=1e-2, abs=1e-4)
    assert result["scaling_factor"] == pytest.approx(1 / deviation, rel=1e-2)


def test_bad_sizes_and_limits_are_refused(world, tmp_path):
    vae, real = str(world / "vae"), AnnotatedImages(ann=[world / "val/instances.json"])
    with pytest.raises(UserError, match="must be divisible by 8, got 32 x 44"):
        measure_autoencoder(vae, real, (32, 44), tmp_path / "out", device="cpu")
    with pytest.raises(UserError, match="`limit` must be at least 1, it is 0"):
        measure_autoencoder(vae, real, (32, 48), tmp_path / "out", limit=0, device="cpu")
    assert not (tmp_path / "out").exists()


def test_what_is_no_autoencoder_is_refused(world, tmp_path):
    with pytest.raises(UserError, match="no autoencoder's config.json"):
        autoencoder_type(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(dict(_class_name="UNet2DConditionModel")))
    with pytest.raises(UserError, match="UNet2DConditionModel is not supported"):
        autoencoder_type(str(tmp_path))


def test_results_are_joined_once(tmp_path, repo_root):
    tool = runpy.run_path(str(repo_root / "tools/analysis_tools/join_results.py"))
    for name, image in (("a", 1), ("b", 2)):
        entry = dict(image_id=image, category_id=1, bbox=[0, 0, 2, 2], score=0.5)
        (tmp_path / f"{name}.json").write_text(json.dumps([entry, entry]))

    def join(*names):
        files = [str(tmp_path / f"{name}.json") for name in names]
        tool["main"](tool["build_parser"]().parse_args([*files, "--out", str(tmp_path / "all.json")]))

    join("a", "b")
    assert [entry["image_id"] for entry in json.loads((tmp_path / "all.json").read_text())] == [1, 1, 2, 2]
    (tmp_path / "c.json").write_text((tmp_path / "a.json").read_text())
    with pytest.raises(UserError, match="c.json: image id 1 has results in .*a.json too"):
        join("a", "c")
