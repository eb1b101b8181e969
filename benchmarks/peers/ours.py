"""Our own step, through the interface that the recipes use."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from peers.worker import Contestant, Shape, edge, rate, serve

LIBRARY = "monosemy"
PACKAGES = ["monosemy"]
# Steps in all and the step that the first one counts as: past the warm-up, before the decay.
STEPS, FIRST = 1000, 100


@dataclass(frozen=True)
class Variant:
    """What is different from a plain TopK step."""

    selection: str
    objective: dict = field(default_factory=dict)
    dtype: str = "float32"


# -------------------------------------------------------------------------------------------------
# Our contestants: a row here is a contestant, and `construct` is the only place that builds one.

VARIANTS = {
    "topk": Variant("topk"),
    "topk.dead": Variant("topk"),
    "batchtopk": Variant("batchtopk"),
    "relu": Variant("relu", {"l1": 0.1, "aux": 0.0}),
}


def construct(name: str, shape: Shape, batch: torch.Tensor):
    """The program and the optimiser of a variant, as `recipes.dictionary.begin` makes them."""
    from monosemy.dictionaries.flat import FlatDictionary
    from monosemy.dictionaries.selection import build_selection
    from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
    from monosemy.training.optim import OptimConfig, Optimiser
    from monosemy.training.start import look

    variant = VARIANTS[name]
    selection = build_selection(variant.selection, shape.k)
    draw = torch.Generator().manual_seed(0)
    dictionary = FlatDictionary.random(shape.width, shape.latents, selection, draw).train()
    objective = ObjectiveConfig(**variant.objective)
    program = LearnDictionary(dictionary, look(batch, "mean"), objective, STEPS)
    config = OptimConfig(learning_rate=rate(name))
    return program, Optimiser(dictionary.parameters(), config, STEPS)


# -------------------------------------------------------------------------------------------------


class Ours:
    """`monosemy.training.loop.advance_program` on one variant."""

    def __init__(self, name: str, shape: Shape, batch: torch.Tensor):
        from monosemy.training.loop import advance_program

        self.advance = advance_program
        self.program, self.optimiser = construct(name, shape, batch)
        self.dead = shape.dead(name)
        self.done = FIRST
        with torch.no_grad():
            module = self.program.module
            module.W_enc[: self.dead] *= 0.01
            if name == "relu":
                rows = self.program.scale * batch[:256]
                module.b_enc -= edge((rows - module.b_dec) @ module.W_enc.T, shape.k)

    def prepare(self) -> None:
        firing = self.program.firing
        firing.silent[: self.dead] = firing.window

    def step(self, batch: torch.Tensor) -> None:
        self.advance(self.program, self.optimiser, batch, self.done)
        self.done += 1

    def look(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        module, scale = self.program.module, self.program.scale
        code = module.code(batch * scale)
        return code.counts, module.decode(code) / scale


def build(selection: str, shape: Shape, batch: torch.Tensor) -> Contestant:
    return Ours(selection, shape, batch)


SELECTIONS = {name: variant.dtype for name, variant in VARIANTS.items()}

if __name__ == "__main__":
    serve(build, PACKAGES)
