"""Records what SAELens' synthetic evaluation says of small dictionaries, and what it was shown.

Run where sae-lens is installed. For each dictionary it writes a folder as SAELens saves it, with
``expected.json``; ``samples.safetensors`` holds features, their activations and the rows made of
them, the same for all.

    python tests/reference/saelens_synthetic_metrics/record.py
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
FEATURES, LATENTS, WIDTH, SAMPLES, K = 30, 24, 12, 600, 4


class _Replayed:
    """Hands out samples that were drawn before, in the place of a generator."""

    def __init__(self, activations: torch.Tensor):
        self.activations, self.done = activations, 0

    def sample(self, count: int) -> torch.Tensor:
        self.done += count
        return self.activations[self.done - count : self.done]


def _dictionaries(features: torch.Tensor) -> dict[str, torch.nn.Module]:
    import sae_lens as sl

    draw = torch.Generator().manual_seed(3)
    about = sl.saes.sae.SAEMetadata(model_name="world", hook_name="world")
    common = {"d_in": WIDTH, "d_sae": LATENTS, "metadata": about}
    made = {
        "standard": sl.StandardSAE(sl.StandardSAEConfig(**common)),
        "topk": sl.TopKSAE(sl.TopKSAEConfig(**common, k=K)),
        "abstopk": sl.AbsTopKSAE(sl.AbsTopKSAEConfig(**common, k=K)),
        "jumprelu": sl.JumpReLUSAE(sl.JumpReLUSAEConfig(**common)),
    }
    for sae in made.values():
        # Near some features, two latents near the same one, some that fire never.
        near = features[torch.arange(LATENTS) // 2 * 2 % FEATURES]
        noise = torch.randn(LATENTS, WIDTH, generator=draw) / WIDTH**0.5
        with torch.no_grad():
            sae.W_dec.copy_(near + 0.7 * noise)
            sae.W_enc.copy_(sae.W_dec.T)
            sae.b_dec.copy_(0.1 * torch.randn(WIDTH, generator=draw))
            if hasattr(sae, "b_enc"):
                sae.b_enc.copy_(-0.3 * torch.rand(LATENTS, generator=draw))
                sae.W_enc[:, :3], sae.b_enc[:3] = 0.0, 0.0
            if hasattr(sae, "threshold"):
                sae.threshold.copy_(0.2 + torch.rand(LATENTS, generator=draw))
    return made


def record() -> None:
    from sae_lens.synthetic.evals import eval_sae_on_synthetic_data
    from sae_lens.synthetic.feature_dictionary import FeatureDictionary

    draw = torch.Generator().manual_seed(0)
    features = FeatureDictionary(FEATURES, WIDTH, bias=0.0, initializer=None)
    with torch.no_grad():
        unit = torch.nn.functional.normalize(torch.randn(FEATURES, WIDTH, generator=draw), dim=1)
        features.feature_vectors.copy_(unit)
        features.bias.copy_(torch.randn(WIDTH, generator=draw))
    rates = 0.5 / torch.arange(1, FEATURES + 1) ** 0.5
    on = torch.rand(SAMPLES, FEATURES, generator=draw) < rates
    activations = on * (1 + torch.rand(SAMPLES, FEATURES, generator=draw))
    with torch.no_grad():
        rows = features(activations)
    save_file(
        {"features": unit, "activations": activations, "rows": rows},
        HERE / "samples.safetensors",
    )
    for name, sae in _dictionaries(unit).items():
        sae.eval()
        found = eval_sae_on_synthetic_data(
            sae, features, _Replayed(activations), num_samples=SAMPLES, batch_size=250
        )
        sae.save_model(HERE / name)
        (HERE / name / "expected.json").write_text(json.dumps(found.to_dict(), indent=2) + "\n")
    (HERE / "version.txt").write_text(version("sae-lens") + "\n")


if __name__ == "__main__":
    record()
