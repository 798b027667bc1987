"""Makes torchvision importable beside a CPU-only torch.

The torchvision wheel of the package index carries a compiled extension built against the CUDA torch. Beside
``torch==2.13.0+cpu`` it does not load, and ``import torchvision`` (which open_clip, timm and diffusers all do) then
fails with ``operator torchvision::nms does not exist``: the package registers shape functions for operators that
nobody declared. Declaring their schemas is enough, for nothing here calls them.
"""

import importlib.util
from pathlib import Path
from typing import Any

# The two operators that torchvision 0.28 registers a fake for, with the schemas of its C++ sources
# (torchvision/csrc/ops/nms.cpp and quantized/cpu/qnms_kernel.cpp).
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# A torch.library.Library takes its definitions with it when it is collected, so it must be held.
_held: list[Any] = []


def install() -> None:
    """Declare torchvision's missing operators; call it before whatever imports torchvision.

    Does nothing when torchvision is absent, its extension loads, or the operators exist already.
    """
    import torch

    if _held or _extension_loads():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        if not hasattr(torch.ops.torchvision, schema.split("(")[0]):
            library.define(schema)  # type: ignore[no-untyped-call]
    _held.append(library)


def _extension_loads() -> bool:
    """Whether torchvision is absent or its compiled operators load, the way torchvision itself loads them."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    for extension in Path(spec.origin).parent.glob("_C.*"):
        try:
            torch.ops.load_library(str(extension))  # type: ignore[no-untyped-call]
        except (ImportError, OSError):
            continue
        return True
    return False
