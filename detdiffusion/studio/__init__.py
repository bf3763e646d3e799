"""`detdiffusion.studio`: a local page to draw layouts on and to see their images.

Its server is that of the standard library, so the page needs no package beyond those of the library.
"""

from detdiffusion.utils.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "detdiffusion.studio.options": ["StudioOptions"],
        "detdiffusion.studio.start": ["serve"],
    },
)
