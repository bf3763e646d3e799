"""detdiffusion_coco.py on Stable Diffusion 2.1, which predicts the velocity; the folder's scheduler says so.

    bash tools/dist_train.sh configs/detdiffusion_sd21_coco.py 8 --cfg-options sd_folder=/models/stable-diffusion-2-1

`stable-diffusion-2-1` (trained at 768 px) is a v-prediction model, `stable-diffusion-2-1-base` (512 px) an epsilon
one: either works, training and sampling follow the folder. Its text encoder is a CLIPTextModel too, 1,024 wide.

Memory a GPU: 20.9 GB (computed, not measured; activations excluded): 16 bytes of weight, gradient and AdamW moments
for each of 1.28 billion trained parameters in float32, and 0.33 GB for the frozen VAE.
"""

_base_ = "detdiffusion_coco.py"

sd_folder = "./models/stable-diffusion-2-1"
