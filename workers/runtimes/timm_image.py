"""timm image models: pooled features as vectors, pictures only."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL.Image import Image

from shared.errors import ErrorCode, PermanentJobError
from shared.model_registry import HUB, ModelSpec
from workers.runtimes import imports, weights
from workers.runtimes.device import Compute
from workers.runtimes.preprocess import Preprocess
from workers.runtimes.protocol import Pixels, Vectors
from workers.runtimes.torch_model import TorchModel

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"


class TimmRuntime:
    """A loaded timm model without its classifier; satisfies `EmbeddingRuntime`."""

    reads_text = False
    logit_scale = 1.0
    logit_bias: float | None = None

    def __init__(self, spec: ModelSpec, compute: Compute) -> None:
        """Load `spec` (seconds; a hub source may download).

        Raises:
            PermanentJobError, RetryableJobError: `model_load_failed`, with the reason and a fix.
        """
        started = time.monotonic()
        with weights.loading(spec):
            module = _load(spec)
            self.dimension = int(module.num_features)
            weights.check_dimension(spec, self.dimension)
            self._preprocess = Preprocess(_inference_steps(module))
            self.precision = compute.for_model(spec)
            self._model = TorchModel(spec, module, compute.device, self.precision)
        self.spec = spec
        self.bytes = self._model.bytes
        self.decode_hint = self._preprocess.decode_hint
        self.load_seconds = time.monotonic() - started

    def preprocess(self, image: Image) -> Pixels:
        return self._preprocess(image)

    def encode_images(self, batch: Pixels) -> Vectors:
        if len(batch) == 0:
            return np.empty((0, self.dimension), dtype=np.float32)
        pre = self._preprocess
        return self._model.unit_rows(lambda: self._model.module(self._model.images(batch, pre.mean, pre.std)))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        raise self._no_text()

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        raise self._no_text()

    def _no_text(self) -> PermanentJobError:
        return PermanentJobError(
            ErrorCode.MODEL_MISMATCH,
            f"Model {self.spec.alias!r} reads pictures only. Choose a model of the open_clip family for texts.",
        )


def _load(spec: ModelSpec) -> Any:
    """The module with its weights in fp32 on the CPU. timm loads whichever file `file` names, so it is ours."""
    timm = imports.timm()
    if spec.folder is not None or spec.source.startswith(HUB):
        config = weights.model_file(spec, _CONFIG)
        weights.read_config(config)
        name, checkpoint = f"local-dir:{config.parent}", weights.model_file(spec, _WEIGHTS)
    else:
        published = timm.get_pretrained_cfg(spec.source) if timm.is_model(spec.source.partition(".")[0]) else None
        if published is None or not published.hf_hub_id:
            raise weights.LoadFailure(f"timm knows no {spec.source!r} with weights on a hub. Correct source.")
        name, checkpoint = spec.source, weights.hub_file(published.hf_hub_id, spec.revision, _WEIGHTS)
    overlay = {"file": str(checkpoint), "source": "file"}
    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0)


def _inference_steps(module: Any) -> list[Any]:
    data = imports.timm().data
    transform = data.create_transform(**data.resolve_model_data_config(module), is_training=False)
    return list(transform.transforms)
