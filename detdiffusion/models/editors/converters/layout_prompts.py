"""Layouts as conditions of diffusers pipelines, for :mod:`.layout_pipeline` and :mod:`.layout_pipeline_xl`.

The export joins these files and :mod:`..detdiffusion.blueprint` to one, ``pipeline.py``; they need diffusers,
transformers and torch only.
"""

import difflib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers.utils import BaseOutput

from ..detdiffusion.blueprint import draw_blueprint, object_codes


@dataclass
class LayoutPipelineOutput(BaseOutput):
    """Generated images.

    Attributes:
        images: B images, in the form that ``output_type`` names.
        kept: for each image, the indices of the objects that its prompt had room for; the others are not drawn.
    """

    images: list
    kept: list


class LayoutPrompts:
    """Base class of pipelines that take boxes, class names and attributes; the other one is a pipeline of diffusers.

    Prompts, noise and guidance are those of the library that the model was trained with, so its images are the same. A
    subclass defines ``conditions``, which encodes prompts.
    """

    def conditions(self, prompts: list[list[list[int]]]) -> dict[str, torch.Tensor]:
        """Return the pipeline's arguments for B prompts of W windows of token ids, and for the empty prompt."""
        raise NotImplementedError

    @cached_property
    def layout_config(self) -> dict:
        """The content of ``layout_config.json``.

        Raises:
            ValueError: the file does not lie in the model's folder.
        """
        file = Path(self.tokenizer.name_or_path).resolve().parent / "layout_config.json"
        if not file.is_file():
            raise ValueError(
                f"{file} is missing; it lies in the root of the exported folder. A model of the Hugging Face hub has "
                "to be downloaded as a whole (huggingface_hub.snapshot_download) and loaded from its local folder"
            )
        return json.loads(file.read_text())

    @torch.no_grad()
    def __call__(
        self,
        boxes: Sequence,
        names: Sequence,
        attributes: Sequence | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 3.5,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pil",
        overflow: str | None = None,
        **options,
    ) -> LayoutPipelineOutput:
        """Generate images of one layout, or of a list of layouts.

        Args:
            boxes: N boxes (x1, y1, x2, y2) as fractions of the image's width and height, in [0, 1]; for several
                images a list of such lists.
            names: the N class names; for several images a list of lists.
            attributes: the N perception-aware attributes, like ``easy``, ``hard`` or ``background``; for several
                images a list of lists. None for a model that was trained without attributes.
            num_inference_steps: number of denoising steps.
            guidance_scale: scale of classifier-free guidance.
            generator: a random generator for every image, on the CPU for images that do not depend on the device.
            output_type: ``pil``, ``np``, ``pt`` or ``latent``.
            overflow: what to do with objects that do not fit in a prompt: ``largest``, ``chunk`` or ``error``;
                default: as the model was trained.
            **options: further arguments of the stock pipeline, such as ``height`` and ``width``.

        Raises:
            ValueError: a value is not valid; the message says which values are.
        """
        if isinstance(names, str):
            raise ValueError(f"names must be a list with a name for each box, it is {names!r}")
        if all(isinstance(name, str) for name in names):
            boxes, names = [boxes], [names]
            attributes = None if attributes is None else [attributes]
        if attributes is None:
            attributes = [None] * len(names)
        if not len(boxes) == len(names) == len(attributes) or not names:
            raise ValueError(
                f"boxes, names and attributes must be of the same number of images, at least one: they are of "
                f"{len(boxes)}, {len(names)} and {len(attributes)}"
            )
        if not isinstance(num_inference_steps, int) or num_inference_steps < 1:
            raise ValueError(
                f"num_inference_steps must be a whole number of at least 1, it is {num_inference_steps}"
            )
        generators = [generator] if isinstance(generator, torch.Generator) else generator
        if generators is not None and len(generators) != len(names):
            raise ValueError(f"{len(names)} images need {len(names)} generators, got {len(generators)}")
        layouts = [self._checked(*layout) for layout in zip(boxes, names, attributes)]
        prompts = [self._encode(*layout, overflow or self.layout_config["overflow"]) for layout in layouts]
        images: list = [None] * len(prompts)
        counts = {len(windows) for windows, _ in prompts}
        for count in sorted(counts):  # prompts of one batch have the same length
            batch = [index for index, (windows, _) in enumerate(prompts) if len(windows) == count]
            with self._blueprints([_selected(layouts[index], prompts[index][1]) for index in batch]):
                drawn = super().__call__(
                    **self.conditions([prompts[index][0] for index in batch]),
                    num_inference_steps=num_inference_steps,
                    guidance_scale=guidance_scale,
                    generator=None if generators is None else [generators[index] for index in batch],
                    output_type=output_type,
                    **options,
                )
            for index, image in zip(batch, drawn.images):
                images[index] = image
        if output_type != "pil":
            images = torch.stack(images) if torch.is_tensor(images[0]) else np.stack(images)
        return LayoutPipelineOutput(images=images, kept=[kept for _, kept in prompts])

    def prepare_latents(self, batch_size, num_channels_latents, *args, **kwargs):
        """As the parent's; the UNet's other input channels are those of a blueprint."""
        return super().prepare_latents(batch_size, self.unet.config.out_channels, *args, **kwargs)

    @contextmanager
    def _blueprints(self, layouts: list[tuple]) -> Iterator[None]:
        """Join the layouts' blueprints to the UNet's input if the model was trained with them."""
        config = self.layout_config

        def join(unet, args: tuple) -> tuple:
            sample, size = args[0], args[0].shape[-2:]
            drawn = [
                draw_blueprint(object_codes(names, attributes, config["attribute_words"]), boxes, size)
                for boxes, names, attributes in layouts
            ]
            maps = torch.stack(drawn)
            if self.do_classifier_free_guidance:  # the first half of the batch is that of the empty prompt
                maps = torch.cat((torch.zeros_like(maps), maps))
            maps = maps.repeat_interleave(len(sample) // len(maps), dim=0)  # images per prompt
            return torch.cat((sample, maps.to(sample)), dim=1), *args[1:]

        if config.get("layout_condition", "tokens") == "tokens":
            yield
            return
        handle = self.unet.register_forward_pre_hook(join)
        try:
            yield
        finally:
            handle.remove()

    def _checked(self, boxes, names, attributes) -> tuple[np.ndarray, list, list]:
        """Return a layout's boxes as (N, 4) float32, its names and its attributes (None without)."""
        config, names = self.layout_config, list(names)
        boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        inside = (boxes >= -1e-4) & (boxes <= 1 + 1e-4)
        if not inside.all():
            raise ValueError(
                f"boxes must be (x1, y1, x2, y2) as fractions of the image's sides, in [0, 1]; got {boxes.tolist()}"
            )
        if config["attributes"] and attributes is None:
            raise ValueError(f"attributes: every object needs one of {', '.join(config['attribute_words'])}")
        if not config["attributes"] and attributes is not None:
            raise ValueError("attributes: the model was trained without attributes; leave them out")
        attributes = [None] * len(names) if attributes is None else list(attributes)
        if not len(boxes) == len(names) == len(attributes):
            raise ValueError(
                f"a layout of {len(boxes)} boxes has {len(names)} names and {len(attributes)} attributes; each box "
                "needs one"
            )
        words = [name.replace("-", " ") for name in config.get("classes", ())]
        for name in names:
            if words and name.replace("-", " ") not in words:
                raise ValueError(_unknown("names", name, config["classes"]))
        for attribute in attributes if config["attributes"] else ():
            if attribute not in config["attribute_words"]:
                raise ValueError(_unknown("attributes", attribute, config["attribute_words"]))
        return boxes, names, attributes

    def _encode(self, boxes: np.ndarray, names: list, attributes: list, overflow: str) -> tuple[list, list]:
        """Return the token ids of a prompt's windows, and the indices of the objects in them."""
        parts = [self._object(*one) for one in zip(boxes.tolist(), names, attributes)]
        start = [self.tokenizer.bos_token_id, *self._words(self.layout_config["prefix"])]
        room = self.layout_config["max_length"] - len(start) - 1
        if sum(map(len, parts)) <= room:
            windows = [list(range(len(parts)))]
        elif overflow == "largest":
            windows = [_largest(boxes, parts, room)]
        elif overflow == "chunk":
            windows = _chunks(parts, room)
        else:
            known = overflow == "error"
            raise ValueError(
                f"{len(parts)} objects need {sum(map(len, parts))} tokens, and a prompt has room for {room}"
                + ("" if known else f"; overflow {overflow!r} is unknown here")
                + ": choose overflow='largest' or 'chunk'"
            )
        ids = [self._padded(start + [token for k in window for token in parts[k]]) for window in windows]
        return ids, [k for window in windows for k in window]

    def _object(self, box: Sequence[float], name: str, attribute: str | None) -> list[int]:
        """Return the token ids of one object."""
        config, words = self.layout_config, self._words(name.replace("-", " "))
        if config["template"] == "caption":
            return words
        rows, columns = config["bins"]
        x1, y1, x2, y2 = box
        bins = [round(y * (rows - 1)) * columns + round(x * (columns - 1)) for x, y in ((x1, y1), (x2, y2))]
        corners = self.tokenizer.convert_tokens_to_ids([f"<l{index}>" for index in bins])
        mark = self.tokenizer.convert_tokens_to_ids([f"[{attribute}]"]) if config["attributes"] else []
        if config["template"] == "paper":
            comma = self._words(",")
            tail = [*(comma if mark else []), *mark, *self._words("),")]
            return [*self._words("("), *words, *comma, *corners, *tail]
        first = config["attribute_position"] == "first"
        return [*mark, *words, *corners] if first else [*words, *corners, *mark]

    def _words(self, text: str) -> list[int]:
        """Return the token ids of a text without start and end."""
        ids = self.tokenizer(text, add_special_tokens=False).input_ids
        if self.tokenizer.unk_token_id in ids:
            raise ValueError(f"the tokenizer has no tokens for {text!r}")
        return ids

    def _padded(self, ids: list[int]) -> list[int]:
        """Return the ids of a window: ``ids``, the end token and padding."""
        end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        ids = [*ids, end]
        return ids + [end if pad is None else pad] * (self.layout_config["max_length"] - len(ids))


def _selected(layout: tuple, kept: list[int]) -> tuple[torch.Tensor, list, list]:
    """Return boxes, names and attributes of the objects of a prompt."""
    boxes, names, attributes = layout
    kept = sorted(kept)
    return torch.from_numpy(boxes[kept]), [names[k] for k in kept], [attributes[k] for k in kept]


def _largest(boxes: np.ndarray, parts: list, room: int) -> list[int]:
    """Return the indices of the largest objects that fit in one window, in their order."""
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1).tolist()
    fitting, used = set(), 0
    for k in sorted(range(len(parts)), key=lambda k: -areas[k]):
        if used + len(parts[k]) <= room:
            fitting.add(k)
            used += len(parts[k])
    return sorted(fitting)


def _chunks(parts: list, room: int) -> list[list[int]]:
    """Return the indices of the objects of as many windows as are needed."""
    windows, used = [[]], 0
    for k, part in enumerate(parts):
        if len(part) > room:
            raise ValueError(f"object {k} alone needs {len(part)} tokens, and a prompt has room for {room}")
        if used + len(part) > room:
            windows.append([])
            used = 0
        windows[-1].append(k)
        used += len(part)
    return windows


def _unknown(argument: str, value, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(value), known, n=3)
    hint = f"near matches: {', '.join(near)}" if near else f"known: {', '.join(known)}"
    return f"{argument}: {value!r} is unknown to the model; {hint}"
