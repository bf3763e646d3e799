"""``tools/generate.py``: a new set from damaged layouts, and continuing a damaged set."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

from ..case import Case, Run
from ..file_damage import damage_file, damage_image
from ..json_damage import damage_value
from ..reading import Coco, picture, read_coco, read_json
from ..running import ROOT, load_main, run_forked
from ..text_damage import damage_text
from ..verdict import Account
from .target import Target, damage_some
from .worlds import CLASSES, coco, write_json

_TINY_LAYOUTS = 0.02  # fraction of the image, as in the config's filter
_IMPORTS = (
    "detdiffusion.apis.generation", "detdiffusion.models", "detdiffusion.datasets", "diffusers", "transformers",
    "mmengine.runner", "mmdet.registry",
)  # fmt: skip


def write_generator(base: Path) -> None:
    """Write a tiny editor: ``config.py``, its tokenizer and ``weights.pth``."""
    import torch

    sys.path.insert(0, str(ROOT / "tests"))
    from tiny_generation import write_config, write_tokenizer

    from detdiffusion.apis.inferencer import DetDiffusionInferencer

    base.mkdir(parents=True, exist_ok=True)
    write_tokenizer(base)
    torch.manual_seed(0)
    model = DetDiffusionInferencer(write_config(base), None).model
    torch.save(dict(state_dict=model.state_dict(), meta={}), base / "weights.pth")


def write_layouts(base: Path, images: int = 4) -> None:
    """Write instances, stuff and the attributes of both."""
    things = coco(images)
    stuff = dict(
        images=things["images"],
        annotations=[
            dict(
                id=1000 + k, image_id=k, category_id=100, bbox=[0.0, 0.0, 64.0, 20.0], area=1280.0, iscrowd=0
            )
            for k in range(1, images + 1)
        ],
        categories=[dict(id=100, name="sky")],
    )
    write_json(base / "instances.json", things)
    write_json(base / "stuff.json", stuff)
    attributes = {str(a["id"]): ("easy", "hard")[a["id"] % 2] for a in things["annotations"]}
    attributes.update({str(a["id"]): "background" for a in stuff["annotations"]})
    write_json(
        base / "attributes.json", dict(info=dict(nameable=list(CLASSES.values())), attributes=attributes)
    )


class Generate(Target):
    """Layouts, attributes and a checkpoint; one denoising step per image."""

    name, tool, imports = "generate", "generate.py", _IMPORTS

    def prepare(self, base: Path) -> None:
        write_generator(base)
        write_layouts(base)

    def damage(self, case: Case) -> None:
        from .checkpoints import damage_checkpoint

        if case.rng.random() < 0.15:
            case.damages.append(damage_checkpoint(case.source / "weights.pth", case.rng))
        else:
            damage_some(case, {"json": ["instances.json", "instances.json", "stuff.json", "attributes.json"]})

    def arguments(self, case: Case) -> list[str]:
        return generate_arguments(case.base, case.source, case.out)

    def judge(self, case: Case, run: Run) -> Account:
        account = Account(counted=_layout_losses(run.output))
        source = read_coco(case.source / "instances.json", case.source / "stuff.json")
        attributes = read_json(case.source / "attributes.json")["attributes"]
        drawn = read_coco(case.out / "annotations.json")
        of_source = {image["source_image_id"]: image for image in drawn.images.values()}
        for image_id in source.images:
            wanted = prompted(source, image_id)
            if image_id not in of_source:
                account.lose(f"layout {image_id}")
                continue
            image = of_source.pop(image_id)
            came = [a for a in drawn.entries if a["image_id"] == image["id"]]
            ids = {a["source_annotation_id"] for a in came} | {
                a["source_annotation_id"] for a in image.get("not_prompted", ())
            }
            for one in source.entries:
                if isinstance(one, dict) and one.get("image_id") == image_id and one.get("id") not in ids:
                    account.lose(f"annotation id {one.get('id')}")
            for key in ids - {one["id"] for one in wanted}:
                account.wrong.append(
                    f"layout {image_id} shows annotation id {key}, which is no sound object of it"
                )
            for a in came:
                if a["attribute"] != attributes.get(str(a["source_annotation_id"])):
                    account.wrong.append(
                        f"annotation id {a['source_annotation_id']} is drawn {a['attribute']}"
                    )
            path = case.out / "images" / image["file_name"]
            if picture(path) is None:
                account.wrong.append(f"{path.name} is no image")
            elif _is_flat(path):
                account.wrong.append(f"{path.name} is of one colour")
        if of_source:
            account.wrong.append(f"layouts {list(of_source)} are not in the input")
        return account


def generate_arguments(world: Path, source: Path, out: Path) -> list[str]:
    """Return a command that generates images of every layout of ``source``."""
    return [
        str(world / "config.py"), str(source / "weights.pth"), "--ann", str(source / "instances.json"),
        "--ann", str(source / "stuff.json"), "--attributes", str(source / "attributes.json"), "--out", str(out),
        "--strategy", "origin", "--steps", "1", "--device", "cpu", "--preview-every", "0", "--min-free-mb", "1",
    ]  # fmt: skip


def prompted(source: Coco, image_id) -> list[dict]:
    """Return the annotations of an image that pass the config's filter."""
    image = source.images[image_id]
    kept = []
    for one, (x1, y1, x2, y2) in source.objects_of(image_id):
        large = (x2 - x1) * (y2 - y1) > _TINY_LAYOUTS * image["width"] * image["height"]
        if (
            large
            and not one.get("iscrowd")
            and not one.get("ignore")
            and source.names[one["category_id"]] != "other"
        ):
            kept.append(one)
    return kept


def _layout_losses(output: str) -> int:
    """Return what the messages on layouts and files report as left out."""
    line = re.search(r"layouts of .*?: ([^\n]*images: \d+[^\n]*)", output)
    pairs = re.findall(r"([^,:]+): (\d+)", line[1]) if line else []
    kept = ("images", "images kept", "objects kept")
    return sum(int(n) for name, n in pairs if name.strip() not in kept) + sum(
        int(n) for n, what in re.findall(r"^\s*(\d+) × (.*)", output, re.M) if "skipped" in what
    )


def _is_flat(path: Path) -> bool:
    from PIL import Image

    with Image.open(path) as image:
        return all(low == high for low, high in image.convert("RGB").getextrema())


class ContinueSet(Target):
    """A finished set with damaged manifest, run.json, images or annotations, continued with ``--verify``."""

    name, tool, imports = "generate_continue", "generate.py", _IMPORTS

    def prepare(self, base: Path) -> None:
        write_generator(base)
        write_layouts(base)
        arguments = generate_arguments(base, base, base / "set")
        run = run_forked(load_main(self.tool), arguments, base, 300)
        if run.status:
            raise RuntimeError(f"the sound set cannot be drawn:\n{run.output}")
        (base / "output.txt").unlink()

    def damage(self, case: Case) -> None:
        rng, folder = case.rng, case.source / "set"
        for _ in range(rng.choice([1, 1, 2, 3])):
            ways = [
                (damage_entry, folder / "manifest.jsonl"),
                (damage_entry, folder / "manifest.jsonl"),
                (damage_text, folder / "manifest.jsonl"),
                (damage_file, folder / "manifest.jsonl"),
                (damage_run, folder / "run.json"),
                (damage_text, folder / "run.json"),
                (damage_file, folder / "run.json"),
                (damage_text, folder / "annotations.json"),
                (damage_image, rng.choice(sorted((folder / "images").glob("*")) or [folder])),
                (_part, folder / "manifest.rank1.jsonl"),
            ]
            way, path = rng.choice(ways)
            if path.is_file() or way is _part:
                try:
                    case.damages.append(way(path, rng))
                except Exception:  # an earlier damage left nothing that this kind could change
                    case.damages.append("the same file again")

    def arguments(self, case: Case) -> list[str]:
        return [*generate_arguments(case.base, case.base, case.source / "set"), "--verify"]

    def judge(self, case: Case, run: Run) -> Account:
        """Check that the set is complete: every layout once, and files, manifest and annotations agree."""
        account, folder = Account(), case.source / "set"
        whole = read_coco(case.base / "set/annotations.json")
        coco = read_coco(folder / "annotations.json")
        lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
        for image_id in set(whole.images) - set(coco.images):
            account.lose(f"image {image_id}", image_id)
        if extra := set(coco.images) - set(whole.images):
            account.wrong.append(f"images {sorted(extra)} are of no layout")
        if sorted(line["image"]["id"] for line in lines) != sorted(coco.images):
            account.wrong.append("manifest and annotations have other images")
        for line in lines:
            data = (folder / "images" / line["image"]["file_name"]).read_bytes()
            if hashlib.sha256(data).hexdigest() != line["sha256"]:
                account.wrong.append(f"{line['image']['file_name']} has another checksum than its line")
        names = [image["file_name"] for image in coco.images.values()]
        files = {p.name for p in (folder / "images").iterdir() if p.is_file()}
        if len(set(names)) < len(names) or set(names) - files:
            account.wrong.append("images share a file, or have none")
        if coco.image_entries != len(coco.images):
            account.wrong.append("an image is there twice")
        for what, ours in (("images", list(coco.images.values())), ("annotations", coco.entries)):
            theirs = list(whole.images.values()) if what == "images" else whole.entries
            by_id = {one.get("id"): one for one in theirs}
            for one in ours:
                if by_id.get(one.get("id"), one) != one:
                    account.wrong.append(
                        f"{what}: {_difference(one, by_id[one['id']])} of id {one.get('id')}"
                    )
        if len(coco.entries) != len(whole.entries):
            account.wrong.append(f"{len(coco.entries)} annotations in place of {len(whole.entries)}")
        return account


def _difference(one: dict, other: dict) -> str:
    keys = [k for k in {*one, *other} if one.get(k) != other.get(k)]
    return ", ".join(f"{k} {str(one.get(k))[:30]} for {str(other.get(k))[:30]}" for k in sorted(keys))


def damage_entry(path: Path, rng) -> str:
    """Change one thing in one line of a manifest."""
    lines = path.read_text().split("\n")
    k = rng.choice([k for k, line in enumerate(lines) if line.strip()])
    entry = json.loads(lines[k])
    said = damage_value(entry, rng)
    lines[k] = json.dumps(entry)
    path.write_text("\n".join(lines))
    return f"{path.name}, line {k + 1}: {said}"


def damage_run(path: Path, rng) -> str:
    """Change one thing in run.json."""
    data = json.loads(path.read_text())
    said = damage_value(data, rng)
    path.write_text(json.dumps(data))
    return f"{path.name}: {said}"


def _part(path: Path, rng) -> str:
    """Write a rank's part with a line of the manifest, intact, damaged or torn."""
    lines = (path.parent / "manifest.jsonl").read_text().splitlines(keepends=True)
    line = rng.choice(lines)
    path.write_text(rng.choice([line, line[: len(line) // 2], line + line, "", "{}\n"]))
    return f"{path.name} with a line of the manifest"
