"""DetDiffusion on BCCD at 192 x 144: a small UNet and text encoder trained from scratch on TAESD latents.

Needs data/bccd (tools/dataset_converters/voc_to_coco.py), its attributes, TAESD as a diffusers folder and a tokenizer
of the class names; docs/guides/step_by_step.md has the commands.
"""

_base_ = [
    "../_base_/datasets/bccd_layout.py",
    "../_base_/models/detdiffusion_scratch.py",
    "../_base_/schedules/generator_scratch.py",
]

vae_folder = "work_dirs/bccd/taesd"
# 1 / 0.55: the standard deviation of TAESD's latents of these photographs within channels, whose means differ; over all
# channels together it is 0.75 (20 photographs), which tools/analysis_tools/autoencoder_loss.py gives
scaling_factor = 1.8
tokenizer_folder = "work_dirs/bccd/tokenizer"
max_length = 128  # tokens per prompt: 30 cells of 4 tokens each
latent_size = (18, 24)
bins = (36, 48)  # one per 4 px of the image
