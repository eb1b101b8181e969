"""Where numbers live and what is random about them: one value, passed, never global."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from monosemy.foundation.errors import UserError, nearest

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Compute:
    """Device, precision and seed of a piece of work."""

    device: str = "cpu"
    """Where tensors live: ``cpu``, ``cuda``, ``cuda:1``, ``mps``."""
    dtype: str = "float32"
    """Precision of the model that is read: ``float32``, ``bfloat16`` or ``float16``."""
    seed: int = 0
    """Root of every random draw; see `generator`."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            hint = nearest(self.dtype, DTYPES)
            raise UserError(f"unknown dtype {self.dtype!r}; known: {', '.join(DTYPES)}{hint}")
        try:
            device = torch.device(self.device)
        except RuntimeError:
            raise UserError(
                f"unknown device {self.device!r}; wanted cpu, cuda, cuda:N or mps"
            ) from None
        if device.type == "cuda" and not torch.cuda.is_available():
            raise UserError(f"device {self.device!r} was asked for, but torch sees no CUDA device")

    @property
    def torch_dtype(self) -> torch.dtype:
        """`dtype` as torch's own value."""
        return DTYPES[self.dtype]

    def generator(self, purpose: str) -> torch.Generator:
        """A CPU generator of its own for each named purpose, so that draws never share a stream.

        The state is the first eight bytes of SHA-256 of ``"seed/purpose"``.
        """
        digest = hashlib.sha256(f"{self.seed}/{purpose}".encode()).digest()
        generator = torch.Generator(device="cpu")
        generator.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return generator
