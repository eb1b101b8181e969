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
    rows: str = "all"


# -------------------------------------------------------------------------------------------------
# Our contestants: a row here is a contestant, and `construct` is the only place that builds one.

NESTED = {"prefixes": (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)}
VARIANTS = {
    "topk": Variant("topk"),
    "topk.bf16": Variant("topk", dtype="bfloat16 proposes"),
    "topk.dead": Variant("topk"),
    "topk.bf16.dead": Variant("topk", dtype="bfloat16 proposes"),
    "topk.active": Variant("topk", dtype="bfloat16 proposes", rows="active"),
    "batchtopk": Variant("batchtopk"),
    "batchtopk.bf16": Variant("batchtopk", dtype="bfloat16 proposes"),
    "matryoshka": Variant("batchtopk", NESTED),
    "jumprelu": Variant("jumprelu", {"l0": 1e-4, "aux": 0.0}),
    "gated": Variant("gated", {"l1": 0.1, "aux": 0.0}),
    "relu": Variant("relu", {"l1": 0.1, "aux": 0.0}),
}


def construct(name: str, shape: Shape, batch: torch.Tensor):
    """The program and the optimiser of a variant, as `recipes.dictionary.begin` makes them."""
    from monosemy.dictionaries.flat import FlatDictionary, random_unit_rows
    from monosemy.dictionaries.gated import GatedDictionary
    from monosemy.dictionaries.selection import build_selection
    from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
    from monosemy.training.optim import OptimConfig, Optimiser
    from monosemy.training.start import look

    variant = VARIANTS[name]
    draw = torch.Generator().manual_seed(0)
    directions, b_dec = (
        random_unit_rows(shape.latents, shape.width, draw),
        batch.new_zeros(shape.width),
    )
    if variant.selection == "gated":
        dictionary = GatedDictionary.tied(directions, b_dec)
    else:
        selection = build_selection(variant.selection, shape.k, shape.latents)
        dictionary = FlatDictionary.tied(directions, b_dec, selection)
    dictionary.propose = variant.dtype != "float32"
    program = LearnDictionary(
        dictionary.train(), look(batch, "mean"), ObjectiveConfig(**variant.objective), STEPS
    )
    config = OptimConfig(learning_rate=rate(name), rows=variant.rows)
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
            if name in ("relu", "gated", "jumprelu"):
                rows = self.program.units.apply(batch[:256])
                least = edge((rows - module.b_dec) @ module.W_enc.T, shape.k)
                if name == "jumprelu":
                    module.selection.threshold.fill_(least)
                else:
                    module.b_enc -= least
                if name == "gated":
                    module.b_mag -= least

    def prepare(self) -> None:
        firing = self.program.firing
        firing.silent[: self.dead] = firing.window

    def step(self, batch: torch.Tensor) -> None:
        self.advance(self.program, self.optimiser, batch, self.done)
        self.done += 1

    def look(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        module, units = self.program.module, self.program.units
        code = module.code(units.apply(batch))
        active = torch.zeros(len(batch)).index_add(0, code.rows, (code.values > 0).float())
        return active, module.decode(code) * units.inverse


def build(selection: str, shape: Shape, batch: torch.Tensor) -> Contestant:
    return Ours(selection, shape, batch)


SELECTIONS = {name: variant.dtype for name, variant in VARIANTS.items()}

if __name__ == "__main__":
    serve(build, PACKAGES)
