"""Mistakes on the command line, found before any step and without heavy imports."""

from __future__ import annotations

import difflib
import json
import shutil
from pathlib import Path

from detdiffusion.datasets.formats.recognise import recognise
from detdiffusion.utils.errors import UserError
from detdiffusion.utils.files import check_writable, folder_size, write_atomic

from .arms import COPY_PASTE, learned_kind, set_of
from .settings import LEARNERS, NO_BASE, AugmentOptions

MIN_FREE_MB = 2000
"""Free disk space that a run needs: checkpoints, cached latents, images."""
MIN_FREE_MB_SD = 40000
"""The same with Stable Diffusion: a checkpoint holds weights and optimizer, 12 GB, and two are kept while one is
written."""
MB_OF_ROUND, MB_OF_ROUND_SD = 500, 24000
"""What each further round needs, without and with Stable Diffusion: the two checkpoints that stay, and images."""
RECORD = "sources.json"
"""File in the folder of a run that says what data it is for."""
HUB = "hub://"
SD1_WIDTH = 768
"""Width of CLIP's text encoder in Stable Diffusion 1.x."""
SD1_TENSOR = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def check_options(options: AugmentOptions, out: Path) -> None:
    """Check everything that can be told from the options and a look at the files.

    Raises:
        UserError: a path does not exist or is not what it should be, the disk is full, or ``out`` belongs to other
            data.
    """
    sources = _given(options)
    for name, path in {**sources, "img_dir": options.img_dir}.items():
        if path is not None:
            _exists(path, f"`{name}`")
    for path in sources.values():
        recognise(path)
    if options.img_dir is not None and not any(path.lower().endswith(".json") for path in sources.values()):
        raise UserError(
            f"`img_dir` {options.img_dir}: it is for COCO jsons, and {', '.join(sources.values())} is none; leave it "
            "out"
        )
    _check_generator(options)
    _check_learner(options.learner)
    _check_arms(options)
    _check_sizes(options)
    if options.detector is not None:
        if options.rounds > 1:
            raise UserError(
                f"`rounds` {options.rounds}: a given detector judges the same in every round; without `detector` the "
                "learner judges, and each round trains it on the images of the last"
            )
        _check_detector(*options.detector)
    check_writable(out)
    _check_owner(options, out)
    _check_disk(out, free_mb(options))
    if options.device not in (None, "cpu"):
        from detdiffusion.utils.devices import choose_device

        choose_device(options.device)
    # it takes seconds, so at the first start only
    if options.detector is not None and not (out / RECORD).is_file():
        from detdiffusion.perception.detector_factory import load_detector

        load_detector(*options.detector, device="cpu")


def _exists(path: str | Path, option: str) -> None:
    path = Path(path)
    if path.exists():
        return
    parent = path.parent
    known = sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
    near = difflib.get_close_matches(path.name, known, n=3)
    hint = f"; near matches: {', '.join(near)}" if near else ""
    raise UserError(f"{option} {path}: no such file or folder{hint}")


def _check_generator(options: AugmentOptions) -> None:
    if options.base != NO_BASE:
        if options.vae is not None:
            raise UserError("`vae` is for `base` none; Stable Diffusion has its own autoencoder")
        _exists(options.base, "`base`")
        base = Path(options.base)
        if base.is_dir() and not (base / "unet/config.json").is_file():
            raise UserError(
                f"`base` {base}: not a diffusers folder, it has no unet/config.json; name a folder with unet/, vae/, "
                "text_encoder/, tokenizer/ and scheduler/, or one safetensors file"
            )
        _check_family(base)
        return
    if not options.vae:
        raise UserError(
            "`base` none needs an autoencoder by `vae`: TAESD's two files (taesd_encoder.safetensors "
            f"taesd_decoder.safetensors, from github.com/madebyollin/taesd), a diffusers folder, or {HUB}OWNER/NAME "
            f"({HUB}madebyollin/taesd), which is downloaded"
        )
    if len(options.vae) > 2:
        raise UserError(f"`vae`: one folder or two files, got {len(options.vae)}: {' '.join(options.vae)}")
    if len(options.vae) == 2:
        for path in options.vae:
            _exists(path, "`vae`")
            names = tensor_shapes(path)
            if not all(name.partition(".")[0].isdigit() for name in names):
                raise UserError(
                    f"`vae` {path}: not a file of TAESD, whose tensors are named by layer, such as 0.weight; it has "
                    f"{next(iter(names))!r}"
                )
    elif not options.vae[0].startswith(HUB):
        _exists(options.vae[0], "`vae`")
        vae_folder(options.vae[0])


def _check_family(base: Path) -> None:
    """Refuse a model of another family than Stable Diffusion 1.x, by the width of its cross-attention."""
    if base.is_dir():
        config = json.loads((base / "unet/config.json").read_text())
        width, added = config.get("cross_attention_dim"), config.get("addition_embed_type")
    else:
        shapes = tensor_shapes(base)
        width = next((shape[1] for name, shape in shapes.items() if name == SD1_TENSOR), None)
        added = next((name for name in shapes if name.startswith("model.diffusion_model.label_emb.")), None)
    if width != SD1_WIDTH or added:
        found = f"cross-attention of width {width}" + (f" and {added!r}" if added else "")
        raise UserError(
            f"`base` {base}: not of the family Stable Diffusion 1.x, whose cross-attention has a width of {SD1_WIDTH}: "
            f"it has {found}. SDXL and others: write a config of your own, see configs/detdiffusion_sdxl_coco.py"
        )


def vae_folder(folder: str | Path) -> tuple[Path, dict]:
    """Return the folder of an autoencoder, which may be the subfolder ``vae``, and its config.

    Raises:
        UserError: it is none.
    """
    for place in (Path(folder), Path(folder) / "vae"):
        if (place / "config.json").is_file():
            config = json.loads((place / "config.json").read_text())
            if str(config.get("_class_name", "")).startswith("Autoencoder"):
                return place, config
    raise UserError(f"`vae` {folder}: no autoencoder's config.json in it; name a diffusers folder of one")


def tensor_shapes(path: str | Path) -> dict[str, list[int]]:
    """Return the shapes of the tensors of a safetensors file by name, from its header alone.

    Raises:
        UserError: it is no safetensors file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if not 0 < size < path.stat().st_size:
                raise ValueError("no header")
            header = json.loads(file.read(size))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a safetensors file ({error})") from None
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def _check_learner(learner: str) -> None:
    if learner in LEARNERS:
        return
    if "::" in learner:
        _check_learner_config(learner)
        return
    if not learner.endswith(".py"):
        near = difflib.get_close_matches(learner, LEARNERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UserError(f"`learner` must be {', '.join(LEARNERS)} or a config file, it is {learner!r}{hint}")
    _exists(learner, "`learner`")
    _check_learner_config(learner)


def _check_learner_config(learner: str) -> None:
    """Refuse a config that the run's configs cannot inherit: they replace its data set and keep its pipelines."""
    from detdiffusion.utils.config import load_config

    config = load_config(learner)
    for name in ("train_dataloader", "test_dataloader"):
        dataset = (config.get(name) or {}).get("dataset") or {}
        if "dataset" in dataset or "datasets" in dataset:
            raise UserError(
                f"`learner` {learner}: its {name} wraps a data set ({dataset.get('type')}), which cannot be replaced; "
                "give a config whose data is one set, such as a CocoDataset"
            )
        if "pipeline" not in dataset:
            raise UserError(f"`learner` {learner}: not an mmdet config: it has no {name}.dataset.pipeline")
    if "model" not in config:
        raise UserError(f"`learner` {learner}: not an mmdet config: it has no model")


def _check_arms(options: AugmentOptions) -> None:
    if not any(map(set_of, options.arms)):
        raise UserError(
            f"`arms` {' '.join(options.arms)}: none of them has generated images, which this tool is for; add edited, "
            f"or edited-{COPY_PASTE}"
        )
    if options.rounds > 1 and not learned_kind(options.arms):
        raise UserError(
            f"`rounds` {options.rounds}: the next round's learners see a set whose layouts come from single images, "
            f"and `arms` {' '.join(options.arms)} has none; add edited or hard"
        )
    if options.learner in LEARNERS or not any(name.endswith(COPY_PASTE) for name in options.arms):
        return
    from detdiffusion.utils.config import load_config

    steps = [step["type"] for step in load_config(options.learner).train_dataloader.dataset.pipeline]
    if "LoadAnnotations" not in steps or steps[-1] != "PackDetInputs":
        raise UserError(
            f"`learner` {options.learner}: {COPY_PASTE} needs a pipeline with LoadAnnotations that ends in "
            f"PackDetInputs, it is {', '.join(map(str, steps))}; leave {COPY_PASTE} out of `arms`"
        )


def _check_sizes(options: AugmentOptions) -> None:
    if (options.detector_iters is None) != (options.generator_iters is None):
        raise UserError(
            "`detector_iters` and `generator_iters`: give both, which replace `budget`, or neither of them"
        )
    if options.detector_iters is not None and options.budget is not None:
        raise UserError(
            f"`budget` {options.budget:g}: `detector_iters` and `generator_iters` replace it; leave it out, or them"
        )
    sized = options.smoke or options.detector_iters is not None
    if options.parallel > 1 and (not sized or options.rounds > 1):
        raise UserError(
            f"`parallel` {options.parallel}: steps that share a machine cannot be timed for a budget, and a round "
            "follows from the last one: give `detector_iters` and `generator_iters`, and no `rounds`"
        )


def _check_detector(config: str, weights: str) -> None:
    from detdiffusion.utils.config_files import read_tree

    _exists(weights, "`detector`")
    if "::" in config:
        return
    _exists(config, "`detector`")
    is_onnx = Path(weights).suffix.lower() == ".onnx"
    if is_onnx != any("onnx_detector" in file.assigned for file in read_tree(config).family()):
        wanted = "a config of configs/onnx" if is_onnx else "an mmdet config"
        raise UserError(f"`detector` {config} {weights}: weights of this kind need {wanted}")


def _check_owner(options: AugmentOptions, out: Path) -> None:
    """Refuse a folder of a run on other data."""
    mine = _sources(options)
    record = out / RECORD
    if record.is_file():
        theirs = json.loads(record.read_text())
        if theirs != mine:
            raise UserError(
                f"`out` {out} is a run on {', '.join(theirs.values())}, not on {', '.join(mine.values())}; choose "
                "another folder, or remove it"
            )


def record_owner(options: AugmentOptions, out: Path) -> None:
    """Write down what data a folder is for."""
    write_atomic(out / RECORD, json.dumps(_sources(options), indent=1).encode() + b"\n")


def _sources(options: AugmentOptions) -> dict[str, str]:
    return {name: str(Path(path).resolve()) for name, path in _given(options).items()}


def _given(options: AugmentOptions) -> dict[str, str]:
    given = ((name, getattr(options, name)) for name in ("train", "val", "test"))
    return {name: path for name, path in given if path is not None}


def free_mb(options: AugmentOptions) -> int:
    """Return the free disk space in MB that a run needs, with a generator for each round."""
    if options.base != NO_BASE:
        return MIN_FREE_MB_SD + MB_OF_ROUND_SD * (options.rounds - 1)
    return 100 if options.smoke else MIN_FREE_MB + MB_OF_ROUND * (options.rounds - 1)


def _check_disk(out: Path, needed: int) -> None:
    place = out.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e6
    if free < needed:
        needed -= folder_size(out) / 1e6  # of an earlier start
    if free < needed:
        raise UserError(
            f"`out` {out}: the disk has {free:.0f} MB free, and a run needs about {needed:.0f}; free some, or choose a "
            "folder on another disk"
        )
