"""Loading configs for the tools, with command-line overrides and clear errors for broken files."""

import contextlib
import difflib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config_files import ConfigFile, old_name_note, read_tree, users_of
from .config_keys import check_options, file_findings
from .config_names import new_name
from .config_variables import evaluate, variables
from .errors import UserError, some
from .findings import Finding, raise_errors
from .image_rules import check_rules_of_config
from .torchrun import is_first_process

if TYPE_CHECKING:
    from mmengine.config import Config

_CONFIGS = (".py", ".json", ".yaml", ".yml")
_OUR_SCOPES = ("detdiffusion", "mmdet")  # that configs of this package set
_WEIGHTS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".onnx", ".weights")


def parse_options(options: Sequence[str] | None, flag: str = "--cfg-options") -> dict[str, Any]:
    """Parse ``['a.b=1', 'c=[x,y]']`` to a dict for ``Config.merge_from_dict``.

    Args:
        options: strings from the command line.
        flag: name of the flag, used in error messages.

    Raises:
        UserError: if an option has no ``=``, or its brackets do not match.
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
    """Parse ``['a.b=1', 'c=2']`` to ``{'a': {'b': 1}, 'c': 2}``; see :func:`parse_options`.

    The keys of a group are names from the user's data, which may contain dots and ``=``: in
    ``attributes.No.1=hard``, the key is everything between the first dot and the last ``=``.

    Raises:
        UserError: as for :func:`parse_options`; also if a key is both a value and a group, or is given twice.
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
            raise UserError(f"{flag}: {group!r} is given both a value and options of its own.")
        _put(inner, name, value, f"{group}.{name}", flag)
    return nested


def _put(options: dict[str, Any], key: str, value: Any, full: str, flag: str) -> None:
    if key in options:
        conflict = "both a value and options of its own" if isinstance(options[key], dict) else "two values"
        raise UserError(f"{flag}: {full!r} is given {conflict}.")
    options[key] = value


def load_config(path: str, options: Sequence[str] | None = None) -> "Config":
    """Read a config file and apply overrides.

    If the file or ``options`` override a variable (``data_root``, ``image_scale``), everything that was computed from
    it changes too, see :mod:`.config_variables`.

    Args:
        path: a file, or ``package::file.py`` for a config of an installed package. Names of earlier versions, see
            :mod:`.config_names`, still work and print a note.
        options: ``key=value`` strings of ``--cfg-options``.

    Raises:
        UserError: if the file does not exist (the message suggests near matches), contains weights, does not parse or
            has a base that does not resolve; if an override is invalid or a key is set twice; or if nothing reads a
            name or option, see :mod:`.config_keys`.
    """
    from mmengine.config import Config

    overrides, renamed = parse_options(options), new_name(path)
    asked, path = path, renamed.path if renamed else path
    filename = config_file(path)
    _check_text(path, filename)
    with reading(path):
        tree = read_tree(filename, options=renamed.options if renamed else None)
        cfg = Config.fromfile(filename) if tree.is_lazy else evaluate(tree, {})
    notes = [old_name_note("", asked, renamed)] if renamed else []
    _report([*notes, *file_findings(tree)])
    check_options(cfg._cfg_dict, overrides)
    known = variables(tree)
    moved = {key: value for key, value in overrides.items() if key.partition(".")[0] in known}
    if moved and tree.is_lazy:
        _refuse_lazy(path, tree, next(iter(moved)))
    if moved:
        with reading(f"{path} with --cfg-options {' '.join(options or ())}"):
            cfg = evaluate(tree, moved)
    try:
        cfg.merge_from_dict({key: value for key, value in overrides.items() if key not in moved})
    except (KeyError, TypeError, AssertionError, IndexError) as error:
        raise UserError(f"--cfg-options {' '.join(options or ())}: {error}") from error
    check_rules_of_config(cfg, path)
    if cfg.get("default_scope") in _OUR_SCOPES:
        _drop_scope(cfg._cfg_dict)
    if renamed:  # a run that was started under the old name resumes in its folder
        object.__setattr__(cfg, "_old_name", Path(asked.rpartition("::")[2]).stem)
    return cfg


def _drop_scope(value: object) -> None:
    """Remove the scope that mmengine adds to everything inherited by ``detdiffusion::``, in place.

    Our detection configs use mmdet's names, as their ``default_scope`` says. These cannot be found in the package's
    scope, which is a sibling of mmdet's.
    """
    if isinstance(value, dict):
        if value.get("_scope_") == "detdiffusion":
            del value["_scope_"]
        for entry in value.values():
            _drop_scope(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _drop_scope(entry)


def config_file(path: str) -> str:
    """Resolve a config's path to a file name.

    Raises:
        UserError: if there is no such file; the message suggests near matches.
    """
    from mmengine.config import Config

    try:
        filename = Config._get_cfg_path(path, "")[0] if "::" in path else str(Path(path).expanduser())
    except (FileNotFoundError, ModuleNotFoundError, AssertionError, ValueError) as error:
        raise UserError(f"config {path}: {error}") from error
    if not Path(filename).is_file():
        raise UserError(f"config {path} does not exist{_near(Path(filename))}.")
    return filename


def _refuse_lazy(path: str, tree: ConfigFile, key: str) -> None:
    """Raise the error for an option that overrides a variable of a config with ``read_base``.

    Raises:
        UserError: always, because such a config has used the variable before options are applied.
    """
    users = some(users_of(tree, key.partition(".")[0]), 4)
    raise UserError(
        f"config {path}: --cfg-options {key}: configs with `read_base` are evaluated before options are applied, and "
        f"this one has already used the variable in {users}; override these instead"
    )


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Convert any exception from evaluating a config to a UserError that names the config."""
    try:
        yield
    except UserError as error:
        raise UserError(f"config {path}: {error}") from error
    except Exception as error:  # a config is Python code, so it can raise anything
        raise UserError(f"config {path} cannot be read: {type(error).__name__}: {error}") from error


def _check_text(path: str, filename: str) -> None:
    """Check that a file can be a config.

    Raises:
        UserError: if the file contains weights, or its suffix is not that of a config.
    """
    suffix = Path(filename).suffix.lower()
    with open(filename, "rb") as file:
        binary = b"\0" in file.read(4096)
    if binary or suffix in _WEIGHTS:
        raise UserError(
            f"config {path} is a weights file, not a config: the config comes first and the checkpoint second; "
            "were the two swapped?"
        )
    if suffix not in _CONFIGS:
        raise UserError(f"config {path}: a config must be a {', '.join(_CONFIGS)} file.")


def _report(findings: Sequence[Finding]) -> None:
    """Raises findings that are errors; prints the others."""
    raise_errors(findings)
    for finding in findings if is_first_process() else ():
        print(f"{finding.severity}: config {finding}", file=sys.stderr)


def _near(path: Path) -> str:
    """Suggest similarly named configs of the folder and of this repository's ``configs``: '; did you mean ...'."""
    folders = {path.parent, Path("configs"), Path(__file__).resolve().parents[2] / "configs"}
    names = {str(file): file.stem for folder in folders if folder.is_dir() for file in folder.rglob("*.py")}
    close = difflib.get_close_matches(path.stem, names.values(), n=3, cutoff=0.5)
    files = sorted({min((f for f, stem in names.items() if stem == c), key=len) for c in close})
    return f"; did you mean {' or '.join(files)}?".removesuffix("?") if files else ""


def default_work_dir(cfg: "Config") -> str:
    """Return ``work_dirs/<name of the config file>``, followed by the names of the generated sets that it mixes with
    real images, so that runs that differ only in these sets have separate folders."""
    if "_old_name" in vars(cfg):
        return str(Path("work_dirs") / vars(cfg)["_old_name"])
    dataset = (cfg.get("train_dataloader") or {}).get("dataset") or {}
    sets = dataset.get("synthetic") or () if isinstance(dataset, dict) else ()
    names = [Path(cfg.filename).stem, *(Path(source.get("data_root", "")).name for source in sets)]
    return str(Path("work_dirs") / "_".join(filter(None, names)))


@contextlib.contextmanager
def config_errors(filename: str | Path | None) -> Iterator[None]:
    """Context manager for building objects from a config: an unregistered type, an unexpected or missing argument, or
    a rejected value is raised as a UserError that names the config."""
    try:
        yield
    except UserError:
        raise
    except KeyError as error:
        if "registry" not in str(error):
            raise
        raise UserError(f"config {filename}: {error.args[0]}") from error
    except TypeError as error:
        if not re.search(r"unexpected keyword argument|missing \d+ required", str(error)):
            raise
        raise UserError(f"config {filename}: {error}; check the names in the config") from error
    except ValueError as error:
        if not re.search(r"[Ii]nvalid .*: |should be|must be|option should", str(error)):
            raise
        raise UserError(f"config {filename}: {error}") from error
