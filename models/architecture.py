"""The starter CLIP's architecture as an open_clip config, and the folder that open_clip loads it from."""

import json
import stat
from pathlib import Path
from typing import Any

from open_clip.model import CLIP
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from models.augment import MEAN, STD
from models.pictures import SIZE
from models.sources import MODELS

STARTER_CLIP = MODELS / "starter-clip"
CONTEXT = 32  # tokens, both ends included: names need 13 at most, templates and a user's own words the rest
WEIGHTS = "open_clip_model.safetensors"


def model_config(vocabulary: int) -> dict[str, Any]:
    """open_clip's ``model_cfg``: a small ModifiedResNet beside a small causal transformer, 5 M parameters."""
    return {
        "embed_dim": 256,
        "vision_cfg": {"image_size": SIZE, "layers": [1, 1, 1, 1], "width": 20, "head_width": 64},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": vocabulary,
            # Any name makes open_clip read the tokenizer from the model's own folder.
            "hf_tokenizer_name": "starter-clip",
            "tokenizer_kwargs": {"clean": "lower"},
            "width": 192,
            "heads": 3,
            "layers": 3,
        },
    }


def build_model(vocabulary: int) -> CLIP:
    """The untrained model in float32."""
    return CLIP(**model_config(vocabulary))


def export(model: CLIP, tokenizer: CLIPTokenizer, folder: Path = STARTER_CLIP) -> None:
    """Write half-precision weights, config and tokenizer so that ``local-dir:<folder>`` loads them offline."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous().clone() for name, value in model.state_dict().items()}
    weights = folder / WEIGHTS
    save_file(state, weights, metadata={"format": "pt"})
    # safetensors writes for the owner only, and an image is built by one user and run by another.
    weights.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IRGRP | stat.S_IROTH)
    config = {"model_cfg": model_config(len(tokenizer)), "preprocess_cfg": _preprocess_config()}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(folder)


def _preprocess_config() -> dict[str, Any]:
    return {
        "size": SIZE,
        "mode": "RGB",
        "mean": list(MEAN),
        "std": list(STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }
