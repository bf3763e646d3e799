"""`detdiffusion.models.editors`: models that make images."""

from .autoencoder import Autoencoder
from .detdiffusion import DetDiffusion

__all__ = ["Autoencoder", "DetDiffusion"]
