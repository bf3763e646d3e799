"""DetDiffusion: perception-aware layout-to-image diffusion, from a detector to a better detector.

Importing the package is light: no torch, mmengine or mmcv. It only installs two import hooks, so that
``_base_ = 'detdiffusion::file.py'`` resolves and mmcv works without compiled operators.
"""

from .utils import compat as _compat

__version__ = "0.1.0"

_compat.install_hooks()
