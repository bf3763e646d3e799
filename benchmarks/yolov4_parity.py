"""Compare YOLOv4 with OpenCV's darknet reader: layers, raw outputs and final boxes, with random weights.

    python benchmarks/yolov4_parity.py yolov4.cfg yolov4-tiny.cfg --sizes 416 608 --out yolov4_parity.json

Random weights are written as a darknet .weights file and read by both. Prints the largest differences; exits with
status 1 if one is above its bound.
"""

import argparse
import contextlib
import json
import platform
import sys
import tempfile
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# Largest difference over the largest value, of layers and raw outputs; pixels and score of the final boxes.
BOUNDS = dict(layers=1e-4, raw=1e-4, decoded=1e-3, boxes_px=0.05, scores=1e-4)


def random_weights(model, seed: int) -> None:
    """Return weights with which no layer's output vanishes or explodes and some boxes pass the thresholds.

    The running statistics of each batch normalisation are those of a batch of random images; without that,
    the 23 residual sums of YOLOv4 would multiply the scale by thousands.
    """
    import torch
    from torch import nn

    generator = torch.Generator().manual_seed(seed)

    def normal(like, std):
        return torch.randn(like.shape, generator=generator) * std

    with torch.no_grad():
        for layer in model.darknet_convolutions():
            weight = layer.conv.weight
            # wide enough for the variances to hide darknet's 1e-5 beside OpenCV's 1e-6 under the root
            weight.copy_(normal(weight, 8 * (2 / weight[0].numel()) ** 0.5))
            if layer.bn is None:
                continue
            layer.bn.weight.copy_(0.7 + 0.6 * torch.rand(layer.bn.weight.shape, generator=generator))
            # mostly above zero: with centred values rounding grows from layer to layer, to 1e-3 at YOLOv4's end
            layer.bn.bias.copy_(0.8 + normal(layer.bn.bias, 0.5))
            layer.bn.momentum = None
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
        model.train()
        images = torch.nn.functional.interpolate(
            torch.rand((6, 3, 12, 12), generator=generator), size=160, mode="bicubic"
        )
        features = model.extract_feat(images.clamp(0, 1))
        for conv, level, x in zip(model.bbox_head.convs_pred, model.bbox_head.levels, features):
            weight = normal(conv.weight, 1.5 / (x[0].numel() / x[0, 0].numel()) ** 0.5 / float(x.std()))
            bias = normal(conv.bias, 0.2).view(len(level.mask), -1)
            by_anchor = weight.view(len(level.mask), -1, conv.in_channels)
            by_anchor[:, 2:4] *= 0.2
            bias[:, 4] -= 2.0
            bias[:, 5:] -= 5.0
            conv.weight.copy_(weight)
            conv.bias.copy_(bias.flatten())
    model.eval()


def oracle(cfg: Path, weights: Path, image, size: int, names: list[str]):
    """Return OpenCV's outputs: named layers unfused, and per-class suppressed boxes (xyxy, score, class)."""
    import cv2
    import numpy as np

    net = cv2.dnn.readNetFromDarknet(str(cfg), str(weights))
    net.enableFusion(False)
    net.enableWinograd(False)
    net.setInput(cv2.dnn.blobFromImage(image, 1 / 255, (size, size), swapRB=True))
    outputs = dict(zip(names, net.forward(names)))
    rows = np.concatenate([outputs[name] for name in net.getUnconnectedOutLayersNames()])
    height, width = image.shape[:2]
    boxes = rows[:, :4].astype(np.float64) * [width, height, width, height]
    boxes[:, :2] -= boxes[:, 2:] / 2
    found = []
    for label in range(rows.shape[1] - 5):
        scores = np.where(rows[:, 4] > 0.25, rows[:, 5 + label], 0)
        chosen = np.flatnonzero(scores > 0.25)
        if len(chosen):
            kept = cv2.dnn.NMSBoxes(boxes[chosen].tolist(), scores[chosen].tolist(), 0.25, 0.45)
            for i in chosen[np.asarray(kept).ravel()]:
                x, y, w, h = boxes[i]
                found.append((x, y, x + w, y + h, scores[i], label))
    return outputs, np.array(found).reshape(-1, 6)


def last_names(cfg_layers, names) -> dict[int, str]:
    """Return OpenCV's name of the last operation of each of our layers; an activation has the next number."""
    chosen = {}
    for i, section in enumerate(cfg_layers):
        kind = section.options.get("activation", "linear") if section.kind == "convolutional" else None
        kinds = [f"{kind}_{i + 1}", f"conv_{i}"] if kind else []
        kinds += [f"{k}_{i}" for k in ("shortcut", "concat", "slice", "identity", "pool", "upsample")]
        found = [name for name in kinds if name in names]
        if found:
            chosen[i] = found[0]
    return chosen


def compare(cfg: str | Path, size: int, seed: int = 0) -> dict:
    """Compare both on one random image of 500 x 375 pixels with a network input of ``size`` x ``size``.

    Returns:
        ``layers`` (number, largest relative difference and its layer), ``raw`` (relative difference of the
        prediction convolutions), ``decoded`` (absolute, of objectness and of boxes in shares of the image),
        ``boxes`` (number; pixels and score of each of ours and its nearest of the same class).
    """
    import cv2
    import numpy as np
    import torch
    from mmengine.dataset import pseudo_collate

    from detdiffusion.models.detectors import YOLOv4
    from detdiffusion.models.detectors.yolov4.cfg import read_cfg
    from detdiffusion.models.detectors.yolov4.weights import Header, read_weights, write_weights

    network = read_cfg(cfg)
    network.net.options.update(width=str(size), height=str(size))
    writer = YOLOv4(cfg=network)
    random_weights(writer, seed)
    rng = np.random.default_rng(seed)
    image = cv2.resize(
        rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (500, 375), interpolation=cv2.INTER_CUBIC
    )
    with tempfile.TemporaryDirectory() as folder:
        weights, sized = Path(folder) / "random.weights", Path(folder) / "sized.cfg"
        write_weights(weights, writer.darknet_convolutions(), Header(seen=64))
        sized.write_text(network.to_text())
        model = YOLOv4(cfg=str(sized), test_cfg=dict(clip_border=False)).eval()
        assert read_weights(weights, model.darknet_convolutions()).seen == 64
        names = cv2.dnn.readNetFromDarknet(str(sized)).getLayerNames()
        of_layer = last_names(network.layers, names)
        wanted = [*of_layer.values(), *(n for n in names if n.startswith("yolo_"))]
        outputs, boxes = oracle(sized, weights, image, size, wanted)

    worst = (0.0, -1)
    compared = 0

    heads = [index for _, _, index, _, _ in model.backbone.heads]
    logistic = [
        i for i, level in zip(heads, model.bbox_head.levels) if level.new_coords
    ]  # ours are before it

    def check(index):
        def hook(module, inputs, output):
            nonlocal worst, compared
            output = output.sigmoid() if index in logistic else output
            theirs = outputs[of_layer[index]]
            difference = float(np.abs(output.numpy() - theirs).max() / max(np.abs(theirs).max(), 1e-9))
            compared += 1
            worst = max(worst, (difference, index))

        return hook

    handles = []
    for index in of_layer:
        part = (
            model.bbox_head.convs_pred[heads.index(index)] if index in heads else model.backbone.layers[index]
        )
        handles.append(part.register_forward_hook(check(index)))
    sample = pseudo_collate([_pipeline(size)(dict(img=image, img_id=0))])
    with torch.inference_mode(), _not_in_place(model):
        found = model.test_step(sample)[0].pred_instances
        for handle in handles:
            handle.remove()
        raw = model.bbox_head.by_anchor(model(model.data_preprocessor(sample)["inputs"])[0])
        decoded = [(level.decode(r), r) for level, r in zip(model.bbox_head.levels, raw)]
    raw_difference = decoded_difference = 0.0
    for (xyxy, r), index in zip(decoded, heads):
        theirs = outputs[of_layer[index]]
        ours = r[0].permute(0, 3, 1, 2).reshape(theirs.shape[1:])
        ours = ours.sigmoid() if index in logistic else ours
        raw_difference = max(
            raw_difference, float(np.abs(ours.numpy() - theirs[0]).max() / np.abs(theirs).max())
        )
        rows = outputs[f"yolo_{index + 1}"].reshape(*r.shape[2:4], r.shape[1], -1).transpose(2, 0, 1, 3)
        cxcywh = (
            torch.cat([(xyxy[..., :2] + xyxy[..., 2:]) / 2, xyxy[..., 2:] - xyxy[..., :2]], dim=-1)[0] / size
        )
        ours = torch.cat([cxcywh, r[0, ..., 4:5].sigmoid()], dim=-1).numpy()
        decoded_difference = max(decoded_difference, float(np.abs(ours - rows[..., :5]).max()))

    ours = np.c_[found.bboxes.numpy(), found.scores.numpy(), found.labels.numpy()].astype(np.float64)
    same = sorted(ours[:, 5]) == sorted(boxes[:, 5])
    pairs = [
        (a, min(boxes[boxes[:, 5] == a[5]], key=lambda b, a=a: np.abs(a - b).max())) for a in ours if same
    ]
    difference = np.abs([a - b for a, b in pairs]).reshape(-1, 6).max(axis=0, initial=0)
    return {
        "cfg": Path(cfg).name,
        "input": size,
        "seed": seed,
        "parameters": sum(p.numel() for p in model.parameters()),
        "layers": {"compared": compared, "difference": worst[0], "layer": worst[1]},
        "raw": raw_difference,
        "decoded": decoded_difference,
        "boxes": {
            "ours": len(ours),
            "opencv": len(boxes),
            "same_classes": same,
            "pixels": float(difference[:4].max()) if same else None,
            "score": float(difference[4]) if same else None,
        },
    }


@contextlib.contextmanager
def _not_in_place(model):
    """Disable in-place activations, which would overwrite the outputs recorded by hooks."""
    changed = [m for m in model.modules() if getattr(m, "inplace", False)]
    for module in changed:
        module.inplace = False
    yield
    for module in changed:
        module.inplace = True


def _pipeline(size: int):
    """Darknet's stretch."""
    from mmcv.transforms import Compose
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    keys = ("img_id", "ori_shape", "img_shape", "scale_factor")
    steps = ["LoadImageFromNDArray", dict(type="Resize", scale=(size, size), keep_ratio=False)]
    steps.append(dict(type="PackDetInputs", meta_keys=keys))
    steps = [dict(type=s) if isinstance(s, str) else s for s in steps]
    return Compose([{**s, "type": f"mmdet.{s['type']}"} for s in steps])


def within(result: dict) -> bool:
    """Return whether a comparison has boxes and is within :data:`BOUNDS`."""
    boxes = result["boxes"]
    return (
        result["layers"]["difference"] <= BOUNDS["layers"]
        and result["raw"] <= BOUNDS["raw"]
        and result["decoded"] <= BOUNDS["decoded"]
        and boxes["same_classes"]
        and boxes["ours"] > 0
        and boxes["pixels"] <= BOUNDS["boxes_px"]
        and boxes["score"] <= BOUNDS["scores"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cfg", nargs="+", help="darknet network files")
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[416, 608], help="side of the input in pixels"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="json to write")
    args = parser.parse_args()
    import cv2
    import torch

    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        sys.exit(f"OpenCV {cv2.__version__} has no readNetFromDarknet; OpenCV 4 has")
    results = []
    for cfg in args.cfg:
        for size in args.sizes:
            result = compare(cfg, size, args.seed)
            results.append(result)
            boxes = result["boxes"]
            print(
                f"{result['cfg']} at {size}: {result['layers']['compared']} layers within "
                f"{result['layers']['difference']:.1e} (relative, layer {result['layers']['layer']}), raw outputs "
                f"{result['raw']:.1e} (relative), decoded {result['decoded']:.1e}; final boxes {boxes['ours']} and "
                f"{boxes['opencv']}, largest difference {boxes['pixels']} px and {boxes['score']} in score",
                flush=True,
            )
    if args.out:
        report = {
            "date": str(date.today()),
            "command": " ".join(["python benchmarks/yolov4_parity.py", *(Path(c).name for c in args.cfg)])
            + f" --sizes {' '.join(map(str, args.sizes))} --seed {args.seed}",
            "machine": f"CPU, {platform.machine()}",
            "versions": {"torch": torch.__version__, "opencv": cv2.__version__},
            "bounds": BOUNDS,
            "results": results,
        }
        Path(args.out).write_text(json.dumps(report, indent=1) + "\n")
    sys.exit(0 if all(map(within, results)) else 1)


if __name__ == "__main__":
    main()
