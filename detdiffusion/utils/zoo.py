"""The weights that ship with the package, ``zoo://NAME`` in configs and options; found without importing torch."""

from pathlib import Path

from .errors import UserError

ZOO = "zoo://"
ZOO_FOLDER = Path(__file__).resolve().parents[1] / "zoo"
SHARED_VAE = "miniscenes_vae"
"""The folder with the VAE of every model of the zoo whose own folder has none."""


def resolve_source(source: str, subfolder: str | None = None) -> str:
    """Resolve ``zoo://NAME`` to the folder of weights that ship with the package; return other sources unchanged.

    Args:
        source: ``from_pretrained`` of a part.
        subfolder: subfolder of the part; where a folder has no ``vae``, that of :data:`SHARED_VAE`.

    Raises:
        UserError: the zoo has no such folder.
    """
    if not str(source).startswith(ZOO):
        return source
    name = str(source).removeprefix(ZOO).rstrip("/")
    folder = ZOO_FOLDER / name
    if not name or not folder.is_dir():
        names = sorted(f"{ZOO}{path.name}" for path in ZOO_FOLDER.iterdir() if path.is_dir())
        raise UserError(f"no weights {source!r} in the package; it has: {', '.join(names)}")
    if subfolder == "vae" and not (folder / "vae").is_dir():
        folder = ZOO_FOLDER / SHARED_VAE
    return str(folder)
