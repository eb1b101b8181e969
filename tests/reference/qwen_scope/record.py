"""Records what SAELens makes of Qwen Scope's files.

With sae-lens 6.54.12:

python tests/reference/qwen_scope/record.py
"""

from pathlib import Path

import torch
from sae_lens import SAE
from sae_lens.loading import pretrained_sae_loaders as loaders
from safetensors.torch import save_file

HERE = Path(__file__).parent
D, M = 6, 12
# SAELens wants thousands of latents in the name; here it only has to say how many are active.
REPOSITORY, FOLDER = "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_4", "SAE-Res-Qwen3-1.7B-Base-L0_4"
draw = torch.Generator().manual_seed(4)
loaders.hf_hub_download = lambda repo_id, filename, **ignored: str(HERE / FOLDER / filename)


@torch.no_grad()
def record(layer):
    (HERE / FOLDER).mkdir(exist_ok=True)
    shapes = {"W_enc": (M, D), "W_dec": (D, M), "b_enc": (M,), "b_dec": (D,)}
    tensors = {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    # Fewer than four positive for some tokens: the smallest of all that are kept are then zero.
    tensors["b_enc"] -= 2
    torch.save(tensors, HERE / FOLDER / f"layer{layer}.sae.pt")
    config, state, _ = loaders.qwen_scope_sae_huggingface_loader(
        REPOSITORY, f"layer{layer}.sae.pt", cfg_overrides={"d_in": D, "d_sae": M}
    )
    config = loaders.handle_config_defaulting(config)
    kind = SAE.get_sae_config_class_for_architecture(config["architecture"])
    sae = SAE.get_sae_class_for_architecture("topk")(kind.from_dict(config))
    sae.process_state_dict_for_loading(state)
    sae.load_state_dict(state)
    x = torch.randn(20, D, generator=draw) * 2
    kept = {"x": x, "code": sae.encode(x), "reconstruction": sae(x)}
    save_file({k: v.contiguous() for k, v in kept.items()}, HERE / f"layer{layer}.safetensors")


for layer in (2, 10):
    record(layer)
