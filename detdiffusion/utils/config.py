"""Reading configs for the tools: overrides from the command line, and one clear error for a broken file."""

import contextlib
import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config_variables import propagate_inherited, propagate_overrides
from .errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config


def parse_options(options: Sequence[str] | None, flag: str = "--cfg-options") -> dict[str, Any]:
    """``['a.b=1', 'c=[x,y]']`` as a dict for ``Config.merge_from_dict``.

    Args:
        options: as the command line has them.
        flag: the option's name, for messages.

    Raises:
        UserError: an option has no ``=``, or its brackets do not match.
    """
    from mmengine.config import DictAction

    parsed = {}
    for option in options or ():
        key, separator, value = option.partition("=")
        if not separator or not key:
            raise UserError(f"{flag}: {option!r} is not of the form key=value.")
        try:
            parsed[key] = DictAction._parse_iterable(value)
        except AssertionError as error:
            raise UserError(f"{flag} {key}: {error}.") from error
    return parsed


def nested_options(options: Sequence[str] | None, flag: str) -> dict[str, Any]:
    """``['a.b=1', 'c=2']`` as ``{'a': {'b': 1}, 'c': 2}``; see :func:`parse_options`.

    A group holds names of the user's data, ``attributes.No.1=hard``: what follows the first dot is one name, up to the
    last ``=``.

    Raises:
        UserError: as there, or a key that is both a value and a group, or given twice.
    """
    nested: dict[str, Any] = {}
    for option in options or ():
        group, dot, rest = option.partition(".")
        if not dot or "=" in group:
            for key, value in parse_options([option], flag).items():
                _put(nested, key, value, key, flag)
            continue
        name, equals, _ = rest.rpartition("=")
        if not equals or not name or not group:
            raise UserError(f"{flag}: {option!r} is not of the form group.name=value.")
        value = parse_options([f"value={rest[len(name) + 1 :]}"], flag)["value"]
        inner = nested.setdefault(group, {})
        if not isinstance(inner, dict):
            raise UserError(f"{flag}: {group!r} is given a value and options of its own.")
        _put(inner, name, value, f"{group}.{name}", flag)
    return nested


def _put(options: dict[str, Any], key: str, value: Any, full: str, flag: str) -> None:
    if key in options:
        kind = "a value and options of its own" if isinstance(options[key], dict) else "two values"
        raise UserError(f"{flag}: {full!r} is given {kind}.")
    options[key] = value


def load_config(path: str, options: Sequence[str] | None = None) -> "Config":
    """Read a config file and apply overrides.

    A path variable that the file or ``options`` set anew (``data_root``, ``sd_folder``) also moves the paths
    that inherited files built from its old value.

    Args:
        path: a file, or ``package::file.py`` for one that an installed package ships.
        options: ``key=value`` strings of ``--cfg-options``.

    Raises:
        UserError: no such file (with near matches), a file that does not parse or whose bases do not
            resolve, or a bad override.
    """
    from mmengine.config import Config

    overrides = parse_options(options)
    try:
        filename = Config._get_cfg_path(path, "")[0] if "::" in path else str(Path(path).expanduser())
    except (FileNotFoundError, ModuleNotFoundError, AssertionError, ValueError) as error:
        raise UserError(f"config {path}: {error}") from error
    if not Path(filename).is_file():
        raise UserError(f"config {path} does not exist{_near(Path(filename))}.")
    try:
        cfg = Config.fromfile(filename)
        propagate_inherited(cfg, filename)
    except UserError:
        raise
    except Exception as error:  # a config is Python: anything may come out of it
        raise UserError(f"config {path} cannot be read: {type(error).__name__}: {error}") from error
    try:
        propagate_overrides(cfg, overrides)
        cfg.merge_from_dict(overrides)
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise UserError(f"--cfg-options {' '.join(options or ())}: {error}") from error
    return cfg


def _near(path: Path) -> str:
    """'; did you mean ...' from the configs of the folder and of this repository's ``configs``."""
    folders = {path.parent, Path("configs"), Path(__file__).resolve().parents[2] / "configs"}
    names = {str(file): file.stem for folder in folders if folder.is_dir() for file in folder.rglob("*.py")}
    close = difflib.get_close_matches(path.stem, names.values(), n=3, cutoff=0.5)
    files = sorted({min((f for f, stem in names.items() if stem == c), key=len) for c in close})
    return f"; did you mean {' or '.join(files)}?".removesuffix("?") if files else ""


def default_work_dir(cfg: "Config") -> str:
    """``work_dirs/<name of the config file>``."""
    return str(Path("work_dirs") / Path(cfg.filename).stem)


@contextlib.contextmanager
def config_errors(filename: str | Path | None) -> Iterator[None]:
    """Around building what a config names: a part that is not registered, or an argument that it does not have or
    lacks, becomes one UserError that names the config."""
    try:
        yield
    except KeyError as error:
        if "registry" not in str(error):
            raise
        raise UserError(f"config {filename}: {error.args[0]}") from error
    except TypeError as error:
        if not re.search(r"unexpected keyword argument|missing \d+ required", str(error)):
            raise
        raise UserError(f"config {filename}: {error}; check the names in the config") from error
