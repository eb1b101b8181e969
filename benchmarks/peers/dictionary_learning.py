"""dictionary_learning: the `update` of its trainers."""

from __future__ import annotations

import torch

from peers.worker import Contestant, Shape, edge, rate, serve

LIBRARY = "dictionary_learning"
PACKAGES = ["dictionary-learning"]
SELECTIONS = {
    "topk": "float32",
    "topk.dead": "float32",
    "batchtopk": "float32",
    "jumprelu": "float32",
    "matryoshka": "float32",
}
# Its running threshold is followed from step 1,000 on, so most steps of a training follow it.
STEPS, FIRST = 100_000, 3000


class DictionaryLearning:
    """A trainer with its defaults, but for the learning rate and its warm-up."""

    def __init__(self, selection: str, shape: Shape, batch: torch.Tensor):
        self.kind = kind = selection.partition(".")[0]
        self.dead = shape.dead(selection)
        self.trainer = trainer(kind, shape, rate(selection))
        self.done = FIRST
        ae = self.trainer.ae
        with torch.no_grad():
            if self.dead:
                ae.encoder.weight[: self.dead] *= 0.01
            if kind == "jumprelu":
                ae.threshold.fill_(edge(batch[:256] @ ae.W_enc + ae.b_enc, shape.k))
            else:
                ae.b_dec.copy_(batch.mean(0))  # as its first step does, with a median

    def prepare(self) -> None:
        if self.dead:
            window = self.trainer.dead_feature_threshold
            self.trainer.num_tokens_since_fired[: self.dead] = window

    def step(self, batch: torch.Tensor) -> None:
        self.trainer.update(self.done, batch)
        self.done += 1

    def look(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ae = self.trainer.ae
        options = {} if self.kind == "jumprelu" else {"use_threshold": False}
        code = ae.encode(batch, **options)
        return (code != 0).sum(1), ae.decode(code)


def trainer(kind: str, shape: Shape, speed: float):
    from dictionary_learning import trainers
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer

    options = {
        "steps": STEPS, "activation_dim": shape.width, "dict_size": shape.latents, "layer": 0,
        "lm_name": "none", "lr": speed, "warmup_steps": 0, "device": "cpu",
    }  # fmt: skip
    if kind == "jumprelu":
        return trainers.JumpReluTrainer(**options, target_l0=shape.k, sparsity_warmup_steps=0)
    options["k"] = shape.k
    if kind == "topk":
        return trainers.TopKTrainer(**options)
    if kind == "batchtopk":
        return trainers.BatchTopKTrainer(**options)
    shares = [1 / 16, 1 / 16, 1 / 8, 1 / 4, 1 / 2]
    return MatryoshkaBatchTopKTrainer(**options, group_fractions=shares)


def build(selection: str, shape: Shape, batch: torch.Tensor) -> Contestant:
    return DictionaryLearning(selection, shape, batch)


if __name__ == "__main__":
    serve(build, PACKAGES)
