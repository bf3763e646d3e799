"""The modern protocol with DINOv2 features (Stein et al., NeurIPS 2023); weights='hub' lets torch-fidelity download
the weights with torch.hub."""

fid = dict(
    protocol=dict(
        name="dinov2", resample="bicubic", extractor_size=(224, 224), kernel_metrics=True, images_per_layout=1
    ),
    extractor=dict(type="TorchFidelityExtractor", name="dinov2-vit-l-14", weights="hub"),
)
