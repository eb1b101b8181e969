"""SAELens: `SAETrainer.step`, the seam it offers to outside coordinators."""

from __future__ import annotations

import torch

from peers.worker import Contestant, Shape, edge, rate, serve

LIBRARY = "SAELens"
PACKAGES = ["sae-lens"]
SELECTIONS = {
    "topk": "float32",
    "topk.bf16": "bfloat16 (autocast)",
    "topk.dead": "float32",
    "batchtopk": "float32",
    "jumprelu": "float32",
    "matryoshka": "float32",
    "gated": "float32",
    "relu": "float32",
}


class SAELens:
    """Its trainer with its defaults, on batches that are handed in."""

    def __init__(self, selection: str, shape: Shape, batch: torch.Tensor):
        from sae_lens.config import SAETrainerConfig
        from sae_lens.training.sae_trainer import SAETrainer

        kind, _, option = selection.partition(".")
        self.sae = autoencoder(kind, shape)
        self.dead = shape.dead(selection)
        config = SAETrainerConfig(
            total_training_samples=100_000 * shape.tokens,
            train_batch_size_samples=shape.tokens,
            lr=rate(selection), lr_end=rate(selection), autocast=option == "bf16",
        )  # fmt: skip
        self.trainer = SAETrainer(config, self.sae, data_provider=iter(()))
        with torch.no_grad():
            self.sae.W_enc[:, : self.dead] *= 0.01
            self._settle(kind, shape.k, batch[:256])

    def _settle(self, kind: str, k: int, rows: torch.Tensor) -> None:
        """Where nothing but training makes it sparse, start with `k` active latents a token."""
        if kind not in ("jumprelu", "gated", "relu"):
            return
        border = edge(self.sae.encode_with_hidden_pre(rows)[1], k)
        if kind == "jumprelu":
            self.sae.threshold.fill_(border)
        else:
            bias = self.sae.b_gate if kind == "gated" else self.sae.b_enc
            bias -= border

    def prepare(self) -> None:
        window = self.trainer.cfg.dead_feature_window
        self.trainer.n_forward_passes_since_fired[: self.dead] = window + 1

    def step(self, batch: torch.Tensor) -> None:
        self.trainer.step(batch)
        self.trainer.n_training_steps += 1

    def look(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        code = self.sae.encode(batch)
        return (code != 0).sum(1), self.sae.decode(code)


def autoencoder(kind: str, shape: Shape):
    import sae_lens

    sizes = {"d_in": shape.width, "d_sae": shape.latents, "device": "cpu", "dtype": "float32"}
    classes = {
        "topk": ("TopK", {"k": shape.k}),
        "batchtopk": ("BatchTopK", {"k": shape.k}),
        "matryoshka": (
            "MatryoshkaBatchTopK",
            {"k": shape.k, "matryoshka_widths": shape.prefixes},
        ),
        "jumprelu": ("JumpReLU", {}),
        "gated": ("Gated", {"l1_coefficient": 0.1}),
        "relu": ("Standard", {"l1_coefficient": 0.1}),
    }
    name, options = classes[kind]
    config = getattr(sae_lens, f"{name}TrainingSAEConfig")(**sizes, **options)
    return getattr(sae_lens, f"{name}TrainingSAE")(config)


def build(selection: str, shape: Shape, batch: torch.Tensor) -> Contestant:
    return SAELens(selection, shape, batch)


if __name__ == "__main__":
    serve(build, PACKAGES)
