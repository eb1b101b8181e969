"""Which kernels run where: one interface, chosen by device and by what is installed."""

from __future__ import annotations

import importlib
from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch

_COMPILED_TYPES = (torch.float32, torch.float64)
_CUDA = torch.version.hip is None  # not AMD's ROCm, which calls its devices cuda too


def kernels_for(tensor: torch.Tensor) -> ModuleType:
    """The module whose kernels serve `tensor`: `compiled`, `triton_kernels` or `portable`."""
    return importlib.import_module(f"monosemy.tensors.{name_for(tensor.device.type, tensor.dtype)}")


@cache
def name_for(device: str, dtype: torch.dtype) -> str:
    """See `kernels_for`; `reason_for` says why."""
    if device == "cpu" and dtype in _COMPILED_TYPES and find_spec("numba"):
        return "compiled"
    if device == "cuda" and dtype == torch.float32 and _CUDA and find_spec("triton"):
        return "triton_kernels"
    return "portable"


def reason_for(device: str, dtype: torch.dtype) -> str:
    """Why these kernels serve this device and type, in a sentence."""
    name = name_for(device, dtype)
    if name == "compiled":
        return "numba compiles them for this processor"
    if name == "triton_kernels":
        return "Triton compiles them for this GPU"
    kind = str(dtype).removeprefix("torch.")
    if device == "cpu" and dtype not in _COMPILED_TYPES:
        return f"the compiled kernels take float32 and float64, not {kind}"
    if device == "cuda" and _CUDA and dtype != torch.float32:
        return f"the kernels for GPUs take float32, not {kind}"
    missing = {"cpu": "numba", "cuda": "triton"}.get(device)
    if missing and not find_spec(missing):
        return f"{missing} is not installed (pip install {missing})"
    return f"plain torch serves every device; none of ours is written for {device}"


@cache
def multiplies_bfloat16(device: str) -> bool:
    """Whether bfloat16 products are faster than float32 ones on this device."""
    if device == "cuda":
        # Not where they are emulated, which the plain question counts as support.
        here = torch.cuda.is_available()
        return here and torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False  # on a processor they are oneDNN's
    if not hasattr(torch.cpu, "get_capabilities"):  # older versions of torch
        older = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(getattr(torch.cpu, name, bool)() for name in older)
    flags = torch.cpu.get_capabilities()  # the last is ARM's name
    return any(bool(flags.get(name)) for name in ("amx_bf16", "avx512_bf16", "bf16"))
