"""The kernels on a processor: compiled on first use by numba, shared out over `workers`.

Chosen over a C++ extension because a plain installation needs no compiler, and over numba's own
parallel loops because those wake a second pool of threads, which then spins against torch's.
"""

from monosemy.tensors.compiled.adam import update_rows as update_rows
from monosemy.tensors.compiled.select import keep_above as keep_above
from monosemy.tensors.compiled.select import keep_batch as keep_batch
from monosemy.tensors.compiled.select import keep_largest as keep_largest
from monosemy.tensors.compiled.sums import add_rows as add_rows
from monosemy.tensors.compiled.sums import dots as dots
from monosemy.tensors.compiled.sums import nested_residual as nested_residual
from monosemy.tensors.compiled.sums import product as product
from monosemy.tensors.compiled.sums import residual as residual
from monosemy.tensors.compiled.sums import squared_norm as squared_norm
from monosemy.tensors.compiled.sums import suffix_sums as suffix_sums
from monosemy.tensors.compiled.sums import sum_by_latent as sum_by_latent
from monosemy.tensors.compiled.sums import weighted_sum as weighted_sum
