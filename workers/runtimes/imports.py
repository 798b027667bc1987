"""Imports of the model libraries, without the optional ones that a model does not need.

Imported plainly, open_clip brings in transformers and timm, and torchvision brings in torch's compiler, for models and
operators that most processes never use: 105 MB of memory in every worker process and 1.5 s of its start (measured). All
three stay importable; whatever needs them gets them.
"""

import importlib
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from workers.runtimes import torchvision_shim

_lock = threading.RLock()
_COMPILER = "torch._dynamo"
_ADAPTERS = {"timm": "open_clip.timm_model", "transformers": "open_clip.hf_model"}


def torchvision() -> ModuleType:
    """Import torchvision; torch's compiler stays out, for only `roi_align` would ask it a question."""
    with _lock:
        if "torchvision" not in sys.modules:
            torchvision_shim.install()
            with _replaced(_no_compiler()):
                importlib.import_module("torchvision")
        return sys.modules["torchvision"]


def timm() -> Any:
    with _lock:
        torchvision()
        return importlib.import_module("timm")


def open_clip(model_cfg: Mapping[str, Any] | None = None) -> Any:
    """Import open_clip, and the libraries behind the towers that `model_cfg` names.

    open_clip goes without timm and transformers when they are absent, so they are made to look it. When a later model
    needs one, its adapter is run again over the same module, whose functions then see the library.
    """
    with _lock:
        torchvision()
        if "open_clip" not in sys.modules:
            with _replaced({name: None for name in _ADAPTERS if name not in sys.modules}):
                importlib.import_module("open_clip")
        for name in _needed(model_cfg or {}):
            adapter = sys.modules[_ADAPTERS[name]]
            if getattr(adapter, name) is None:
                importlib.reload(adapter)
        return sys.modules["open_clip"]


def _needed(model_cfg: Mapping[str, Any]) -> list[str]:
    towers = (("timm", "vision_cfg", "timm_model_name"), ("transformers", "text_cfg", "hf_model_name"))
    return [name for name, tower, key in towers if model_cfg.get(tower, {}).get(key)]


def _no_compiler() -> dict[str, ModuleType | None]:
    """What `torchvision/ops/roi_align.py` imports of the compiler, unless it is loaded already."""
    if _COMPILER in sys.modules:
        return {}
    package, utils = ModuleType(_COMPILER), ModuleType(f"{_COMPILER}.utils")
    package.__path__ = []
    utils.is_compile_supported = lambda _: False  # type: ignore[attr-defined]
    return {package.__name__: package, utils.__name__: utils}


@contextmanager
def _replaced(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Let `modules` stand in `sys.modules` for a while; None makes an import fail as if nothing were installed."""
    sys.modules.update(modules)  # type: ignore[arg-type]  # None is how the import system marks a module absent
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
