"""Records what llamascopium makes of its own files.

With llamascopium 2.0.0b34:

python tests/reference/llamascopium/record.py
"""

from pathlib import Path

import torch
from llamascopium.models.clt import CLTConfig, CrossLayerTranscoder
from llamascopium.models.crosscoder import Crosscoder, CrosscoderConfig
from llamascopium.models.sae import SAEConfig, SparseAutoEncoder
from llamascopium.models.sparse_dictionary import SparseDictionary
from safetensors.torch import save_file

HERE = Path(__file__).parent
D, M, LAYERS = 6, 12, 3
draw = torch.Generator().manual_seed(8)
IN, OUT = "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"


@torch.no_grad()
def make(name, kind, config, norms=None, pickled=False):
    config = config(d_model=D, expansion_factor=M / D, dtype=torch.float32, **SAME, **name[1])
    module = kind(config)
    for called, parameter in module.named_parameters():
        parameter.normal_(generator=draw)
        if called.endswith("log_jumprelu_threshold"):
            parameter.mul_(0.5)
    if norms is not None:
        module.set_dataset_average_activation_norm(norms)
    folder = HERE / name[0]
    folder.mkdir(exist_ok=True)
    module.save_pretrained(folder)
    config.save_hyperparameters(folder)
    if pickled:
        (folder / "sae_weights.safetensors").unlink()
        module.save_checkpoint(folder / "sae_weights.pt")
    record(name[0], folder)


SAME = {"device": "cpu"}


@torch.no_grad()
def record(name, folder):
    """In the activations' own units, as its trainer and its analysis do."""
    sae = SparseDictionary.from_pretrained(str(folder), device="cpu", dtype=torch.float32)
    sites = dict.fromkeys(sae.cfg.associated_hook_points)
    batch = {site: torch.randn(20, D, generator=draw) * 2 for site in sites}
    normalised, scales = sae.normalize_activations(batch, return_scale_factor=True)
    x, encoding, decoding = sae.prepare_input(normalised)
    code = sae.encode(x, **encoding)
    written = sae.decode(code, **decoding)
    ins, outs = sae.cfg.hooks_in, sae.cfg.hooks_out
    if sae.cfg.sae_type == "sae":
        written = {outs[0]: written}
    elif sae.cfg.sae_type == "crosscoder":
        written = dict(zip(outs, written.unbind(-2), strict=True))
    else:
        written = dict(zip(outs, written.unbind(0), strict=True))
    own = sae.denormalize_activations(written, {site: scales[site] for site in outs})
    kept = {
        "x": torch.cat([batch[site] for site in ins], 1),
        "code": code.flatten(1),
        "reconstruction": torch.cat([own[site] for site in outs], 1),
    }
    save_file({k: v.contiguous() for k, v in kept.items()}, HERE / f"{name}.safetensors")


def sae(name, norms=None, pickled=False, out=IN, **config):
    given = {"hook_point_in": IN, "hook_point_out": out, **config}
    make((name, given), SparseAutoEncoder, SAEConfig, norms, pickled)


sae("relu", {IN: 3.0})
sae("jumprelu-lengths", {IN: 3.0}, act_fn="jumprelu")
sae("jumprelu", {IN: 3.0}, act_fn="jumprelu", sparsity_include_decoder_norm=False)
sae("topk-lengths", {IN: 3.0}, norm_activation="inference", act_fn="topk", top_k=4)
sae("topk-token-wise", {IN: 3.0}, norm_activation="token-wise", act_fn="topk", top_k=4,
    sparsity_include_decoder_norm=False)  # fmt: skip
sae("transcoder", {IN: 3.0, OUT: 1.25}, out=OUT, act_fn="jumprelu")
sae("no-offset", {IN: 3.0}, pickled=True, use_decoder_bias=False)

points = [f"blocks.{layer}.hook_resid_post" for layer in range(LAYERS)]
norms = {point: 1.5 + layer for layer, point in enumerate(points)}
for kind in ("relu", "jumprelu"):
    given = {"hook_points": points, "act_fn": kind}
    make((f"crosscoder-{kind}", given), Crosscoder, CrosscoderConfig, norms)

ins = [f"blocks.{layer}.ln2.hook_normalized" for layer in range(LAYERS)]
outs = [f"blocks.{layer}.hook_mlp_out" for layer in range(LAYERS)]
norms = {point: 1.5 + 0.5 * number for number, point in enumerate(ins + outs)}
for kind, lengths in (("relu", True), ("jumprelu", True), ("topk", False)):
    given = {"hook_points_in": ins, "hook_points_out": outs, "act_fn": kind, "top_k": 4,
             "sparsity_include_decoder_norm": lengths}  # fmt: skip
    make((f"clt-{kind}", given), CrossLayerTranscoder, CLTConfig, norms)
