"""`detdiffusion.models`: editors (generators and autoencoders), their components, and losses."""

from . import losses  # noqa: F401
from .editors import Autoencoder, DetDiffusion

__all__ = ["Autoencoder", "DetDiffusion"]
