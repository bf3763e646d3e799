"""`detdiffusion.models.editors`: models that generate or reconstruct images."""

from .autoencoder import Autoencoder
from .baselines import ControlNetEditor, GLIGENEditor
from .detdiffusion import DetDiffusion
from .interface import LayoutEditor

__all__ = ["Autoencoder", "ControlNetEditor", "DetDiffusion", "GLIGENEditor", "LayoutEditor"]
