"""Records what SAELens' synthetic models are and draw, small with every piece on, and at full size.

Run where sae-lens is installed; writes beside itself.

    python tests/reference/saelens_synthetic/record.py

``small.safetensors``   the parameters of a small model, drawn samples, counts and
                        moments of many more
``full.safetensors``    how SynthSAEBench-16k fires: its chances, and how often each feature is active
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
FEATURES, WIDTH, SEED = 60, 16, 42
KEPT, MANY, FULL_SAMPLES, AT_ONCE = 4_000, 200_000, 16_384, 1_024


def small_config():
    from sae_lens.synthetic import synthetic_model as s
    from sae_lens.synthetic.firing_magnitudes import (
        FoldedNormalMagnitudeConfig,
        LinearMagnitudeConfig,
    )
    from sae_lens.synthetic.firing_probabilities import ZipfianFiringProbabilityConfig
    from sae_lens.synthetic.hierarchy import HierarchyConfig

    return s.SyntheticModelConfig(
        num_features=FEATURES,
        hidden_dim=WIDTH,
        firing_probability=ZipfianFiringProbabilityConfig(exponent=0.5, max_prob=0.4, min_prob=0.02),
        hierarchy=HierarchyConfig(
            total_root_nodes=4, branching_factor=3, max_depth=2, mutually_exclusive_portion=1.0,
            compensate_probabilities=True, scale_children_by_parent=True,
        ),
        orthogonalization=s.OrthogonalizationConfig(num_steps=20, lr=3e-3),
        correlation=s.LowRankCorrelationConfig(rank=4, correlation_scale=0.3),
        std_firing_magnitudes=FoldedNormalMagnitudeConfig(mean=0.5, std=0.5),
        mean_firing_magnitudes=LinearMagnitudeConfig(start=5.0, end=4.0),
        bias=0.5,
        seed=SEED,
    )  # fmt: skip


def full_config():
    from dataclasses import replace

    from sae_lens.synthetic import synthetic_model as s
    from sae_lens.synthetic.firing_probabilities import ZipfianFiringProbabilityConfig
    from sae_lens.synthetic.hierarchy import HierarchyConfig

    return replace(
        small_config(),
        num_features=16_384,
        hidden_dim=768,
        firing_probability=ZipfianFiringProbabilityConfig(exponent=0.5, max_prob=0.4, min_prob=5e-4),
        hierarchy=HierarchyConfig(
            total_root_nodes=128, branching_factor=4, max_depth=3, mutually_exclusive_portion=1.0,
            compensate_probabilities=True, scale_children_by_parent=True,
        ),
        orthogonalization=None,  # does not change how features fire, and takes an hour
        correlation=s.LowRankCorrelationConfig(rank=25, correlation_scale=0.1),
    )  # fmt: skip


def parents_of(model) -> torch.Tensor:
    parents = torch.full((model.cfg.num_features,), -1)

    def visit(node) -> None:
        assert bool(node.children) == node.mutually_exclusive_children
        for child in node.children:
            parents[child.feature_index] = node.feature_index
            visit(child)

    for root in model.hierarchy.roots:
        visit(root)
    return parents


def law_of(model) -> dict[str, torch.Tensor]:
    generator = model.activation_generator
    return {
        "parents": parents_of(model).to(torch.int16),
        "chance": generator.firing_probabilities,
        "mean": generator.mean_firing_magnitudes,
        "spread": generator.std_firing_magnitudes,
        "factor": model.correlation_matrix.correlation_factor,
    }


def record_small() -> dict[str, torch.Tensor]:
    from sae_lens.synthetic import SyntheticModel

    model = SyntheticModel(small_config())
    draw = torch.Generator().manual_seed(SEED)
    begun = torch.randn(FEATURES, WIDTH, generator=draw)
    torch.manual_seed(1)
    x, truth = model.sample_with_features(KEPT)
    rows, indices = truth.nonzero(as_tuple=True)
    active = torch.zeros(FEATURES, FEATURES, dtype=torch.float64)
    l0 = torch.zeros(FEATURES + 1, dtype=torch.int64)
    moments = torch.zeros(WIDTH, WIDTH + 1, dtype=torch.float64)
    for _ in range(MANY // AT_ONCE):
        many, features = model.sample_with_features(AT_ONCE)
        on = (features > 0).double()
        active += on.T @ on
        l0 += torch.bincount(on.sum(1).long(), minlength=FEATURES + 1)
        moments[:, 0] += many.double().sum(0)
        moments[:, 1:] += many.double().T @ many.double()
    return {
        **law_of(model),
        "begun": begun / begun.norm(dim=1, keepdim=True),
        "directions": model.feature_dict.feature_vectors.data,
        "bias": model.feature_dict.bias.data,
        "truth_rows": rows.to(torch.int16),
        "truth_indices": indices.to(torch.int16),
        "truth_values": truth[rows, indices],
        "x": x[:200].clone(),
        "active_together": active.to(torch.int32),
        "l0_counts": l0,
        "x_moments": moments,
        "samples": torch.tensor(MANY // AT_ONCE * AT_ONCE),
    }


def record_full() -> dict[str, torch.Tensor]:
    from sae_lens.synthetic import SyntheticModel

    model = SyntheticModel(full_config())
    law = law_of(model)
    counts = torch.zeros(16_384, dtype=torch.int32)
    l0 = torch.zeros(257, dtype=torch.int64)
    torch.manual_seed(1)
    for _ in range(FULL_SAMPLES // AT_ONCE):
        on = model.activation_generator.sample(AT_ONCE) > 0
        counts += on.sum(0).to(torch.int32)
        l0 += torch.bincount(on.sum(1), minlength=257)
    return {
        "chance": law["chance"],
        "parents_every_16th": law["parents"][::16].clone(),
        "mean_every_16th": law["mean"][::16].clone(),
        # Drawn from seeds; enough of them to see that they were drawn again.
        "spread_every_16th": law["spread"][::16].clone(),
        "factor_every_1024th": law["factor"][::1024].clone(),
        "active": counts.to(torch.int16),
        "l0_counts": l0,
        "samples": torch.tensor(FULL_SAMPLES),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    made = {"sae-lens": version("sae-lens"), "torch": torch.__version__}
    save_file(record_small(), HERE / "small.safetensors", metadata=made)
    save_file(record_full(), HERE / "full.safetensors", metadata=made)
