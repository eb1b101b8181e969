"""The CUDA backend: kernels written in Triton for this project. Importing it needs `triton`.

Only `keep_above` and `keep_batch` make the host wait, for the number of entries; a CUDA graph can
hold all the rest, and with it a TopK step. Everything is fp32; the product that proposes entries
runs on the tensor cores, in TF32 or bf16. An entry whose stored value is 0 counts as none.
"""

from monosemy.tensors.portable import nested_residual, suffix_sums, weighted_sum
from monosemy.tensors.triton.above import keep_above, keep_batch
from monosemy.tensors.triton.entries import dots, product, residual, sum_by_latent
from monosemy.tensors.triton.largest import keep_largest
from monosemy.tensors.triton.rows import add_rows, squared_norm, update_rows

__all__ = [
    "add_rows",
    "dots",
    "keep_above",
    "keep_batch",
    "keep_largest",
    "nested_residual",
    "product",
    "residual",
    "squared_norm",
    "suffix_sums",
    "sum_by_latent",
    "update_rows",
    "weighted_sum",
]
