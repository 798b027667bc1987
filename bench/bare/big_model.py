"""A ViT-B-32 with random weights: what a model of the usual size costs, without fetching one.

`python -m bench.bare.big_model FOLDER` writes it, in a process of its own since torch takes hundreds of megabytes.
"""

import json
import logging
import subprocess
import sys
from pathlib import Path

from bench.stack import plain_environment
from local.settings import REPOSITORY

ALIAS = "vit-b-32-random"
_ENTRY = """
[models.{alias}]
family = "open_clip"
source = "local-dir:{folder}"
default_for = ["embed", "index", "search", "tag", "deduplicate"]
dimension = 512
image_size = 224
memory_bytes = 610000000
"""


def write_model(folder: Path) -> Path:
    """Write the model and a `models.toml` that names it, some 300 MB. Returns the latter."""
    command = [sys.executable, "-m", "bench.bare.big_model", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, env=plain_environment(), check=True)
    models_file = folder / "models.toml"
    models_file.write_text(_ENTRY.format(alias=ALIAS, folder=folder))
    return models_file


def _write(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from workers.runtimes import imports

    logging.disable(logging.WARNING)  # that the weights are random is known
    open_clip = imports.open_clip()
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    state = open_clip.create_model("ViT-B-32").state_dict()
    save_file(
        {name: tensor.half().contiguous() for name, tensor in state.items()}, folder / "open_clip_model.safetensors"
    )
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    config = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
