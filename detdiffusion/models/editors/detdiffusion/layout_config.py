"""``layout_config.json``: how layouts are turned into prompts; a file in a model's diffusers folder.

A model understands only prompts in the format that it was trained with. The file is therefore written at export and
read when a config starts from such a folder: it provides the values that the config does not set, and a contradiction
is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detdiffusion.utils.errors import UserError

from .components import source_folder
from .layout_condition import CONDITIONS, Blueprint, condition_arguments, read_condition

if TYPE_CHECKING:
    from .layout_tokenizer import LayoutTokenizer

NAME = "layout_config.json"
FIELDS = (
    "template",
    "bins",
    "attributes",
    "attribute_words",
    "attribute_position",
    "overflow",
    "max_length",
    "prefix",
)
"""Arguments of :class:`.layout_tokenizer.LayoutTokenizer` that are stored in the file."""
_CONDITION = ("layout_condition", "blueprint_shapes")
_BINDING = ("template", "bins", "prefix")  # must equal the stored values
_OF_ATTRIBUTES = (
    "attribute_words",
    "attribute_position",
)  # must equal the stored values if there are attributes


def write_layout_config(folder: str | Path, layout_tokenizer: LayoutTokenizer, **about: Any) -> None:
    """Write the file.

    Args:
        folder: a model's diffusers folder.
        layout_tokenizer: the tokenizer whose arguments are stored.
        **about: further content: the result of :func:`.layout_condition.stored_condition`, and information that does
            not bind a config (classes, filters).
    """
    values = {name: getattr(layout_tokenizer, name) for name in FIELDS}
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / NAME).write_text(json.dumps({**values, **about}, indent=2) + "\n")


def folder_classes(folder: str | Path | None) -> tuple[str, ...]:
    """Return the classes that the model in a diffusers folder was trained with; empty if the folder does not say."""
    path = None if folder is None else Path(folder) / NAME
    if path is None or not path.is_file():
        return ()
    return tuple(_read(path).get("classes") or ())


def layout_of_config(model: Mapping[str, Any]) -> tuple[dict[str, Any], Blueprint | None]:
    """Return the arguments of the layout tokenizer, and the blueprint, of an editor with this config.

    Args:
        model: the ``model`` of a config.

    Raises:
        UserError: see :func:`settle_layout_config`.
    """
    settled = settle_layout_config(condition_arguments(model), source_folder(model.get("tokenizer")))
    return read_condition(settled)


def settle_layout_config(given: Mapping[str, Any], folder: str | Path | None) -> dict:
    """Complete a config's arguments of prompts and blueprints by those stored in the folder that the model starts from.

    Args:
        given: the config's arguments, :func:`.layout_condition.condition_arguments`.
        folder: a diffusers folder, or None; without the file in it (Stable Diffusion itself) nothing changes.

    Returns:
        Arguments of :func:`.layout_condition.read_condition`. A model trained without layouts (template ``caption``)
        may be used with any template, attributes may be added to one trained without them, and tokens and a blueprint
        each to one trained with the other only.

    Raises:
        UserError: the file is damaged, or config and file contradict each other.
    """
    given = dict(given)
    if given.get("layout_condition", "tokens") not in CONDITIONS:
        raise UserError(f"layout_condition must be one of {CONDITIONS}, got {given['layout_condition']!r}")
    path = None if folder is None else Path(folder) / NAME
    if path is None or not path.is_file():
        return given
    content = _read(path)
    stored = {name: content[name] for name in (*FIELDS, *_CONDITION) if name in content}
    for name in ("bins", "attribute_words"):
        if name in stored:
            stored[name] = tuple(stored[name])
    condition = _settle_condition(given, stored, folder)
    kept = ("max_length", "prefix", *_CONDITION)
    kept += ("attributes", "attribute_words") if stored.get("attributes") else ()
    formless = {name: stored[name] for name in kept if name in stored}
    if condition == "blueprint":  # prompts are captions, whatever the config's template is
        given = {name: value for name, value in given.items() if name not in ("template", "bins")}
        if "layout_condition" in stored:
            stored = {name: value for name, value in stored.items() if name not in ("template", "bins")}
        else:
            stored = formless
    elif stored.get("template") == "caption" and (
        given.get("template", "caption") != "caption" or given.get("layout_condition") in ("tokens", "both")
    ):
        stored = formless
    binding = _BINDING
    if stored.get("attributes"):
        binding = (*_BINDING, *_OF_ATTRIBUTES)
    else:
        stored = {name: value for name, value in stored.items() if name not in _OF_ATTRIBUTES}
    for name in binding:
        if name in given and name in stored and _plain(given[name]) != _plain(stored[name]):
            raise UserError(
                f"layout_tokenizer.{name} is {given[name]!r} in the config, but the model in {folder} was trained with "
                f"{stored[name]!r} ({NAME}): leave it out of the config, or start from another model"
            )
    if stored.get("attributes") and not given.get("attributes", True):
        raise UserError(
            f"layout_tokenizer.attributes is False in the config, but the model in {folder} was trained with attribute "
            f"tokens ({NAME}): leave it out of the config, or start from a model without them"
        )
    return {**stored, **given}


def _settle_condition(given: Mapping[str, Any], stored: dict, folder: str | Path) -> str:
    """Return the layout condition; remove it from ``stored`` if the model may be trained with another one.

    Tokens and blueprint may each be added to a model that was trained with the other, but not be left out.

    Raises:
        UserError: the model was trained with a blueprint, and the config has none or another one.
    """
    if stored.get("layout_condition", "tokens") == "tokens":
        stored.pop("layout_condition", None)
        return given.get("layout_condition", "tokens")
    if (given.get("layout_condition"), stored["layout_condition"]) == ("both", "blueprint"):
        stored["layout_condition"] = "both"
    for name in _CONDITION:
        if name in given and name in stored and given[name] != stored[name]:
            raise UserError(
                f"{name} is {given[name]!r} in the config, but the model in {folder} was trained with "
                f"{stored[name]!r} ({NAME}): leave it out of the config, or start from another model"
            )
    return stored["layout_condition"]


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise UserError(f"{path}: not a layout config ({error}); export the model again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a layout config (no json object); export the model again")
    return content


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value
