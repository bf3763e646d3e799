"""MiniScenes: the built-in benchmark of small procedural scenes in COCO-Thing-Stuff format."""

from .render import render
from .scene import STUFF, THINGS, Scene, Thing, sample_scene
from .writer import write_miniscenes

__all__ = ["STUFF", "THINGS", "Scene", "Thing", "render", "sample_scene", "write_miniscenes"]
