"""What this installation has, what it uses and why, and how fast it is."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.loading import SPECIMEN, load
from monosemy.recipes.advice import advise
from monosemy.recipes.speeds import measure
from monosemy.tensors import routes, workers

PACKAGES = ("monosemy", "torch", "numba", "triton", "transformers", "tokenizers", "numpy")
OPTIONAL = {
    "datasets": ("reads folders that datasets wrote", "pip install 'monosemy[datasets]'"),
    "triton": ("kernels on NVIDIA GPUs", "pip install triton (torch for CUDA brings its own)"),
}
# What the encoder's products profit from; other flags say nothing about this work.
_FLAGS = ("amx_bf16", "amx_tile", "avx512_bf16", "avx512_f", "avx2", "bf16", "sve2", "neon")
_PLACES = ("cpu", "cuda", "mps")
_TYPES = (torch.float32, torch.bfloat16)


def examine(progress: Progress = SILENT) -> dict[str, Any]:
    """Everything that `monosemy doctor` prints, as JSON values; measuring takes some two seconds.

    ``advice`` is what `advice.advise` makes of the rest.
    """
    here = devices()
    found = {
        "versions": {"python": platform.python_version(), **{n: _version(n) for n in PACKAGES}},
        "processor": _processor(),
        "threads": _threads(),
        "devices": here,
        "kernels": kernels(),
        "optional": _optional(),
        "cache": cache(),
        "specimen": _specimen(),
        "speeds": {name: measure(name, progress) for name in here},
    }
    return {**found, "advice": advise(found)}


def devices() -> dict[str, str]:
    """Device to what it is called, for every kind of device that torch can use here."""
    found = {"cpu": _processor_name()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_device_name()
    if torch.backends.mps.is_available():
        found["mps"] = "Apple's GPU"
    return found


def kernels() -> list[dict[str, Any]]:
    """Which kernels serve each kind of device and precision, and why, whether it is here or not."""
    return [
        {
            "device": device,
            "dtype": str(dtype).removeprefix("torch."),
            "kernels": routes.name_for(device, dtype),
            "reason": routes.reason_for(device, dtype),
            "proposals": _proposals_pay(device, dtype),
        }
        for device in _PLACES
        for dtype in _TYPES
    ]


def cache() -> dict[str, Any]:
    """Where numba keeps what it compiled; no folder where it finds none, or is not installed."""
    folder = _cache_folder()
    writable = folder is not None and os.access(_existing(folder), os.W_OK)
    return {"folder": None if folder is None else str(folder), "writable": writable}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> dict[str, Any]:
    flags = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return {
        "name": _processor_name(),
        "machine": platform.machine(),
        "flags": [name for name in _FLAGS if flags.get(name)],
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "onednn": torch.backends.mkldnn.is_available(),
        "mkl": torch.backends.mkl.is_available(),
    }


def _processor_name() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(errors="replace").splitlines() if described.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _threads() -> dict[str, int]:
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "torch": torch.get_num_threads(),
        "workers": len(workers.share_out(1 << 20, workers.LEAST_SHARE)),
        "cores": len(affinity(0)) if affinity else os.cpu_count() or 1,
    }


def _proposals_pay(device: str, dtype: torch.dtype) -> bool:
    # The plain kernels multiply in full precision whatever they are told.
    ours = routes.name_for(device, dtype) != "portable"
    return ours and routes.multiplies_bfloat16(device)


def _optional() -> dict[str, dict[str, Any]]:
    return {
        name: {"installed": find_spec(name) is not None, "for": what, "install": how}
        for name, (what, how) in OPTIONAL.items()
    }


def _cache_folder() -> Path | None:
    if not find_spec("numba"):
        return None
    try:
        from monosemy.tensors.order import by_latent
    except RuntimeError:  # numba found no folder that it may write to
        return None
    folder = by_latent.stats.cache_path
    return Path(folder) if folder else None


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest of its parents that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _specimen() -> dict[str, Any]:
    try:
        load(SPECIMEN)
    except UserError as error:
        return {"found": False, "problem": str(error)}
    return {"found": True, "problem": None}
