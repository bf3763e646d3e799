"""DetDiffusion on COCO at 800 x 456 for trainability, attributes by Faster R-CNN, the paper's second generator.

The latent is 57 x 100.
Gradient checkpointing is on: a latent has 5.6 times the cells of 256 x 256.

Memory a GPU: 17.0 GB (computed, not measured; activations excluded), as detdiffusion_coco.py.
"""

_base_ = "detdiffusion_coco.py"

image_size = (456, 800)  # height, width
train_pipeline = [
    dict(step, size=image_size) if step.type == "LoadLayoutImage" else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(unet=dict(sample_size=[57, 100]), gradient_checkpointing=True)
