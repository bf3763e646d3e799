"""DetDiffusion: perception-aware layout-to-image diffusion, from a detector to a better detector.

Importing the package is light: no torch, mmengine or mmcv. It only installs two import hooks, so that
``_base_ = 'detdiffusion::file.py'`` resolves and mmcv works without compiled operators; its public names are imported
on first use.
"""

from .utils import compat as _compat
from .utils.lazy import lazy_exports

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "detdiffusion.apis.inferencer": ["DetDiffusionInferencer"],
        "detdiffusion.structures.layout": ["Layout"],
    },
)

_compat.install_hooks()
