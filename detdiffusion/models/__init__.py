"""`detdiffusion.models`: editors, their parts, and losses."""

from . import losses  # noqa: F401
from .editors import Autoencoder, DetDiffusion

__all__ = ["Autoencoder", "DetDiffusion"]
