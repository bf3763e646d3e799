"""detdiffusion_coco.py for GPUs with little memory: all weights are trained, with batch size 1.

Uses gradient checkpointing, accumulation over 4 steps to the recipe's 4 images per GPU, and torch's Adafactor, which
stores a row and a column of second moments for each matrix, instead of AdamW; its learning rate is not tuned. For even
less memory use detdiffusion_lora_coco.py with model.gradient_checkpointing=True.

Memory a GPU: 8.7 GB (computed, not measured; activations excluded): 8 bytes for each of 1.04 billion trained
parameters in float32, weight and gradient, 0.33 GB for the frozen VAE, and Adafactor's 0.01 GB.
"""

_base_ = "detdiffusion_coco.py"

train_dataloader = dict(batch_size=1)
model = dict(gradient_checkpointing=True)
optim_wrapper = dict(
    accumulative_counts=4,
    # updates are lr times the RMS of the matrix: 3e-3 x 0.03 (typical of SD 1.5) corresponds to AdamW's 1e-4
    optimizer=dict(_delete_=True, type="TorchAdafactor", lr=3e-3, weight_decay=1e-2),
)
