"""Where models run and in which precision, decided once at a worker's start with a reason to log."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from shared.errors import ConfigurationError
from shared.model_registry import ModelSpec
from workers import memory

Precision = Literal["fp32", "bf16", "fp16"]

_BF16_FLAGS = ("amx_bf16", "avx512_bf16")
# Ampere; older GPUs emulate bf16 (CUDA C++ Programming Guide, arithmetic instructions by compute capability).
_BF16_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Hardware:
    """What auto decides by. `cuda`: the compute capability of each visible GPU."""

    cpu_flags: frozenset[str] = frozenset()
    cuda: tuple[tuple[int, int], ...] = ()

    @classmethod
    def detect(cls, cpuinfo: Path = Path("/proc/cpuinfo")) -> "Hardware":
        """This machine's. Where there is no `cpuinfo` (macOS), the CPU counts as one without bf16."""
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return cls(_cpu_flags(cpuinfo), tuple(torch.cuda.get_device_capability(index) for index in range(gpus)))


@dataclass(frozen=True)
class Compute:
    """A decision: `device` as torch names it (`cpu`, `cuda:0`), `precision`, and `reason` for the log."""

    device: str
    precision: Precision
    reason: str

    def for_model(self, spec: ModelSpec) -> Precision:
        """The precision for one model: its own `dtype` in `models.toml` wins over the worker's."""
        return self.precision if spec.dtype == "auto" else spec.dtype


def choose(device: str = "auto", dtype: str = "auto", *, hardware: Hardware | None = None) -> Compute:
    """Settle the settings `DARKROOM_DEVICE` and `DARKROOM_DTYPE`.

    Args:
        device: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.
        dtype: `auto`, `fp32`, `bf16` or `fp16`. Auto takes bf16 only where the hardware computes it: emulated bf16
            was measured eight times slower than fp32. Where it is computed, bf16 is 2 to 4 times as fast, at cosine
            >= .9995 to fp32 for the starter model and .9999 for ViT-B-32.

    Raises:
        ConfigurationError: a setting has another value, or asks for a GPU that is not there.
    """
    hardware = hardware or Hardware.detect()
    place = _device(device, hardware)
    precision, why = _precision(dtype, place, hardware)
    return Compute(place, precision, f"{place} {precision}: {why}")


def prepare_torch(compute: Compute) -> None:
    """Set torch's process-wide switches for `compute`. Call once, before the first model loads.

    On a CPU one thread a process, for a worker has one process a core. `set_float32_matmul_precision` stays at
    "highest": "medium" doubled ViT-B-32's fp32 speed on a core with AMX, but by rounding to bf16 (cosine .99999,
    elements off by .014), and bf16 weights, which auto picks there, are twice as fast again. Whoever asks for fp32
    gets fp32.
    """
    import torch

    torch.set_float32_matmul_precision("highest")
    if compute.device == "cpu":
        torch.set_num_threads(1)


def free_memory() -> None:
    """Give memory that is not used any more back to the system and the device."""
    import torch

    memory.give_back()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory (torch's CPU allocator raises a plain RuntimeError)."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _device(setting: str, hardware: Hardware) -> str:
    count = len(hardware.cuda)
    if setting == "auto":
        return "cuda:0" if count else "cpu"
    if setting == "cpu":
        return "cpu"
    match = re.fullmatch(r"cuda(?::(\d+))?", setting)
    if match is None:
        raise ConfigurationError(f"DARKROOM_DEVICE is {setting!r}. Set it to auto, cpu, cuda or cuda:N.")
    index = int(match[1] or 0)
    if index >= count:
        raise ConfigurationError(
            f"DARKROOM_DEVICE is {setting!r}, but torch sees {count} GPU(s). Set it to auto or cpu, or check the "
            "driver and that the torch build has CUDA."
        )
    return f"cuda:{index}"


def _precision(setting: str, device: str, hardware: Hardware) -> tuple[Precision, str]:
    for precision in get_args(Precision):
        if setting == precision:
            return precision, "as set"
    if setting != "auto":
        raise ConfigurationError(f"DARKROOM_DTYPE is {setting!r}. Set it to auto, fp32, bf16 or fp16.")
    if device == "cpu":
        flag = next((flag for flag in _BF16_FLAGS if flag in hardware.cpu_flags), None)
        if flag is None:
            return "fp32", "the CPU has no bf16 instructions"
        return "bf16", f"the CPU has {flag}"
    capability = hardware.cuda[int(device.removeprefix("cuda:"))]
    shown = ".".join(map(str, capability))
    if capability >= _BF16_CAPABILITY:
        return "bf16", f"the GPU has compute capability {shown}"
    return "fp32", f"the GPU's compute capability {shown} has no bf16"


def _cpu_flags(cpuinfo: Path) -> frozenset[str]:
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(flags.partition(":")[2].split())
