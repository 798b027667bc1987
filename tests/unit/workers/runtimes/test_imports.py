"""A worker that serves the starter model carries no library it does not need, and gets one when it does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.workers.runtimes.references import ROOT, TOWER

_SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from safetensors.torch import save_file
from shared.model_registry import ModelRegistry
from workers.runtimes import imports
from workers.runtimes.device import Compute
from workers.runtimes.load import load_embedding

OPTIONAL = ("timm", "transformers", "torch._dynamo")
folder = Path(sys.argv[1])
config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
config.pop("custom_text")
compute = Compute("cpu", "fp32", "test")
starter = ModelRegistry.load(Path("models.toml")).get("starter-clip")
runtime = load_embedding(starter, compute)
runtime.encode_images(np.zeros((2, 3, 64, 64), np.uint8))
runtime.encode_texts(["a cat"])
lean = [name for name in OPTIONAL if name in sys.modules]

module = imports.open_clip(config).model.CustomTextCLIP(**config)
save_file(module.state_dict(), folder / "open_clip_model.safetensors")
spec = starter.model_copy(update={"source": f"local-dir:{folder}", "dimension": 32})
shape = load_embedding(spec, compute).encode_images(np.zeros((2, 3, 64, 64), np.uint8)).shape
import torch._dynamo
import transformers
print(json.dumps({"lean": lean, "shape": shape, "real": [hasattr(torch._dynamo, "disable"), "timm" in sys.modules]}))
"""


@pytest.mark.slow
def test_optional_libraries_come_with_the_models_that_need_them(tmp_path: Path) -> None:
    config = {
        "embed_dim": 32,
        "vision_cfg": {"timm_model_name": "resnet18", "image_size": 64},
        "text_cfg": {**TOWER, "context_length": 32},
    }
    settings = {"model_cfg": {**config, "custom_text": True}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == {"lean": [], "shape": [2, 32], "real": [True, True]}
