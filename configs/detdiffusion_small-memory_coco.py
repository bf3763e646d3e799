"""detdiffusion_coco.py for GPUs with little memory: every weight is trained, on one image at a time.

Gradient checkpointing, 4 steps of one image accumulated to the recipe's 4 images a GPU, and torch's Adafactor, whose
second moments take a row and a column of each matrix, in place of AdamW; its learning rate is not tuned. For still less
memory take detdiffusion_lora_coco.py with model.gradient_checkpointing=True.

Memory a GPU: 8.7 GB (computed, not measured; activations excluded): 8 bytes for each of 1.04 billion trained
parameters in float32, weight and gradient, 0.33 GB for the frozen VAE, and Adafactor's 0.01 GB.
"""

_base_ = "detdiffusion_coco.py"

train_dataloader = dict(batch_size=1)
model = dict(gradient_checkpointing=True)
optim_wrapper = dict(
    accumulative_counts=4,
    # a step changes a weight by lr times the RMS of its matrix: 3e-3 x 0.03, as usual in SD 1.5, is AdamW's 1e-4
    optimizer=dict(_delete_=True, type="TorchAdafactor", lr=3e-3, weight_decay=1e-2),
)
