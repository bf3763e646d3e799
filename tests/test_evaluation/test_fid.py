"""Protocols, pixels, extractors and distances against Pillow, SciPy, torch-fidelity's own API and closed forms."""

import json
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image

from detdiffusion.datasets.image_reading import read_bgr, read_rgb
from detdiffusion.datasets.image_survey import inspect_images
from detdiffusion.evaluation.extractors import (
    INCEPTION,
    INCEPTION_FILES,
    DetectorExtractor,
    TorchFidelityExtractor,
    find_weights,
)
from detdiffusion.evaluation.feature_cache import FeatureCache
from detdiffusion.evaluation.fid import (
    SetFeatures,
    choose_samples,
    common_size,
    distances,
    extract_features,
    format_notes,
)
from detdiffusion.evaluation.image_pixels import protocol_pixels
from detdiffusion.evaluation.protocols import PROTOCOLS, FidProtocol, build_protocol
from detdiffusion.utils.errors import UserError

torch_fidelity = pytest.importorskip("torch_fidelity")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """12 real images of several sizes and 12 generated ones of 40 x 32."""
    root, rng = tmp_path_factory.mktemp("fid"), np.random.default_rng(0)
    for name in ("real", "fake"):
        (root / name).mkdir()
        for i in range(12):
            height, width = (32, 40) if name == "fake" else (32 + i, 40)
            image = Image.fromarray(rng.integers(0, 255, (8, 10, 3), dtype=np.uint8))
            image.resize((width, height)).save(root / name / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """The Inception network with fresh weights, in the format that torch-fidelity loads strictly."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Fresh(FeatureExtractorInceptionV3):
        def load_state_dict(self, *args, **kwargs):
            pass

    path = tmp_path_factory.mktemp("weights") / INCEPTION_FILES[1]
    torch.save({}, path)
    torch.manual_seed(0)
    torch.save(Fresh(INCEPTION, ["2048"], feature_extractor_weights_path=str(path)).state_dict(), path)
    return path


class Means(torch_fidelity.FeatureExtractorBase):
    """Channel means and deviations: a registered extractor without weights."""

    def __init__(self, name, features_list, **kwargs):
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list():
        return ("six",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "six"

    @staticmethod
    def can_be_compiled():
        return False

    def forward(self, images):
        values = images.float()
        return (torch.cat([values.mean(dim=(2, 3)), values.std(dim=(2, 3))], dim=1),)


torch_fidelity.register_feature_extractor("means", Means)


def features_of(extractor, folder, protocol, size=None, **kwargs):
    paths = sorted(folder.iterdir())
    size = size or protocol.size or common_size(inspect_images(paths), folder.name)
    return extract_features(extractor, paths, protocol, size, folder.name, progress=False, **kwargs)


def test_fid_and_kernel_metrics_equal_torch_fidelitys_own(folders):
    """Our features and distances, and torch-fidelity's API on folders of the resized images."""
    protocol = FidProtocol("x", size=(32, 40), kernel_metrics=True)
    extractor = TorchFidelityExtractor("means", device="cpu")
    real, fake = (features_of(extractor, folders / name, protocol) for name in ("real", "fake"))
    metrics, notes = distances(fake, real, extractor.features, True)
    for name in ("real", "fake"):
        out = folders.parent / f"{folders.name}-resized-{name}"
        out.mkdir(exist_ok=True)
        for path in (folders / name).iterdir():
            Image.open(path).resize((40, 32), Image.Resampling.BICUBIC).save(out / path.name)
    inputs = {
        f"input{i}": str(folders.parent / f"{folders.name}-resized-{n}")
        for i, n in ((1, "fake"), (2, "real"))
    }
    options = dict(
        fid=True, kid=True, prc=True, feature_extractor="means", cuda=False, cache=False, verbose=False
    )
    expected = torch_fidelity.calculate_metrics(
        **inputs, **options, kid_subset_size=12, samples_shuffle=False
    )
    assert metrics["fid"] == pytest.approx(expected["frechet_inception_distance"], rel=1e-6)
    assert metrics["kid"] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-3)
    assert (metrics["precision"], metrics["recall"]) == (expected["precision"], expected["recall"])
    a, b = fake.vectors.astype(np.float64), real.vectors.astype(np.float64)
    root = scipy.linalg.sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    trace = np.trace(np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root)
    assert metrics["fid"] == pytest.approx(((a.mean(0) - b.mean(0)) ** 2).sum() + trace, rel=1e-6)
    assert notes == ["fake: KID with subsets of only 12 images, all that are available"]


def test_inception_by_its_file(folders, inception, monkeypatch):
    """Strict loading, the TF resize inside, a warning for other weights, and one for too few images."""
    extractor = TorchFidelityExtractor(weights=inception, device="cpu")
    assert extractor.features.startswith("torch-fidelity inception-v3-compat, 2048, weights ")
    assert "not the TF 2015-12-05 Inception weights" in extractor.notes[0]
    protocol = FidProtocol("x", size=(64, 64))
    two = sorted((folders / "real").iterdir())[:3]
    real = extract_features(extractor, two, protocol, (64, 64), "real", progress=False)
    pixels = np.stack([np.array(Image.open(p).resize((64, 64), Image.Resampling.BICUBIC)) for p in two])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch_fidelity.utils.create_feature_extractor(
            INCEPTION, ["2048"], cuda=False, verbose=False, feature_extractor_weights_path=str(inception)
        )
    with torch.no_grad():
        expected = model(torch.from_numpy(pixels).permute(0, 3, 1, 2))[0]
    assert real.vectors.shape == (3, 2048)
    np.testing.assert_allclose(real.vectors, expected, rtol=1e-4, atol=1e-5)
    _, notes = distances(SetFeatures(real.vectors + 1, "easy"), real, "x", False)
    assert (
        "easy: distance of 3 images from 3 real ones for 2048 features" in notes[0] and "singular" in notes[0]
    )
    # found by itself in torch's hub folder, under either name
    monkeypatch.setenv("TORCH_HOME", str(inception.parent))
    folder = inception.parent / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / INCEPTION_FILES[0]).symlink_to(inception)
    assert find_weights(INCEPTION, None, type(model)) == folder / INCEPTION_FILES[0]


def test_absent_and_wrong_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        UserError, match="pt_inception-2015-12-05-6726825d.pth.*hub/checkpoints.*`extractor_weights`"
    ):
        TorchFidelityExtractor()
    with pytest.raises(UserError, match="no weights file nowhere.pth; it should be pt_inception"):
        TorchFidelityExtractor(weights="nowhere.pth")
    with pytest.raises(UserError, match="vgg16: give its weights file"):
        TorchFidelityExtractor("vgg16")
    with pytest.raises(UserError, match="no feature extractor 'nothing'; it has: .*inception-v3-compat"):
        TorchFidelityExtractor("nothing")
    with pytest.raises(UserError, match="no feature '17'"):
        TorchFidelityExtractor(feature="17")
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04torn")
    with pytest.raises(UserError, match="damaged"):
        TorchFidelityExtractor(weights=tmp_path / "torn.pth", device="cpu")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="not the weights of the extractor inception-v3-compat"):
        TorchFidelityExtractor(weights=tmp_path / "other.pth", device="cpu")


class Code:
    def __reduce__(self):
        return (print, ("this must not run",))


def test_weights_that_bring_code_are_refused(tmp_path, capsys):
    torch.save({"weight": Code()}, tmp_path / "code.pth")
    with pytest.raises(UserError, match="contains more than weights"):
        TorchFidelityExtractor(weights=tmp_path / "code.pth", device="cpu")
    assert "must not run" not in capsys.readouterr().out


def test_without_torch_fidelity(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(UserError, match="pip install torch-fidelity"):
        TorchFidelityExtractor()


def test_detector_features(folders, tmp_path, repo_root):
    """Those of the file-based path of tools/evaluate_fidelity.py, for images at their own size."""
    from fidelity_world import write_random_detector

    config, checkpoint = write_random_detector(tmp_path, repo_root)
    extractor = DetectorExtractor(config, checkpoint, device="cpu")
    protocol = FidProtocol("x")
    found = features_of(extractor, folders / "fake", protocol)
    images = [dict(id=i, file_name=f"{i:02d}.png", width=40, height=32) for i in range(12)]
    with extractor.detector.pooled_features() as pooled:
        extractor.detector.predict(images, folders / "fake", {}, progress=False)
    np.testing.assert_allclose(found.vectors, torch.cat(pooled), rtol=1e-4, atol=1e-5)
    assert "backbone" in extractor.features and json.dumps(extractor.identity)


def test_cache_is_keyed_by_everything(folders, tmp_path):
    cache, extractor = FeatureCache(tmp_path), TorchFidelityExtractor("means", device="cpu")
    first = features_of(extractor, folders / "real", PROTOCOLS["lama_tf"], cache=cache)
    again = features_of(extractor, folders / "real", PROTOCOLS["lama_tf"], cache=cache)
    assert np.array_equal(first.vectors, again.vectors) and len(cache.hits) == 1
    features_of(extractor, folders / "real", FidProtocol("y", size=(256, 256)), cache=cache)
    features_of(extractor, folders / "fake", PROTOCOLS["lama_tf"], cache=cache)
    extractor.identity = dict(extractor.identity, weights_sha256="other")
    features_of(extractor, folders / "real", PROTOCOLS["lama_tf"], cache=cache)
    assert len(cache.hits) == 1 and len(list(tmp_path.glob("*.npz"))) == 4
    for path in tmp_path.glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])  # torn: computed anew
    extractor.identity["weights_sha256"] = None
    assert np.array_equal(
        features_of(extractor, folders / "real", PROTOCOLS["lama_tf"], cache=cache).vectors, first.vectors
    )


def test_modes_become_rgb_and_are_counted(tmp_path):
    """Each mode against Pillow's or a by-hand conversion."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    rgb = Image.fromarray(pixels)
    rgb.convert("L").save(tmp_path / "gray.png")
    assert np.array_equal(np.array(read_rgb(tmp_path / "gray.png"))[..., 1], np.array(rgb.convert("L")))
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    assert np.abs(np.array(read_rgb(tmp_path / "cmyk.jpg")).astype(int) - pixels).mean() < 12
    alpha = np.zeros((6, 8), np.uint8)
    alpha[:, :4] = 255
    Image.fromarray(np.dstack([pixels, alpha])).save(tmp_path / "alpha.png")
    found = np.array(read_rgb(tmp_path / "alpha.png"))
    assert np.array_equal(found[:, :4], pixels[:, :4]) and (found[:, 4:] == 255).all()
    Image.fromarray((pixels[..., 0].astype(np.uint16) << 8) + 3).save(tmp_path / "deep.png")
    assert np.array_equal(np.array(read_rgb(tmp_path / "deep.png"))[..., 2], pixels[..., 0])
    rgb.convert("P").save(tmp_path / "palette.png")
    assert np.array_equal(
        read_bgr(tmp_path / "palette.png")[..., ::-1], np.array(read_rgb(tmp_path / "palette.png"))
    )
    facts = inspect_images(tmp_path.iterdir())
    assert facts.formats == {"PNG": 4, "JPEG": 1} and list(facts.sizes) == [(8, 6)]
    assert facts.conversions == {
        "grayscale images converted to RGB": 1,
        "CMYK images converted to RGB": 1,
        "images with transparency put on white": 1,
        "16-bit images cut to 8 bit": 1,
        "palette images converted to RGB": 1,
    }
    (tmp_path / "torn.png").write_bytes((tmp_path / "gray.png").read_bytes()[:50])
    Image.fromarray(pixels[..., 0].astype(np.float32)).save(tmp_path / "float.tif")
    # 32 bits: nobody knows which of them count, and values below 256 would be black
    Image.fromarray(pixels[..., 0].astype(np.int32)).save(tmp_path / "wide.tif")
    with pytest.raises(UserError, match="wide.tif: holds 32-bit values"):
        inspect_images([tmp_path / "wide.tif"])
    for name, message in (
        ("wide.tif", "holds 32-bit values"),
        ("torn.png", "is cut off"),
        ("none.png", "is missing"),
        ("float.tif", "holds floating-point values"),
    ):
        with pytest.raises(UserError, match=message):
            read_rgb(tmp_path / name)


def test_notes_name_conversions_and_formats(folders, tmp_path):
    for i, mode in enumerate(("L", "RGB", "CMYK")):
        Image.new(mode, (40, 32)).save(tmp_path / f"{i}.jpg")
    extractor = TorchFidelityExtractor("means", device="cpu")
    facts = inspect_images(sorted(tmp_path.iterdir()))
    assert [*facts.notes("easy"), *format_notes(facts, PROTOCOLS["lama_tf"], "easy")] == [
        "easy: 1 CMYK images converted to RGB",
        "easy: 1 grayscale images converted to RGB",
        "easy: 3 JPEG images, but protocol lama_tf requires PNG",
    ]
    with pytest.raises(UserError, match="no images"):
        extract_features(extractor, [], PROTOCOLS["modern"], (8, 8), "empty")
    with pytest.raises(UserError, match="its images have 12 sizes"):
        common_size(inspect_images((folders / "real").iterdir()), "real")


def test_samples_of_a_layout():
    layouts = {10: 1, 11: 1, 12: 1, 20: 2}
    ids, notes = choose_samples(layouts, {10: 2, 11: 0, 12: 1}, FidProtocol("p", images_per_layout=2), "easy")
    assert ids == [11, 12, 20]
    assert (
        "DEVIATES from protocol p: 1 of 2 layouts have fewer than 2" in notes[0]
        and "1 images beyond 2" in notes[1]
    )


def test_a_protocols_own_layouts():
    """LAMA's report has 3,097: another number computes the figure, but not under the name alone."""
    lama = PROTOCOLS["lama_tf"]
    layouts = {5 * n + k: n for n in range(lama.layouts) for k in range(5)}
    samples = {i: i % 5 for i in layouts}
    assert choose_samples(layouts, samples, lama, "easy") == (sorted(layouts), [])
    fewer = {i: n for i, n in layouts.items() if n}
    _, notes = choose_samples(fewer, samples, lama, "easy")
    assert notes == ["easy: DEVIATES from protocol lama_tf: 3096 layouts instead of 3097"]


def test_protocols():
    lama, modern = PROTOCOLS["lama_tf"], PROTOCOLS["modern"]
    assert (lama.images_per_layout, lama.size, lama.extractor_size) == (5, (256, 256), None)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    expected = image.resize((32, 24), Image.Resampling.BICUBIC).resize((299, 299), Image.Resampling.BICUBIC)
    assert np.array_equal(protocol_pixels(image, modern, (24, 32)), np.array(expected))
    assert "5 generated images a layout (PNG)" in lama.describe("F") and "256 x 256" in lama.describe("F")
    assert build_protocol(dict(base="modern", name="mine", size=[64, 64])).size == (64, 64)
    for spec, message in (
        ("lama", "known: lama_tf, modern"),
        (dict(base="modern"), "set a unique `name`"),
        (dict(name="modern", size=(1, 1)), "cannot be changed"),
        (dict(name="a", colour=1), "unknown fields colour"),
        (dict(name="a", resample="none"), "resample"),
        (dict(name="a", size=3), "height, width"),
        (dict(name="a", images_per_layout=0), "below 1"),
    ):
        with pytest.raises(UserError, match=message):
            build_protocol(spec)
