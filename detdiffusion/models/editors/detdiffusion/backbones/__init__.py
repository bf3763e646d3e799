"""Backbones: everything that is specific to a family of diffusion models, one file per family."""

from .base import Backbone, Prompts
from .stable_diffusion import StableDiffusion
from .stable_diffusion_xl import StableDiffusionXL

__all__ = ["Backbone", "Prompts", "StableDiffusion", "StableDiffusionXL"]
