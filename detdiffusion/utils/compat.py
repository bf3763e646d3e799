"""Workarounds for other versions and builds of our dependencies, each with its reason and when it can be removed.

* :func:`after_import` + :func:`_bridge_config_paths`: mmengine resolves ``package::file.py`` in ``_base_``
  only for packages in a fixed list and only with a folder in the path. Remove when mmengine accepts any package and
  plain file names.
* :func:`rewritten_configs`: mmengine evaluates a config file first and merges options afterwards. Remove when it lets
  a caller set a file's variables during evaluation.
* :class:`_OpsFallback`: mmdet imports ``mmcv._ext``, the compiled operators, which the pip package lacks.
  ``detdiffusion.utils.mmcv_ops`` replaces them with torchvision's kernels. Remove when onedl-mmcv ships wheels with
  operators, or mmdet imports them lazily.
* :func:`fit_clip_names`: transformers 5.6 removed the ``text_model`` level from ``CLIPTextModel``, so checkpoints
  written before and after name its tensors differently. Remove when no checkpoint of transformers 4 is in use.
* :func:`fit_tokenizer_arguments`: transformers 5 renamed ``vocab_file`` and ``merges_file`` and silently ignores the
  old names, which leaves a tokenizer of two tokens. Remove when transformers 4 is no longer supported.

This module is imported by ``import detdiffusion``, so it imports only the standard library.
"""

import contextlib
import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType

from .errors import UserError

_CONFIG_MODULE = "mmengine.config.config"
_OPS_MODULE = "mmcv._ext"


class _AfterImport:
    """One-shot import hook: calls ``then(module)`` right after the module ``name`` has been executed."""

    def __init__(self, name: str, then: Callable[[ModuleType], None]) -> None:
        self.name, self.then = name, then

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            self.then(module)

        spec.loader.exec_module = exec_module
        return spec


def after_import(name: str, then: Callable[[ModuleType], None]) -> None:
    """Registers a call of ``then(module)`` for when the module ``name`` is first imported. Idempotent."""
    if not any(
        isinstance(hook, _AfterImport) and (hook.name, hook.then) == (name, then) for hook in sys.meta_path
    ):
        sys.meta_path.insert(0, _AfterImport(name, then))


class _OpsFallback:
    """Last import hook: provides ``mmcv._ext`` only if no other finder found a compiled module."""

    def find_spec(self, name, path=None, target=None):
        if name != _OPS_MODULE:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin="detdiffusion.utils.mmcv_ops")

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        from . import mmcv_ops

        mmcv_ops.fill(module)
        mmcv_ops.warn_once()


def _bridge_config_paths(config_module) -> None:
    """Make ``detdiffusion::file.py`` and ``detdiffusion::folder/file.py`` resolve to configs of this package."""
    utils = sys.modules["mmengine.config.utils"]
    utils.MODULE2PACKAGE.setdefault("detdiffusion", "detdiffusion")
    original = utils._get_package_and_cfg_path

    def _get_package_and_cfg_path(cfg_path: str) -> tuple[str, str]:
        match = re.fullmatch(r"(\w+)::([\w.+-]+)", cfg_path)
        if match and match[1] in utils.MODULE2PACKAGE:
            return utils.MODULE2PACKAGE[match[1]], match[2]
        return original(cfg_path)

    find = config_module.Config._get_cfg_path

    @functools.cache
    def of_package(cfg_path: str) -> tuple:
        return find(cfg_path, "")  # cached: mmengine parses a hundred files for every `mmdet::` name

    config_module.Config._get_cfg_path = staticmethod(
        lambda cfg_path, filename: of_package(cfg_path) if "::" in cfg_path else find(cfg_path, filename)
    )
    for module in (utils, config_module, sys.modules.get("mmengine.hub.hub")):
        if module is not None:
            module._get_package_and_cfg_path = _get_package_and_cfg_path


@contextlib.contextmanager
def rewritten_configs(
    rewrite: Callable[[str, str], str],
    adjust: Callable[[str, dict], None],
    locate: Callable[[str, str], str],
) -> Iterator[None]:
    """Context manager that changes how mmengine reads config files.

    Args:
        rewrite: (file, source) -> the source to evaluate in place of a Python config's source.
        adjust: (file, values) -> None; changes the values of a json or yaml config in place.
        locate: (``_base_`` as written, file that contains it) -> the ``_base_`` to read.
    """
    from mmengine.config import Config

    substitute, find, read = Config._substitute_predefined_vars, Config._get_cfg_path, Config._file2dict

    def substitute_and_rewrite(filename: str, temporary: str) -> None:
        substitute(filename, temporary)
        if filename.endswith(".py"):
            file = Path(temporary)
            file.write_text(rewrite(filename, file.read_text(encoding="utf-8")), encoding="utf-8")

    def read_and_adjust(filename: str, *args, **kwargs) -> tuple:
        values, *rest = read(filename, *args, **kwargs)
        if not filename.endswith(".py"):
            adjust(filename, values)
        return (values, *rest)

    Config._substitute_predefined_vars = staticmethod(substitute_and_rewrite)
    Config._file2dict = staticmethod(read_and_adjust)
    Config._get_cfg_path = staticmethod(lambda base, filename: find(locate(base, filename), filename))
    try:
        yield
    finally:
        Config._substitute_predefined_vars = staticmethod(substitute)
        Config._file2dict = staticmethod(read)
        Config._get_cfg_path = staticmethod(find)


def install_hooks() -> None:
    """Install both import hooks; mmengine is patched now if already imported, else on import. Idempotent."""
    if not any(isinstance(finder, _OpsFallback) for finder in sys.meta_path):
        sys.meta_path.append(_OpsFallback())
    config_module = sys.modules.get(_CONFIG_MODULE)
    if config_module is None:
        after_import(_CONFIG_MODULE, _bridge_config_paths)
    elif "detdiffusion" not in sys.modules["mmengine.config.utils"].MODULE2PACKAGE:
        _bridge_config_paths(config_module)


def setup() -> bool:
    """Make ``mmcv.ops``, and so mmdet, importable. Idempotent; call it before either is imported.

    Returns:
        True if mmcv's compiled operators are in use, False if torchvision's replace them.

    Raises:
        UserError: if mmcv is not installed, or its compiled operators do not load.
    """
    install_hooks()
    if importlib.util.find_spec("mmcv") is None:
        raise UserError(
            "mmcv is not installed: run `pip install onedl-mmcv onedl-mmengine onedl-mmdetection`."
        )
    try:
        module = importlib.import_module(_OPS_MODULE)
    except ImportError as error:
        raise UserError(
            f"mmcv's compiled operators do not load ({error}); they were built for another torch. "
            "Reinstall without them (`pip install --force-reinstall --no-deps onedl-mmcv`) or rebuild them."
        ) from error
    return not isinstance(getattr(module.__spec__, "loader", None), _OpsFallback)


def fit_clip_names(state: dict, own: Collection[str], prefix: str = "") -> None:
    """Rename the tensors of a ``CLIPTextModel`` to match the installed transformers, in place.

    Args:
        state: a state dict, with or without ``text_model.`` in its names.
        own: tensor names of the model that will load it.
        prefix: prefix of the text encoder in both, e.g. ``text_encoder.``.
    """
    inner = f"{prefix}text_model."
    nested = any(name.startswith(inner) for name in own)
    for name in [name for name in state if name.startswith(prefix)]:
        if nested:
            new = name if name.startswith(inner) else inner + name.removeprefix(prefix)
        else:
            new = prefix + name.removeprefix(inner) if name.startswith(inner) else name
        if name.endswith("embeddings.position_ids") and new not in own:
            del state[name]  # a buffer that transformers no longer saves
        elif new != name and new in own:
            state[new] = state.pop(name)


def fit_tokenizer_arguments(cls: type, arguments: dict) -> dict:
    """Rename a tokenizer's vocabulary and merges arguments to what the installed transformers expects.

    Args:
        cls: a tokenizer class, e.g. ``transformers.CLIPTokenizer``.
        arguments: keyword arguments of its constructor, with the paths under ``vocab_file`` and ``merges_file``
            (transformers 4) or ``vocab`` and ``merges`` (transformers 5).

    Returns:
        The same arguments under the names that ``cls`` accepts.
    """
    taken = inspect.signature(cls.__init__).parameters
    renamed = dict(arguments)
    for pair in (("vocab_file", "vocab"), ("merges_file", "merges")):
        for name, other in (pair, pair[::-1]):
            if name in renamed and name not in taken and other in taken:
                renamed[other] = renamed.pop(name)
    return renamed
