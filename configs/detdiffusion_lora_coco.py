"""detdiffusion_coco.py with low-rank updates (peft) of a frozen UNet and text encoder; pip install peft.

The embeddings of the 65,539 layout tokens and the mask head are trained in full, as in the full recipe.
tools/model_converters/to_diffusers.py merges the updates.

Memory a GPU: 5.5 GB (computed, not measured; activations excluded): 4.7 GB of weights in float32, the frozen ones
too, and 12 bytes of gradient and AdamW moments for each of 66.3 million trained parameters.
"""

_base_ = "detdiffusion_coco.py"

model = dict(lora=dict(r=16, lora_alpha=16))
