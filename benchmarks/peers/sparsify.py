"""EleutherAI's sparsify: its coder and its default optimiser, in the order of its trainer.

The trainer itself steps inside hooks of a running model, so its public parts are called one after
another. What it does to find the tokens of a batch is left out, in its favour. Its auxiliary loss
gives the encoder no gradient (as released), so ``topk.dead`` does less than the others do.
"""

from __future__ import annotations

import torch

from peers.worker import SLOW_RATE, Contestant, Shape, serve

LIBRARY = "sparsify"
PACKAGES = ["eai-sparsify"]
SELECTIONS = {"topk": "float32", "topk.dead": "float32"}
# Its default: latents that were silent for so many tokens are dead.
WINDOW = 10_000_000
AUX = 1 / 32


class Sparsify:
    """`SparseCoder` under sign descent without a schedule, the default of its trainer."""

    def __init__(self, selection: str, shape: Shape, batch: torch.Tensor):
        from schedulefree import ScheduleFreeWrapper
        from sparsify import SparseCoder, SparseCoderConfig
        from sparsify.sign_sgd import SignSGD

        config = SparseCoderConfig(num_latents=shape.latents, k=shape.k)
        self.coder = SparseCoder(shape.width, config)
        self.dead = shape.dead(selection)
        speed = SLOW_RATE if self.dead else 5e-3 / (shape.latents / 2**14) ** 0.5
        self.optimiser = ScheduleFreeWrapper(
            SignSGD([{"params": self.coder.parameters(), "lr": speed}]), momentum=0.95
        )
        self.optimiser.train()
        self.silent = torch.zeros(shape.latents, dtype=torch.long)
        with torch.no_grad():
            self.coder.b_dec.copy_(batch.mean(0))
            self.coder.encoder.weight[: self.dead] *= 0.01

    def prepare(self) -> None:
        self.silent[: self.dead] = WINDOW + 1

    def step(self, batch: torch.Tensor) -> None:
        self.coder.set_decoder_norm_to_unit_norm()
        result = self.coder(batch, dead_mask=self.silent > WINDOW if self.dead else None)
        (result.fvu + AUX * result.auxk_loss).backward()
        self.coder.remove_gradient_parallel_to_decoder_directions()
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.silent += len(batch)
        self.silent[result.latent_indices.flatten()] = 0

    def look(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        result = self.coder(batch)
        return (result.latent_acts > 0).sum(1), result.sae_out


def build(selection: str, shape: Shape, batch: torch.Tensor) -> Contestant:
    return Sparsify(selection, shape, batch)


if __name__ == "__main__":
    serve(build, PACKAGES)
