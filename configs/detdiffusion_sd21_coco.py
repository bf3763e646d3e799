"""detdiffusion_coco.py on Stable Diffusion 2.1, which predicts the velocity, as configured in the folder's scheduler.

    bash tools/dist_train.sh configs/detdiffusion_sd21_coco.py 8 --cfg-options sd_folder=/models/stable-diffusion-2-1

`stable-diffusion-2-1` (trained at 768 px) predicts v, `stable-diffusion-2-1-base` (512 px) epsilon. Both work:
training and sampling use the folder's prediction type. The text encoder is a CLIPTextModel too, of width 1,024.

Memory a GPU: 20.9 GB (computed, not measured; activations excluded): 16 bytes of weight, gradient and AdamW moments
for each of 1.28 billion trained parameters in float32, and 0.33 GB for the frozen VAE.
"""

_base_ = "detdiffusion_coco.py"

sd_folder = "./models/stable-diffusion-2-1"
