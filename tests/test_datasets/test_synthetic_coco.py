"""Real and synthetic images in one mmdet data set: counts, names, ids, provenance, samplers."""

import json
from collections import Counter

import numpy as np
import pytest
from mmengine.registry import DefaultScope
from PIL import Image
from pycocotools.coco import COCO

from detdiffusion.datasets.synthetic_coco import SyntheticAugmentedCocoDataset
from detdiffusion.registry import DATASETS
from detdiffusion.utils.errors import UserError

THINGS = ("ball", "tent", "kite")
CATEGORIES = [dict(id=i, name=n) for i, n in ((1, "ball"), (4, "tent"), (7, "kite"), (9, "sky"))]
PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(32, 32), keep_ratio=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "synthetic", "strategy", "source_image_id"),
    ),
]


def write_set(root, n, first_id=1, categories=CATEGORIES, names=THINGS, synthetic=None, empty=()):
    """A COCO set of ``n`` images, tall and wide in turn, two things and one stuff object each."""
    (root / "images").mkdir(parents=True)
    id_of = {c["name"]: c["id"] for c in categories}
    images, annotations = [], []
    for k in range(n):
        width, height = (40, 30) if k % 2 else (30, 40)
        name = f"{k:03d}.png"
        Image.fromarray(np.full((height, width, 3), k, np.uint8)).save(root / "images" / name)
        image = dict(id=first_id + k, file_name=name, width=width, height=height)
        if synthetic:
            image.update(strategy=synthetic, source_image_id=1000 + k, seed=0, sample_index=0)
        images.append(image)
        objects = [] if k in empty else [names[k % len(names)], names[(k + 1) % len(names)], "sky"]
        for j, category in enumerate(objects):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=first_id + k,
                    category_id=id_of[category],
                    bbox=[2 + j, 3, 10, 12],
                    area=120,
                    iscrowd=0,
                )
            )
    (root / "annotations.json").write_text(
        json.dumps(dict(images=images, annotations=annotations, categories=categories))
    )
    return root


def build(root, sets, **kwargs):
    defaults = dict(
        ann_file="annotations.json",
        data_root=str(root),
        data_prefix=dict(img="images/"),
        metainfo=dict(classes=THINGS),
        pipeline=PIPELINE,
        serialize_data=False,  # mmengine collects all garbage when it serialises: seconds in a test run
        synthetic=[dict(data_root=str(s)) for s in sets],
    )
    defaults.update(kwargs)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return DATASETS.build(dict(type="detdiffusion.SyntheticAugmentedCocoDataset", **defaults))


@pytest.fixture
def real(tmp_path):
    return write_set(tmp_path / "real", 10)


@pytest.fixture
def hard(tmp_path):
    return write_set(tmp_path / "hard", 6, first_id=5_000_000_000_000, synthetic="hard")


def rename(root, change):
    path = root / "annotations.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_counts_equal_pycocotools(real, hard):
    dataset = build(real, [hard])
    assert isinstance(dataset, SyntheticAugmentedCocoDataset)
    expected = Counter()
    for root in (real, hard):
        coco = COCO(root / "annotations.json")
        for name in THINGS:
            expected[name] += len(coco.getAnnIds(catIds=coco.getCatIds(catNms=[name])))
    got = Counter(
        THINGS[i["bbox_label"]] for k in range(len(dataset)) for i in dataset.get_data_info(k)["instances"]
    )
    assert len(dataset) == 16 and got == expected
    assert (dataset.num_real, dataset.num_synthetic) == (10, 6)
    assert dataset.report["real objects left out: class not among metainfo['classes']"] == 10
    assert dataset.report["synthetic objects left out: class not among metainfo['classes']"] == 6
    assert dataset.report["synthetic images used: strategy hard"] == 6
    assert "real:synthetic = 10:6 (37.5% synthetic)" in dataset.summary()


def test_real_part_equals_plain_mmdet(real, hard):
    from mmdet.datasets import CocoDataset

    rename(real, lambda data: data["annotations"].__delitem__(slice(3, 6)))  # the second image has no object
    easy = write_set(hard.parent / "easy", 4, first_id=900, synthetic="easy", empty=(1,))
    ours = build(real, [easy], filter_cfg=dict(filter_empty_gt=True))
    reference = CocoDataset(
        ann_file="annotations.json",
        data_root=str(real),
        data_prefix=dict(img="images/"),
        metainfo=dict(classes=THINGS),
        filter_cfg=dict(filter_empty_gt=True),
    )
    assert ours.num_real == len(reference) == 9 and ours.num_synthetic == 3
    for k in range(9):
        mine, theirs = ours.get_data_info(k), reference.get_data_info(k)
        assert mine["instances"] == theirs["instances"] and mine["img_id"] == theirs["img_id"]
    assert ours.report["real images left out: filter_cfg"] == 1
    assert ours.report["synthetic images left out: filter_cfg"] == 1


def test_provenance_reaches_the_data_sample(real, hard):
    dataset = build(real, [hard])
    first, last = dataset[0]["data_samples"], dataset[15]["data_samples"]
    assert (first.synthetic, first.strategy, first.source_image_id) == (False, "", None)
    assert (last.synthetic, last.strategy, last.source_image_id) == (True, "hard", 1005)
    assert last.img_id == 5_000_000_000_005 and "hard/images/005.png" in last.img_path
    assert int(dataset[15]["inputs"].float().mean()) == 5  # the pixels are the synthetic image's


def test_labels_go_by_name_whatever_the_ids_and_order(real, tmp_path):
    other = [dict(id=i, name=n) for i, n in ((50, "kite"), (20, "sky"), (30, "ball"), (10, "tent"))]
    synthetic = write_set(tmp_path / "other", 6, first_id=100, categories=other, synthetic="easy")
    dataset = build(real, [synthetic], filter_cfg=dict(filter_empty_gt=True))
    for k in range(6):
        labels = [i["bbox_label"] for i in dataset.get_data_info(10 + k)["instances"]]
        assert labels == [k % 3, (k + 1) % 3]
    assert dataset.num_synthetic == 6 and dataset.cat_ids == [1, 4, 7]


def test_ids_never_collide(real, tmp_path):
    same = write_set(tmp_path / "same", 10, first_id=1, synthetic="easy")
    dataset = build(real, [same, same])
    ids = [dataset.get_data_info(k)["img_id"] for k in range(30)]
    assert len(set(ids)) == 30 and ids[:10] == list(range(1, 11))
    assert dataset.report["synthetic images renumbered: id taken"] == 20


def test_fraction_is_counted_repeatable_and_nested(real, hard):
    def chosen(**kwargs):
        dataset = build(real, [hard], **kwargs)
        infos = [dataset.get_data_info(k) for k in range(len(dataset))]
        return {i["img_id"] for i in infos if i["synthetic"]}

    third, two_thirds = chosen(fraction=1 / 3), chosen(fraction=2 / 3)
    assert len(third) == 2 and len(two_thirds) == 4 and third < two_thirds
    assert chosen(fraction=1 / 3) == third
    assert any(chosen(fraction=1 / 3, fraction_seed=s) != third for s in range(1, 6))
    assert build(real, [hard], fraction=1 / 3).report["synthetic images left out: fraction"] == 4


def test_same_sources_keeps_images_made_of_the_real_ones(real, tmp_path):
    folder = write_set(tmp_path / "set", 6, first_id=500, synthetic="hard")
    rename(folder, lambda coco: [image.update(source_image_id=image["id"] - 492) for image in coco["images"]])
    dataset = build(real, [folder], same_sources=True)
    assert (dataset.num_real, dataset.num_synthetic) == (10, 3)  # ids 1 to 10, and 8 to 13
    sources = [
        dataset.get_data_info(dataset.num_real + i)["source_image_id"] for i in range(dataset.num_synthetic)
    ]
    assert sources == [8, 9, 10]
    assert dataset.report["synthetic images left out: made of other real images"] == 3
    none = build(real, [write_set(tmp_path / "others", 2, first_id=900, synthetic="hard")], same_sources=True)
    assert (len(none), none.num_synthetic) == (10, 0) and none.get_data_info(9)["img_id"] == 10
    with pytest.raises(UserError, match="needs synthetic images, and same_sources leaves none"):
        _ = none.datasets
    with pytest.raises(UserError, match="same_sources needs the real images"):
        build(real, [folder], same_sources=True, mode="only_synthetic")


def test_only_synthetic_does_not_read_the_real_file(hard, tmp_path):
    dataset = build(tmp_path / "nowhere", [hard], mode="only_synthetic")
    assert (dataset.num_real, dataset.num_synthetic) == (0, 6)
    assert dataset[0]["data_samples"].synthetic and dataset.cumulative_sizes == [6]


def test_mmdets_samplers(real, hard):
    from mmdet.datasets.samplers import AspectRatioBatchSampler, GroupMultiSourceSampler, MultiSourceSampler
    from mmengine.dataset import DefaultSampler

    dataset = build(real, [hard])
    for sampler_type in (MultiSourceSampler, GroupMultiSourceSampler):
        stream = iter(sampler_type(dataset, batch_size=4, source_ratio=[3, 1], seed=0))
        for _ in range(20):
            batch = [dataset.get_data_info(next(stream)) for _ in range(4)]
            assert [i["synthetic"] for i in batch] == [False, False, False, True]
            if sampler_type is GroupMultiSourceSampler:
                assert len({i["width"] < i["height"] for i in batch}) == 1
    for indices in AspectRatioBatchSampler(DefaultSampler(dataset, seed=0), batch_size=2):
        infos = [dataset.get_data_info(i) for i in indices]
        assert len({i["width"] < i["height"] for i in infos}) == 1 or len(indices) < 2


def test_a_ratio_a_batch_wants_the_whole_set(real, hard):
    dataset = build(real, [hard])
    subset = dataset.get_subset([0, 1, 12])
    assert len(subset) == 3 and subset.get_data_info(2)["synthetic"]
    with pytest.raises(UserError, match="not a subset"):
        subset.cumulative_sizes  # noqa: B018


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("serialize", [False, True])
def test_base_dataset_api(real, hard, lazy, serialize):
    dataset = build(real, [hard], lazy_init=lazy, serialize_data=serialize)
    if lazy:
        dataset.full_init()
    assert len(dataset) == 16 and dataset.metainfo["classes"] == THINGS
    assert dataset.get_cat_ids(0) == [0, 1]
    assert len(build(real, [hard], indices=12)) == 12


def test_class_missing_in_either_json_names_near_matches(real, hard):
    with pytest.raises(
        UserError, match=r"real/annotations.json: lacks the class 'kites'.*near matches: kite"
    ):
        build(real, [hard], metainfo=dict(classes=("ball", "tent", "kites")))
    rename(hard, lambda data: data["categories"][1].update(name="tents"))
    with pytest.raises(
        UserError, match=r"hard/annotations.json: lacks the class 'tent'.*near matches: tents"
    ):
        build(real, [hard])


def test_classes_in_another_order_than_the_real_json(real, hard):
    with pytest.raises(UserError, match=r"another order.*write classes=\('ball', 'tent', 'kite',\)"):
        build(real, [hard], metainfo=dict(classes=("kite", "ball", "tent")))


@pytest.mark.parametrize("name", ["../real/images/000.png", "/etc/passwd"])
def test_file_names_that_leave_the_folder(real, hard, name):
    rename(hard, lambda data: data["images"][0].update(file_name=name))
    with pytest.raises(UserError, match="leaves its folder"):
        build(real, [hard])


def test_missing_synthetic_images(real, hard):
    (hard / "images/004.png").unlink()
    with pytest.raises(UserError, match=r"1 of its 6 images are missing, the first .*004.png"):
        build(real, [hard])


def test_bad_files_and_arguments(real, hard, tmp_path):
    with pytest.raises(UserError, match="no such COCO json file"):
        build(real, [tmp_path / "nothing"])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/annotations.json").write_text('{"images": [')
    with pytest.raises(UserError, match="broken json at line 1"):
        build(real, [tmp_path / "broken"])
    with pytest.raises(UserError, match="is empty"):
        build(real, [])
    with pytest.raises(UserError, match="mode must be one of"):
        build(real, [hard], mode="mixed")
    with pytest.raises(UserError, match=r"must be in \(0, 1\], got 1.5"):
        build(real, [hard], fraction=1.5)
    with pytest.raises(UserError, match="unknown: img_dir"):
        build(real, [], synthetic=[dict(data_root=str(hard), img_dir="x")])
    with pytest.raises(UserError, match="no real image is left by filter_cfg"):
        build(real, [hard], filter_cfg=dict(min_size=1000))


def test_prefix_beside_an_annotation_file(real, hard):
    for entry in (
        dict(ann_file=str(hard / "annotations.json")),
        dict(ann_file=str(hard / "annotations.json"), data_prefix=dict(img=str(hard / "images"))),
        dict(data_root=str(hard), ann_file="annotations.json", data_prefix=dict(img="images/")),
    ):
        assert build(real, [], synthetic=[entry]).num_synthetic == 6
