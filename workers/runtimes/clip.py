"""open_clip models: pictures and texts in one space."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image

from shared.model_registry import HUB, ModelSpec
from workers.runtimes import imports, weights
from workers.runtimes.device import Compute
from workers.runtimes.preprocess import Preprocess
from workers.runtimes.protocol import Pixels, Vectors
from workers.runtimes.text import FileTokenizer, LibraryTokenizer, TextTower, Tokenizer
from workers.runtimes.torch_model import TorchModel

_CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


class ClipRuntime:
    """A loaded open_clip model; satisfies `EmbeddingRuntime`."""

    reads_text = True

    def __init__(self, spec: ModelSpec, compute: Compute) -> None:
        """Load `spec` (seconds to minutes; a hub source may download).

        Raises:
            PermanentJobError, RetryableJobError: `model_load_failed`, with the reason and a fix.
        """
        started = time.monotonic()
        with weights.loading(spec):
            module, config = _load(spec)
            text = config["text_cfg"]
            context = int(text.get("context_length", 77))
            self.dimension = int(config["embed_dim"])
            weights.check_dimension(spec, self.dimension)
            self._preprocess = Preprocess(_inference_steps(module))
            self.logit_scale = _number(module, "logit_scale", math.exp) or 1.0
            self.logit_bias = _number(module, "logit_bias")
            self._tokenizer = _tokenizer(spec, text, context)
            self.precision = compute.for_model(spec)
            self._model = TorchModel(spec, module, compute.device, self.precision)
            self._text = TextTower(self._model.module)
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
        return self._model.unit_rows(
            lambda: self._model.module.encode_image(self._model.images(batch, pre.mean, pre.std))
        )

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        if len(texts) == 0:
            return np.empty((0, self.dimension), dtype=np.float32)
        ids = self._tokenizer(texts).ids
        return self._model.unit_rows(lambda: self._text(_tensor(ids, self._model.device)))

    def truncated(self, texts: Sequence[str]) -> list[bool]:
        return self._tokenizer(texts).truncated if texts else []


def _load(spec: ModelSpec) -> tuple[Any, dict[str, Any]]:
    """The module with its weights in fp32 on the CPU, and its `model_cfg`."""
    if spec.folder is not None or spec.source.startswith(HUB):
        config = weights.read_config(weights.model_file(spec, _CONFIG))
        if not isinstance(config.get("model_cfg"), dict):
            raise weights.LoadFailure(f"its {_CONFIG} has no model_cfg. Export the folder with open_clip again.")
        checkpoint = weights.model_file(spec, *_WEIGHTS)
        model_cfg = config["model_cfg"]
        return _build(f"local-dir:{checkpoint.parent}", model_cfg, checkpoint, {}), model_cfg
    name, tag = spec.source.split("/")
    return _load_named(name, tag, spec.revision)


def _load_named(name: str, tag: str, revision: str | None) -> tuple[Any, dict[str, Any]]:
    """One of open_clip's own architectures with published weights."""
    open_clip = imports.open_clip()
    config = open_clip.get_model_config(name)
    published = open_clip.get_pretrained_cfg(name, tag)
    if config is None or not published:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise weights.LoadFailure(f"open_clip knows no {name}/{tag} (weights of {name}: {known}). Correct source.")
    if bool(published.get("quick_gelu")) != bool(config.get("quick_gelu")):
        raise weights.LoadFailure(
            f"weights {tag!r} were trained with another activation than {name!r} has. Name the architecture "
            f"{name.removesuffix('-quickgelu') if config.get('quick_gelu') else name + '-quickgelu'!r}."
        )
    repository, _, file = str(published.get("hf_hub", "")).rpartition("/")
    if not repository:
        raise weights.LoadFailure(f"weights {tag!r} are not published as safetensors. Choose others.")
    names = (f"{file.rpartition('.')[0]}.safetensors",) if file else _WEIGHTS
    checkpoint = weights.hub_file(repository, revision, *names)
    preprocess = {key: value for key, value in published.items() if key != "size"}
    return _build(name, config, checkpoint, preprocess), config


def _build(name: str, model_cfg: dict[str, Any], checkpoint: Path, preprocess: dict[str, Any]) -> Any:
    """Build without weights and load them ourselves: open_clip by itself would fall back to pickled ones."""
    open_clip = imports.open_clip(model_cfg)
    log = logging.getLogger()
    log.addFilter(_no_false_alarm)
    try:
        module = open_clip.create_model(
            name, load_weights=False, pretrained_text=False, force_preprocess_cfg=preprocess
        )
    finally:
        log.removeFilter(_no_false_alarm)
    open_clip.load_checkpoint(module, str(checkpoint))
    return module


def _no_false_alarm(record: logging.LogRecord) -> bool:
    """Drops open_clip's warning that a model stays random when its weights are loaded a moment later."""
    return not str(record.msg).startswith("No pretrained weights loaded")


def _inference_steps(module: Any) -> list[Any]:
    transform = imports.open_clip().transform
    settings = transform.PreprocessCfg(**module.visual.preprocess_cfg)
    return list(transform.image_transform_v2(settings, is_train=False).transforms)


def _number(module: Any, name: str, then: Callable[[float], float] = float) -> float | None:
    """A scalar of the weights, read before they are brought to another precision."""
    value = getattr(module, name, None)
    return None if value is None else then(value.item())


def _tokenizer(spec: ModelSpec, text: dict[str, Any], context: int) -> Tokenizer:
    """The model's tokenizer: from its own `tokenizer.json` where that says it all, else as open_clip builds it."""
    open_clip = imports.open_clip()
    plain = not text.get("tokenizer_mode") and not set(text.get("tokenizer_kwargs") or {}) - {"clean"}
    if spec.folder is not None and text.get("hf_tokenizer_name") and plain:
        file, settings = (weights.local_file(spec.folder, name) for name in _TOKENIZER_FILES)
        clean = open_clip.tokenizer.get_clean_fn((text.get("tokenizer_kwargs") or {}).get("clean", "whitespace"))
        return FileTokenizer(file, context, _pad_token(weights.read_config(settings)), clean)
    name = spec.source if spec.folder is not None or spec.source.startswith(HUB) else spec.source.split("/")[0]
    return LibraryTokenizer(open_clip.get_tokenizer(name), context)


def _pad_token(settings: dict[str, Any]) -> str:
    token = settings.get("pad_token", "")
    return str(token.get("content", "") if isinstance(token, dict) else token)


def _tensor(ids: Any, device: Any) -> Any:
    import torch

    return torch.from_numpy(ids).to(device)
