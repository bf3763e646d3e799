"""The modern protocol on DINOv2 features (Stein et al., NeurIPS 2023), which torch-fidelity fetches by torch.hub:
weights='hub' permits that."""

fid = dict(
    protocol=dict(
        name="dinov2", resample="bicubic", extractor_size=(224, 224), kernel_metrics=True, images_per_layout=1
    ),
    extractor=dict(type="TorchFidelityExtractor", name="dinov2-vit-l-14", weights="hub"),
)
