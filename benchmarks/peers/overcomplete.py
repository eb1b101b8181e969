"""overcomplete: its `train_sae` over a loader of one batch, without monitoring."""

from __future__ import annotations

import sys
from unittest.mock import MagicMock

import torch

from peers.worker import RATE, Contestant, Shape, serve

LIBRARY = "overcomplete"
PACKAGES = ["overcomplete"]
SELECTIONS = {"topk": "float32"}
# Parts that need torchvision, timm, OpenCV or an old matplotlib, none of which a step touches.
UNUSED = ("models", "visualization", "optimization")


class Overcomplete:
    """`TopKSAE` under a mean squared error and Adam."""

    def __init__(self, selection: str, shape: Shape, batch: torch.Tensor):
        for name in UNUSED:
            sys.modules[f"overcomplete.{name}"] = MagicMock()
        from overcomplete.sae import TopKSAE, train_sae

        self.train = train_sae
        self.sae = TopKSAE(shape.width, shape.latents, top_k=shape.k)
        self.optimiser = torch.optim.Adam(self.sae.parameters(), lr=RATE)

    def prepare(self) -> None:
        """Nothing: no variant with dead latents."""

    def step(self, batch: torch.Tensor) -> None:
        self.train(self.sae, [batch], error, self.optimiser, nb_epochs=1, monitoring=0)

    def look(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        _, code, back = self.sae(batch)
        return (code != 0).sum(1), back


def error(x, x_hat, pre_codes, codes, dictionary):
    return (x - x_hat).square().mean()


def build(selection: str, shape: Shape, batch: torch.Tensor) -> Contestant:
    return Overcomplete(selection, shape, batch)


if __name__ == "__main__":
    serve(build, PACKAGES)
