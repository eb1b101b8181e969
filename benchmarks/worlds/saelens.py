"""SAELens' `SyntheticModel.sample`, with the dense tensors of its default."""

from __future__ import annotations

from worlds import BATCH, TREES, Draw, serve


def build(name: str):
    from sae_lens.synthetic import SyntheticModel
    from sae_lens.synthetic import synthetic_model as s
    from sae_lens.synthetic.firing_magnitudes import (
        FoldedNormalMagnitudeConfig,
        LinearMagnitudeConfig,
    )
    from sae_lens.synthetic.firing_probabilities import ZipfianFiringProbabilityConfig
    from sae_lens.synthetic.hierarchy import HierarchyConfig

    features, width, least, roots = TREES[name]
    config = s.SyntheticModelConfig(
        num_features=features, hidden_dim=width, bias=0.5, seed=42, orthogonalization=None,
        firing_probability=ZipfianFiringProbabilityConfig(exponent=0.5, max_prob=0.4, min_prob=least),
        hierarchy=HierarchyConfig(
            total_root_nodes=roots, branching_factor=4, max_depth=3, mutually_exclusive_portion=1.0,
            compensate_probabilities=True, scale_children_by_parent=True,
        ),
        correlation=s.LowRankCorrelationConfig(rank=25, correlation_scale=0.1),
        std_firing_magnitudes=FoldedNormalMagnitudeConfig(mean=0.5, std=0.5),
        mean_firing_magnitudes=LinearMagnitudeConfig(start=5.0, end=4.0),
    )  # fmt: skip
    model = SyntheticModel(config)
    draw: Draw = lambda: model.sample(BATCH)  # noqa: E731

    def active() -> float:
        drawn = [model.activation_generator.sample(BATCH) for _ in range(8)]
        return sum(float((d > 0).sum(1).float().mean()) for d in drawn) / len(drawn)

    return draw, active


if __name__ == "__main__":
    serve(build, "sae-lens")
