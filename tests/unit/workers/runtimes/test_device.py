"""Device and precision follow settings and hardware, and say why."""

from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from tests.fakes.models import fake_spec
from workers.runtimes.device import Hardware, choose, is_out_of_memory

_PLAIN = Hardware(frozenset({"avx2", "avx512f"}))
_BF16 = Hardware(frozenset({"avx2", "avx512_bf16"}))
_AMX = Hardware(frozenset({"amx_bf16", "avx512_bf16"}))
_TURING = Hardware(frozenset({"avx512_bf16"}), cuda=((7, 5),))
_HOPPER = Hardware(frozenset(), cuda=((9, 0), (7, 5)))


@pytest.mark.parametrize(
    ("device", "dtype", "hardware", "expected", "reason"),
    [
        ("auto", "auto", _PLAIN, ("cpu", "fp32"), "no bf16 instructions"),
        ("auto", "auto", _BF16, ("cpu", "bf16"), "avx512_bf16"),
        ("cpu", "auto", _AMX, ("cpu", "bf16"), "amx_bf16"),
        ("auto", "auto", _TURING, ("cuda:0", "fp32"), "7.5"),
        ("auto", "auto", _HOPPER, ("cuda:0", "bf16"), "9.0"),
        ("cuda:1", "auto", _HOPPER, ("cuda:1", "fp32"), "7.5"),
        ("cuda", "fp16", _HOPPER, ("cuda:0", "fp16"), "as set"),
        ("cpu", "auto", _HOPPER, ("cpu", "fp32"), "no bf16 instructions"),
        ("cpu", "bf16", _PLAIN, ("cpu", "bf16"), "as set"),
    ],
)
def test_choice(device: str, dtype: str, hardware: Hardware, expected: tuple[str, str], reason: str) -> None:
    compute = choose(device, dtype, hardware=hardware)
    assert (compute.device, compute.precision) == expected
    assert reason in compute.reason


@pytest.mark.parametrize(
    ("device", "dtype", "variable"),
    [
        ("gpu", "auto", "DARKROOM_DEVICE"),
        ("cuda", "auto", "DARKROOM_DEVICE"),
        ("cuda:x", "auto", "DARKROOM_DEVICE"),
        ("cpu", "int8", "DARKROOM_DTYPE"),
    ],
)
def test_wrong_settings_name_the_variable(device: str, dtype: str, variable: str) -> None:
    with pytest.raises(ConfigurationError, match=variable):
        choose(device, dtype, hardware=_PLAIN)


def test_a_models_own_dtype_wins() -> None:
    compute = choose("cpu", "auto", hardware=_BF16)
    assert compute.for_model(fake_spec()) == "bf16"
    assert compute.for_model(fake_spec().model_copy(update={"dtype": "fp32"})) == "fp32"


def test_flags_are_read_from_cpuinfo(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\n")
    assert Hardware.detect(cpuinfo).cpu_flags == {"fpu", "avx2", "avx512_bf16"}
    assert Hardware.detect(tmp_path / "none").cpu_flags == frozenset()


def test_out_of_memory_is_told_from_other_errors() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("can't allocate memory"))
