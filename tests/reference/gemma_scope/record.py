"""Records what SAELens and circuit-tracer make of Gemma Scope's files.

With sae-lens 6.54.12 and circuit-tracer 0.5.0, after `write.py`:

python tests/reference/gemma_scope/record.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from circuit_tracer.transcoder.cross_layer_transcoder import load_gemma_scope_2_clt
from sae_lens import SAE
from sae_lens.loading import pretrained_sae_loaders as loaders
from safetensors import safe_open
from safetensors.torch import save_file

HERE = Path(__file__).parent
D, M, LAYERS = 6, 12, 3
draw = np.random.default_rng(5)


def download(repo_id, filename, subfolder=None, **ignored):
    at = HERE / repo_id / (subfolder or "") / filename
    if not at.exists():
        raise loaders.EntryNotFoundError(f"no {at}", response=None)
    return str(at)


def shapes(repo_id, filename):
    with safe_open(HERE / repo_id / filename, framework="pt") as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118


class NotFound(Exception):
    def __init__(self, *given, **ignored):
        super().__init__(*given)


loaders.hf_hub_download = download
loaders.get_safetensors_tensor_shapes = shapes
loaders.EntryNotFoundError = NotFound


def arrays(d_out=D, small=False):
    found = {
        "W_enc": draw.normal(size=(D, M)), "W_dec": draw.normal(size=(M, d_out)),
        "b_enc": draw.normal(size=M), "b_dec": draw.normal(size=d_out),
        "threshold": draw.uniform(-0.3, 2, size=M),
    }  # fmt: skip
    return {
        name.lower() if small else name: array.astype(np.float32) for name, array in found.items()
    }


def sae_from(loader, repository, folder, **overrides):
    """As `SAE.from_pretrained` does from here on."""
    config, state, _ = loader(repository, folder, cfg_overrides=overrides)
    config = loaders.handle_config_defaulting(config)
    kind = SAE.get_sae_config_class_for_architecture(config["architecture"])
    sae_config = kind.from_dict(config)
    sae = SAE.get_sae_class_for_architecture(sae_config.architecture())(sae_config)
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict(state)
    # Heads lie side by side here already.
    sae.turn_off_forward_pass_hook_z_reshaping()
    return sae.to(torch.float32)


def record(name, sae):
    x = torch.from_numpy(draw.normal(size=(20, D)).astype(np.float32)) * 2
    with torch.no_grad():
        kept = {"x": x, "code": sae.encode(x), "reconstruction": sae(x)}
    save_file(
        {key: value.contiguous() for key, value in kept.items()}, HERE / f"{name}.safetensors"
    )


def first(name, repository, folder, loader=loaders.gemma_2_sae_huggingface_loader, **options):
    at = HERE / repository / folder
    if options.pop("make", True):
        at.mkdir(parents=True, exist_ok=True)
        np.savez(at / "params.npz", **arrays(small=options.pop("small", False)))
    sizes = {"d_in": D, "d_sae": M}
    if loader is loaders.gemma_2_transcoder_huggingface_loader:
        sizes["d_out"] = D
    record(name, sae_from(loader, repository, folder, **sizes))


def second(name, repository, folder, config=None, skip=False, d_out=D):
    at = HERE / repository / folder
    at.mkdir(parents=True, exist_ok=True)
    tensors = {k: torch.from_numpy(v) for k, v in arrays(d_out, small=True).items()}
    if skip:
        tensors["affine_skip_connection"] = torch.from_numpy(
            draw.normal(size=(D, d_out)).astype(np.float32)
        )
    save_file(tensors, at / "params.safetensors")
    if config is not None:
        (at / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    record(name, sae_from(loaders.gemma_3_sae_huggingface_loader, repository, folder))


def across_layers(name, folder):
    (HERE / folder).mkdir(parents=True, exist_ok=True)
    paths = {}
    for layer in range(LAYERS):
        tensors = {k: torch.from_numpy(v) for k, v in arrays(small=True).items()}
        tensors["w_dec"] = torch.from_numpy(draw.normal(size=(M, LAYERS, D)).astype(np.float32))
        # The function takes a negative threshold for one; Gemma Scope's own code does not.
        tensors["threshold"].clamp_(min=0)
        paths[layer] = HERE / folder / f"params_layer_{layer}.safetensors"
        save_file(tensors, paths[layer])
    # It leaves the last layer of the dictionary out.
    clt = load_gemma_scope_2_clt(
        paths | {LAYERS: paths[0]}, device=torch.device("cpu"), dtype=torch.float32
    )
    x = torch.from_numpy(draw.normal(size=(LAYERS, 20, D)).astype(np.float32)) * 2
    with torch.no_grad():
        code = clt.encode(x)
        kept = {"x": x, "code": code, "reconstruction": clt.decode(code)}
    save_file(
        {key: value.transpose(0, 1).flatten(1).contiguous() for key, value in kept.items()},
        HERE / f"{name}.safetensors",
    )


transcoder = loaders.gemma_2_transcoder_huggingface_loader
first("res", "gemma-scope-2b-pt-res", "layer_3/width_16k/average_l0_50")
first("embedding", "gemma-scope-2b-pt-res", "embedding/width_4k/average_l0_6")
first("att", "gemma-scope-9b-it-att", "layer_2/width_16k/average_l0_4", small=True)
first("transcoder", "gemma-scope-2b-pt-transcoders", "layer_1/width_16k/average_l0_9", transcoder)
config = {
    "architecture": "jump_relu",
    "model_name": "google/gemma-3-1b-pt",
    "hf_hook_point_in": "model.layers.5.output",
    "hf_hook_point_out": "model.layers.5.output",
    "width": 16384,
    "l0": 20,
    "affine_connection": False,
    "type": "sae",
}
second("res-2", "gemma-scope-2-1b-pt", "resid_post/layer_5_width_16k_l0_small", config)
config |= {
    "hf_hook_point_in": "model.layers.0.pre_feedforward_layernorm.output",
    "hf_hook_point_out": "model.layers.0.post_feedforward_layernorm.output",
    "affine_connection": True,
}
second(
    "affine-2", "gemma-scope-2-1b-pt", "transcoder_all/layer_0_width_16k_l0_big_affine", config,
    skip=True, d_out=5,
)  # fmt: skip
second("transcoder-2", "gemma-scope-2-1b-pt", "transcoder_all/layer_2_width_16k_l0_big")
across_layers("layers-2", "gemma-scope-2-1b-pt/clt/width_262k_l0_big")
for number, loader in ((7, None), (8, None), (9, transcoder)):
    (at,) = (HERE / "written").glob(f"*/layer_{number}/*/*")
    given = at.relative_to(HERE)
    chosen = loader or loaders.gemma_2_sae_huggingface_loader
    first(f"written-{number}", "/".join(given.parts[:2]), "/".join(given.parts[2:]), chosen,
          make=False)  # fmt: skip
