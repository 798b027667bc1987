"""What every torch embedding runtime shares: batches to the device, unit vectors back, and memory that runs out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from shared.errors import ErrorCode, RetryableJobError
from shared.model_registry import ModelSpec
from workers.runtimes.device import Precision, free_memory, is_out_of_memory
from workers.runtimes.protocol import Pixels, Vectors

_TORCH_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class TorchModel:
    """A module on its device, ready for inference."""

    def __init__(self, spec: ModelSpec, module: Any, device: str, precision: Precision) -> None:
        import torch

        self.spec = spec
        self.device = torch.device(device)
        self.dtype = getattr(torch, _TORCH_NAMES[precision])
        # Convolutions read channels last: on a CPU a ResNet gains 1.4 times in fp32 and twice in bf16, a ViT nothing.
        self.module = module.to(self.device, self.dtype, memory_format=torch.channels_last).eval()
        # Parameters keep requires_grad, though nothing is trained: without it torch multiplies attention's transposed
        # input by a copy of the weights for every row (aten matmul's should_fold), which took 4 times as long.
        tensors = [*self.module.parameters(), *self.module.buffers()]
        self.bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def images(self, batch: Pixels, mean: list[float], std: list[float]) -> Any:
        """`(n, 3, h, w)` uint8 to the module's input: torchvision's ToTensor and Normalize, on the device."""
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(batch)).to(self.device).float().div_(255)
            pixels.sub_(self._channels(mean)).div_(self._channels(std))
            return pixels.to(self.dtype).contiguous(memory_format=torch.channels_last)

    def unit_rows(self, encode: Callable[[], Any]) -> Vectors:
        """Run `encode` and return its `(n, d)` features as float32 rows of unit length.

        Raises:
            RetryableJobError: `out_of_memory`; what torch had cached is given back first.
        """
        import torch

        try:
            with torch.inference_mode():
                features = torch.nn.functional.normalize(encode().float(), dim=-1)
                return np.asarray(features.cpu().numpy(), dtype=np.float32)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        free_memory()
        raise RetryableJobError(
            ErrorCode.OUT_OF_MEMORY,
            f"Model {self.spec.alias!r} ran out of memory on {self.device}. It is tried again; if it stays so, send "
            "fewer pictures at once, or lower DARKROOM_MODEL_MEMORY_BYTES so that fewer models stay loaded.",
        )

    def _channels(self, values: list[float]) -> Any:
        import torch

        return torch.tensor(values, device=self.device).view(1, 3, 1, 1)
