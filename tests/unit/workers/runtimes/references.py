"""Models with random weights on disk, and the libraries' own unmodified pipelines over them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shared.model_registry import ModelSpec
from workers.runtimes import torchvision_shim
from workers.runtimes.protocol import Vectors

ROOT = Path(__file__).parents[4]
CATALOGUE = ROOT / "models" / "catalogue"
TEXTS = (
    "a cat",
    "",
    "red heart ❤️ with   spaces &amp; HTML",
    "a very long sentence about dogs that goes on " * 12,
    "日本語 テキスト",
    "UPPER Case!!! 123 it's",
)
TOWER = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}


def spec_of(folder: Path, family: str, dimension: int, image_size: int) -> ModelSpec:
    return ModelSpec.model_validate(
        {
            "alias": folder.name,
            "family": family,
            "source": f"local-dir:{folder}",
            "dimension": dimension,
            "image_size": image_size,
            "memory_bytes": 1_000_000,
        }
    )


def pictures() -> list[Image.Image]:
    """Real pictures of several shapes and modes, cut and stretched from the demo catalogue."""
    files = sorted(path for path in CATALOGUE.rglob("*") if path.suffix in (".webp", ".png", ".jpg"))[::23][:8]
    assert len(files) == 8
    found = [Image.open(file).convert("RGB") for file in files]
    found[1] = found[1].resize((301, 97))
    found[2] = found[2].resize((90, 411))
    found[3] = found[3].convert("L")
    found[4] = found[4].resize((1024, 768))
    found[5] = found[5].resize((40, 33))
    found[6] = found[6].resize((800, 31))
    return found


def save_open_clip(folder: Path, config: dict[str, Any]) -> ModelSpec:
    """A `local-dir:` of an open_clip model with random weights (seed 0)."""
    torchvision_shim.install()
    import torch
    from open_clip.model import CLIP, CustomTextCLIP
    from safetensors.torch import save_file

    torch.manual_seed(0)
    settings = {key: value for key, value in config.items() if key != "custom_text"}
    module = (CustomTextCLIP if config.get("custom_text") else CLIP)(**settings)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(module.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return spec_of(folder, "open_clip", config["embed_dim"], config["vision_cfg"]["image_size"])


def save_timm(folder: Path, name: str = "resnet18") -> ModelSpec:
    """A `local-dir:` of a timm model with random weights (seed 0)."""
    torchvision_shim.install()
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    module: Any = timm.create_model(name, pretrained=False)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(module.state_dict(), folder / "model.safetensors")
    keys = ("input_size", "mean", "std", "crop_pct", "interpolation", "num_classes", "first_conv", "classifier")
    config = {
        "architecture": name,
        "num_features": module.num_features,
        "pretrained_cfg": {key: module.pretrained_cfg[key] for key in keys},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return spec_of(folder, "timm", module.num_features, 224)


class OpenClip:
    """What open_clip's README does with a model: the reference that a runtime is held against."""

    def __init__(self, source: str) -> None:
        torchvision_shim.install()
        import open_clip

        self.module, _, self.transform = open_clip.create_model_and_transforms(source)
        self.module.eval()
        self.tokenizer = open_clip.get_tokenizer(source)

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        import torch

        with torch.inference_mode():
            batch = torch.stack([self.transform(image) for image in images])
            return np.asarray(self.module.encode_image(batch, normalize=True))

    def texts(self, texts: Sequence[str]) -> Vectors:
        import torch

        with torch.inference_mode():
            return np.asarray(self.module.encode_text(self.tokenizer(list(texts)), normalize=True))

    def logits(self, images: Sequence[Image.Image], texts: Sequence[str]) -> Vectors:
        """`(images, texts)`, at the model's own temperature and with its bias."""
        import torch

        with torch.inference_mode():
            batch = torch.stack([self.transform(image) for image in images])
            return np.asarray(self.module.get_logits(batch, self.tokenizer(list(texts)))[0])


def timm_images(spec: ModelSpec, images: Sequence[Image.Image]) -> Vectors:
    """timm's documented feature extraction, with rows brought to unit length."""
    torchvision_shim.install()
    import timm
    import timm.data
    import torch

    data: Any = timm.data
    module = timm.create_model(spec.source, pretrained=True, num_classes=0).eval()
    transform = data.create_transform(**data.resolve_model_data_config(module), is_training=False)
    with torch.inference_mode():
        features = module(torch.stack([transform(image.convert("RGB")) for image in images]))
        return np.asarray(torch.nn.functional.normalize(features, dim=-1))


def worst_cosine(left: Vectors, right: Vectors) -> float:
    """The smallest cosine between rows of the same index."""
    assert left.shape == right.shape
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / norms).min())
