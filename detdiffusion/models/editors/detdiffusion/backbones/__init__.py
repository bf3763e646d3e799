"""One file a family of diffusion models: all that the editor has to know of its base."""

from .base import Backbone, Prompts
from .stable_diffusion import StableDiffusion

__all__ = ["Backbone", "Prompts", "StableDiffusion"]
