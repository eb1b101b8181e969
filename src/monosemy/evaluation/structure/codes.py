"""A dictionary's codes and directions as the probes need them."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.tensors.axes import Activations, Float, Tensor
from monosemy.tensors.codes import SparseCode

# Tokens encoded at once: the pre-activations of one batch are the largest thing in memory.
_BATCH = 2048
# Latents whose rows are asked for at once.
_ROWS = 4096


def misfits(name: str, dictionary: Dictionary) -> list[str]:
    """Why absorption means nothing for `dictionary`."""
    if isinstance(dictionary, Crosscoder):
        return [
            f"{name}: a crosscoder writes several places at once, and a probe lies in one of them; "
            "measure an autoencoder of that place"
        ]
    if not dictionary.autoencodes:
        return [
            f"{name}: it writes another place than it reads, so its directions do not lie where the "
            "probe does; measure an autoencoder of the site"
        ]
    if dictionary.needs_input:
        return [
            f"{name}: it scales each token by the token's own size, so one unit of a latent has no "
            "one projection; measure the dictionary inside on normalised activations"
        ]
    return []


@torch.no_grad()
def sparse_code(dictionary: Dictionary, x: Activations) -> scipy.sparse.csr_array:
    """The code of all tokens, encoded batch by batch; never dense."""
    parts = []
    for start in range(0, len(x), _BATCH):
        code = dictionary.code(x[start : start + _BATCH].to(dictionary.b_dec)).to("cpu")
        entries = (code.values.float().numpy(), code.indices.numpy(), code.offsets.numpy())
        parts.append(scipy.sparse.csr_array(entries, shape=(code.tokens, code.latents)))
    whole = scipy.sparse.csr_array(scipy.sparse.vstack(parts, format="csr"))
    whole.sum_duplicates()
    return whole


@torch.no_grad()
def origin(dictionary: Dictionary) -> Float[Tensor, "width"]:
    """What is decoded when no latent is active."""
    where = dictionary.b_dec
    none = torch.zeros(0, dtype=torch.int64, device=where.device)
    bounds = torch.zeros(2, dtype=torch.int64, device=where.device)
    return dictionary.decode(SparseCode(bounds, none, none.to(where), dictionary.latents))[0]


@torch.no_grad()
def lengths(dictionary: Dictionary) -> Float[Tensor, "latent"]:
    """How long a step one unit of each latent is: ``|decode(one) - decode(none)|``."""
    count, where = dictionary.latents, dictionary.b_dec
    found = []
    for start in range(0, count, _ROWS):
        chosen = torch.arange(start, min(start + _ROWS, count), device=where.device)
        bounds = torch.arange(len(chosen) + 1, device=where.device)
        ones = SparseCode(bounds, chosen, torch.ones_like(chosen, dtype=where.dtype), count)
        found.append((dictionary.decode(ones) - origin(dictionary)).norm(dim=1))
    return torch.cat(found).float().cpu()


def directions(dictionary: Dictionary) -> np.ndarray:
    """``[latent, width]``, each of length one."""
    return dictionary.directions().float().cpu().numpy()
