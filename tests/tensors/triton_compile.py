"""Compiles what every kernel launches, for a GPU that need not be here: `COMPUTE_CAPABILITY`.

Run by `test_triton_kernels.py` in a process of its own, since it replaces Triton's driver. Nothing
is launched: the numbers that come out of the functions called here mean nothing.
"""

import re
import subprocess
import sys
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction

from monosemy.tensors import triton_kernels
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.rows import AdamSettings, RowGradient
from monosemy.tensors.triton import above, tiles

CAPABILITY = int(sys.argv[1])
# What one program may hold on an A100 and on an H100 or H200.
SHARED = {80: 166_912, 90: 232_448}[CAPABILITY]
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"


class Absent:
    """As much of a driver as compiling asks for."""

    def get_current_target(self):
        return GPUTarget("cuda", CAPABILITY, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, _):
        return 0


compiled = {}
launch = JITFunction.run


def compile_only(self, *arguments, grid, warmup, **settings):
    kernel = launch(self, *arguments, grid=grid, warmup=True, **settings)
    compiled[kernel.hash] = kernel


def exercise(tokens, width, latents, k):
    x, W, b = torch.zeros(tokens, width), torch.zeros(latents, width), torch.zeros(latents)
    for propose in (False, True):
        triton_kernels.keep_largest(x, W, b, k, propose)
        triton_kernels.keep_above(x, W, b, b, propose)
    bits, bounds = torch.zeros(tokens, 512, dtype=torch.int32), torch.zeros(tokens + 1).long()
    # `keep_above` lists nothing here, since nothing was marked.
    above._list[(tokens,)](bits, bounds, bounds, 512, WORDS=256)
    offsets, indices = torch.arange(tokens + 1) * k, torch.zeros(tokens * k, dtype=torch.int64)
    code = SparseCode(offsets, indices, torch.ones(tokens * k), latents)
    triton_kernels.product(code, W)
    triton_kernels.residual(code, W, x, x[0])
    triton_kernels.dots(code, x, W)
    triton_kernels.sum_by_latent(code)
    settings = AdamSettings(0.1, (0.9, 0.999), 1e-8, 0.0, 1)
    for unit in (False, True):
        gradient = RowGradient.of(W, unit)
        triton_kernels.add_rows(code, x, gradient)
        triton_kernels.squared_norm(gradient)
        triton_kernels.update_rows(W, gradient, torch.zeros_like(W), torch.zeros_like(W), settings)


def resources(kernel):
    path = Path(triton.knobs.cache.dir) / "kernel.cubin"
    path.write_bytes(kernel.asm["cubin"])
    done = subprocess.run([CUOBJDUMP, "-res-usage", path], capture_output=True, text=True)
    return {name: int(size) for name, size in re.findall(r"(REG|STACK):(\d+)", done.stdout)}


triton.runtime.driver.set_active(Absent())
JITFunction.run = compile_only
tiles._shared_memory = lambda _: SHARED
exercise(200, 768, 16384, 32)
exercise(40, 4100, 1024, 100)
exercise(1, 1, 1, 1)
names = {kernel.name for kernel in compiled.values()}
wanted = {"_propose", "_merge", "_decide", "_mark", "_product", "_dots", "_sum", "_add_rows"}
wanted |= {"_squares", "_update", "_list"}
bad = [f"{name} was not compiled" for name in wanted - names]
for kernel in compiled.values():
    used = resources(kernel)
    # A word or two a thread are no harm; a tile that does not fit takes hundreds of bytes.
    if used["STACK"] > 32 or kernel.metadata.shared > SHARED:
        bad.append(f"{kernel.name}: {used}, {kernel.metadata.shared} bytes shared")
sys.exit("\n".join(bad) or 0)
