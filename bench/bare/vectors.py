"""`python -m bench.bare.vectors ALIAS MODELS_FILE FOLDER`: the vectors of a folder's pictures, by name, as an array.

In a process of its own, since torch takes hundreds of megabytes.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.stack import plain_environment
from local.settings import REPOSITORY

BATCH = 64
_RESULT = "vectors.npy"


def vectors_of(alias: str, models_file: Path, folder: Path) -> NDArray[np.float32]:
    """Unit rows `(n, d)` of the pictures in `folder`, in the order of their names."""
    command = [sys.executable, "-m", "bench.bare.vectors", alias, str(models_file), str(folder)]
    subprocess.run(command, cwd=REPOSITORY, env=plain_environment(), check=True)
    vectors: NDArray[np.float32] = np.load(folder / _RESULT)
    return vectors


def _main(alias: str, models_file: str, folder: str) -> None:
    from shared.images.decode import DecodeLimits, decode
    from shared.model_registry import ModelRegistry
    from workers.runtimes.device import choose, prepare_torch
    from workers.runtimes.load import load_embedding

    compute = choose("cpu")
    prepare_torch(compute)
    model = load_embedding(ModelRegistry.load(Path(models_file)).get(alias), compute)
    paths = sorted(Path(folder).iterdir())
    rows = []
    for start in range(0, len(paths), BATCH):
        pictures = [decode(path.read_bytes(), DecodeLimits()) for path in paths[start : start + BATCH]]
        rows.append(model.encode_images(np.stack([model.preprocess(picture) for picture in pictures])))
    np.save(Path(folder) / _RESULT, np.concatenate(rows))


if __name__ == "__main__":
    _main(*sys.argv[1:])
