"""Feature extractors for Fréchet and kernel distances: networks of torch-fidelity, or the backbone of a detector.

An extractor maps (B, 3, H, W) uint8 RGB images to (B, D) float32 features on the CPU. Its attributes are ``features``
(description of the features, printed with every result), ``identity`` (json-serialisable, equal only for extractors
with equal features; part of cache keys) and ``distance`` (name of the Fréchet distance: ``fid`` for Inception features,
otherwise ``frechet``).
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from detdiffusion.registry import EXTRACTORS, TASK_UTILS
from detdiffusion.utils.checkpoint import check_finite
from detdiffusion.utils.devices import choose_device
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import sha256_of

INCEPTION = "inception-v3-compat"
INCEPTION_SHA256 = "6726825d"
"""First digits of the SHA-256 of the TF 2015-12-05 weights, which are part of their file names."""
INCEPTION_FILES = (
    f"weights-inception-2015-12-05-{INCEPTION_SHA256}.pth",  # torch-fidelity's name
    f"pt_inception-2015-12-05-{INCEPTION_SHA256}.pth",  # pytorch-fid's name of the same weights
)
_INCEPTION_URLS = (
    f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILES[0]}",
    f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{INCEPTION_FILES[1]}",
)


def import_torch_fidelity():
    """Import ``torch_fidelity``, an optional dependency.

    Raises:
        UserError: it is not installed.
    """
    try:
        import torch_fidelity
    except ImportError:
        raise UserError(
            "torch-fidelity is not installed; FID, KID, precision and recall need it: pip install torch-fidelity"
        ) from None
    return torch_fidelity


def build_extractor(cfg: Mapping, device: str | None = None):
    """Build a registered extractor.

    Args:
        cfg: ``type`` in :data:`~detdiffusion.registry.EXTRACTORS` and its arguments.
        device: torch device, unless ``cfg`` sets one.

    Raises:
        KeyError, TypeError: the type is unknown or does not accept an argument.
        UserError: raised by the extractor.
    """
    cfg = {"device": device, **cfg}
    kind = cfg.get("type")
    custom = isinstance(kind, str) and EXTRACTORS.get(kind) is None  # those for earlier versions
    if custom and ("." in kind or kind in TASK_UTILS.module_dict):
        return TASK_UTILS.build({**cfg, "type": kind if "." in kind else f"detdiffusion.{kind}"})
    return EXTRACTORS.build(cfg)


@EXTRACTORS.register_module()
class TorchFidelityExtractor:
    """A feature extractor of torch-fidelity.

    Args:
        name: ``inception-v3-compat``, ``vgg16``, ``clip-…``, ``dinov2-…``, or a name registered with
            ``torch_fidelity.register_feature_extractor``.
        weights: weights file; ``hub`` lets torch-fidelity download its weights; None looks for Inception's file in
            torch's hub folder, and passes no file to custom extractors.
        feature: name of the feature; default: the one that torch-fidelity uses for FID.
        device: torch device; None uses CUDA if it is available.

    Raises:
        UserError: torch-fidelity is not installed, the name or feature is unknown, or the weights are missing,
            damaged, of another network or contain code.
    """

    def __init__(
        self,
        name: str = INCEPTION,
        weights: str | os.PathLike | None = None,
        feature: str | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        import_torch_fidelity()
        from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

        if name not in FEATURE_EXTRACTORS_REGISTRY:
            known = ", ".join(sorted(FEATURE_EXTRACTORS_REGISTRY))
            raise UserError(f"torch-fidelity has no feature extractor {name!r}; it has: {known}")
        cls = FEATURE_EXTRACTORS_REGISTRY[name]
        feature = feature or cls.get_default_feature_layer_for_metric("fid")
        if feature not in cls.get_provided_features_list():
            raise UserError(
                f"extractor {name}: no feature {feature!r}; it has {cls.get_provided_features_list()}"
            )
        self.weights = None if weights == "hub" else find_weights(name, weights, cls)
        digest = None if self.weights is None else sha256_of(self.weights)
        self.device = choose_device(device)
        self._model = _create(cls, name, feature, self.weights).to(self.device)
        self.features = f"torch-fidelity {name}, {feature}"
        if digest:
            self.features += f", weights {digest[:8]}"
        self.distance = "fid" if name == INCEPTION else "frechet"
        self.identity = dict(kind="torch-fidelity", name=name, feature=feature, weights_sha256=digest)
        self.notes: list[str] = []
        if name == INCEPTION and digest and not digest.startswith(INCEPTION_SHA256):
            self.notes.append(
                f"{self.weights}: not the TF 2015-12-05 Inception weights (SHA-256 {digest[:8]}…, theirs start with "
                f"{INCEPTION_SHA256}): these distances are not comparable with published FID"
            )

    @torch.inference_mode()
    def __call__(self, images_BCHW: Tensor) -> Tensor:
        return self._model(images_BCHW.to(self.device))[0].float().flatten(1).cpu()


@EXTRACTORS.register_module()
class DetectorExtractor:
    """The last backbone stage of an mmdet detector, averaged over positions, for images that Inception does not suit.

    Args:
        config, checkpoint, cfg_options: see :class:`~detdiffusion.perception.detector.MMDetDetector`; its test
            pipeline resizes and normalises the images.
        device: torch device; None uses CUDA if it is available.
        detector: an existing detector, instead of ``config``.
    """

    def __init__(self, config=None, checkpoint=None, device=None, cfg_options=None, detector=None) -> None:
        from detdiffusion.perception.detector import MMDetDetector

        self.detector = detector or MMDetDetector(config, checkpoint, device, cfg_options)
        self.features = f"{Path(self.detector.name).stem}: last backbone stage, mean over positions"
        self.distance = "frechet"
        self.identity = dict(self.detector.identity(), kind="mmdet backbone")
        self.notes: list[str] = []

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        arrays = [image.permute(1, 2, 0).contiguous().cpu().numpy() for image in images_BCHW]
        with self.detector.pooled_features() as features:
            self.detector.predict_arrays(arrays)
        return torch.cat(features)


def find_weights(name: str, given: str | os.PathLike | None, cls: type | None = None) -> Path | None:
    """Find the weights file of an extractor, without downloading anything.

    Args:
        name: name of the extractor.
        given: path given by the user, or None.
        cls: class of the extractor; classes from outside torch-fidelity need no file.

    Raises:
        UserError: the file does not exist; the message tells where to get it and where to put it.
    """
    if given is not None:
        if not Path(given).is_file():
            hint = (
                f"; it should be {INCEPTION_FILES[1]} from {_INCEPTION_URLS[1]}" if name == INCEPTION else ""
            )
            raise UserError(f"extractor {name}: no weights file {given}{hint}")
        return Path(given)
    if cls is not None and not cls.__module__.startswith("torch_fidelity."):
        return None
    if name != INCEPTION:
        raise UserError(
            f"extractor {name}: give its weights file by `extractor_weights` (weights=... in a config), or let "
            "torch-fidelity download them by `extractor_weights` hub"
        )
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for file in INCEPTION_FILES:
        if (folder / file).is_file():
            return folder / file
    raise UserError(
        f"FID needs the Inception weights {INCEPTION_FILES[1]} (or {INCEPTION_FILES[0]}, the same ones), which are not "
        f"in {folder}. Download {_INCEPTION_URLS[1]} or {_INCEPTION_URLS[0]} and put the file there, or give it by "
        "`extractor_weights`; `extractor_weights` hub lets torch-fidelity download it"
    )


def _create(cls: type, name: str, feature: str, weights: Path | None) -> torch.nn.Module:
    if weights is not None and not name.startswith("clip-"):
        # torch-fidelity unpickles the file without restrictions, so check it with the safe loader first
        try:
            torch.load(weights, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(
                f"{weights}: contains more than weights ({str(error).splitlines()[0]}); not loaded"
            ) from None
        except (RuntimeError, EOFError, OSError) as error:
            raise UserError(f"{weights}: damaged weights file ({str(error).splitlines()[0]})") from None
    try:
        model = cls(name, [feature], feature_extractor_weights_path=weights and str(weights), verbose=False)
    except NotImplementedError:
        raise UserError(
            f"extractor {name}: torch-fidelity takes no weights file for it; use `extractor_weights` hub"
        ) from None
    except (RuntimeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{weights or name}: not the weights of the extractor {name} ({str(error).splitlines()[0]})"
        ) from None
    except OSError as error:
        raise UserError(f"extractor {name}: its weights cannot be downloaded ({error})") from None
    check_finite(
        model.state_dict(), f"extractor {name}: {weights or 'its weights'}", "Download the file again."
    )
    return model.requires_grad_(False).eval()
