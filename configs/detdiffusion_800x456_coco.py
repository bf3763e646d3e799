"""DetDiffusion on COCO at 800 x 456 with attributes of Faster R-CNN, the paper's generator for trainability.

Latents are 57 x 100, 5.6 times the size of those of 256 x 256 images, so gradient checkpointing is enabled.

Memory a GPU: 17.0 GB (computed, not measured; activations excluded), as detdiffusion_coco.py.
"""

_base_ = "detdiffusion_coco.py"

image_size = (456, 800)  # height, width
train_pipeline = [
    dict(step, size=image_size) if step.type == "LoadLayoutImage" else step for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
model = dict(unet=dict(sample_size=[57, 100]), gradient_checkpointing=True)
