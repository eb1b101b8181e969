"""Records what SAELens and llamascopium make of Llama Scope's files.

SAELens reads decoder rows as if of length one; rows of any length are read by llamascopium, which
is lm-saes today, from the same tensors under its names. With sae-lens 6.54.12 and llamascopium
2.0.0b34:

python tests/reference/llama_scope/record.py
"""

import json
import math
from pathlib import Path

import torch
from llamascopium.models.sae import SAEConfig, SparseAutoEncoder
from sae_lens import SAE
from sae_lens.loading import pretrained_sae_loaders as loaders
from safetensors.torch import save_file

HERE = Path(__file__).parent
D, M = 6, 12
SITE = "blocks.2.hook_resid_post"
draw = torch.Generator().manual_seed(4)
loaders.hf_hub_download = lambda repo_id, filename, subfolder=None, **ignored: str(
    HERE / (subfolder or "") / filename
)


def weights(unit):
    found = {
        "encoder.weight": torch.randn(M, D, generator=draw),
        "encoder.bias": torch.randn(M, generator=draw),
        "decoder.weight": torch.randn(D, M, generator=draw),
        "decoder.bias": torch.randn(D, generator=draw),
    }
    if unit:
        found["decoder.weight"] = torch.nn.functional.normalize(found["decoder.weight"], dim=0)
    return found


def first(name, **settings):
    """With `sparsity_include_decoder_norm`, rows of length one, where both libraries agree."""
    config = {
        "d_model": D, "d_sae": M, "use_decoder_bias": True, "act_fn": "jumprelu", "top_k": 50,
        "apply_decoder_bias_to_pre_encoder": False, "jump_relu_threshold": 0.4,
        "norm_activation": "dataset-wise", "dataset_average_activation_norm": {"in": 3.0, "out": 3.0},
        "sparsity_include_decoder_norm": True, "hook_point_in": SITE, "hook_point_out": SITE,
        "use_glu_encoder": False, **settings,
    }  # fmt: skip
    (HERE / name / "checkpoints").mkdir(parents=True, exist_ok=True)
    save_file(weights(config["sparsity_include_decoder_norm"]),
              HERE / name / "checkpoints/final.safetensors")  # fmt: skip
    (HERE / name / "hyperparams.json").write_text(json.dumps(config, indent=2) + "\n")
    record(name, opened(loaders.llama_scope_sae_huggingface_loader, name))


def second(name, unit):
    config = {
        "sae_type": "sae", "hook_point_in": SITE, "hook_point_out": SITE, "d_model": D,
        "expansion_factor": M // D, "use_decoder_bias": True, "use_glu_encoder": False,
        "act_fn": "jumprelu", "norm_activation": "dataset-wise", "top_k": 50,
        "sparsity_include_decoder_norm": True,
    }  # fmt: skip
    (HERE / name).mkdir(exist_ok=True)
    tensors = weights(unit)
    tensors["log_jumprelu_threshold"] = 0.5 * torch.randn(M, generator=draw)
    tensors[f"dataset_average_activation_norm.{SITE}"] = torch.tensor(3.0)
    save_file(tensors, HERE / name / "sae_weights.safetensors")
    (HERE / name / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if unit:
        record(name, opened(loaders.llama_scope_r1_distill_sae_huggingface_loader, name))
    else:
        record(name, Today(config, tensors))


def opened(loader, name):
    """As `SAE.from_pretrained` does from here on, in float32."""
    config, state, _ = loader("any", name, cfg_overrides={"dtype": "float32"})
    config = loaders.handle_config_defaulting(config)
    config["device"] = "cpu"
    kind = SAE.get_sae_config_class_for_architecture(config["architecture"])
    sae_config = kind.from_dict(config)
    sae = SAE.get_sae_class_for_architecture(sae_config.architecture())(sae_config)
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict(state)
    sae.fold_activation_norm_scaling_factor(math.sqrt(D) / 3.0)
    return sae


class Today:
    """The dictionary in llamascopium."""

    def __init__(self, config, tensors):
        self.sae = SparseAutoEncoder(SAEConfig(**config, device="cpu", dtype=torch.float32))
        self.sae.load_full_state_dict({
            "W_E": tensors["encoder.weight"].T, "b_E": tensors["encoder.bias"],
            "W_D": tensors["decoder.weight"].T, "b_D": tensors["decoder.bias"],
            "activation_function.log_jumprelu_threshold": tensors["log_jumprelu_threshold"],
            f"dataset_average_activation_norm.{SITE}": torch.tensor(3.0),
        })  # fmt: skip

    def encode(self, x):
        return self.sae.encode(self.sae.normalize_activations({SITE: x})[SITE])

    def __call__(self, x):
        _, scales = self.sae.normalize_activations({SITE: x}, return_scale_factor=True)
        return self.sae.denormalize_activations({SITE: self.sae.decode(self.encode(x))}, scales)[
            SITE
        ]


@torch.no_grad()
def record(name, sae):
    x = torch.randn(20, D, generator=draw) * 2
    kept = {"x": x, "code": sae.encode(x), "reconstruction": sae(x)}
    save_file({k: v.contiguous() for k, v in kept.items()}, HERE / f"{name}.safetensors")


first("L2R-8x")
first("L2R-8x-free", sparsity_include_decoder_norm=False)
second("R1-L2R", unit=True)
second("R1-L2R-free", unit=False)
