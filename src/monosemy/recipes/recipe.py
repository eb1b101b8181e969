"""What a person decides about a dictionary, and which decisions go together."""

from __future__ import annotations

from dataclasses import dataclass, field

from monosemy.data.features.worlds import WORLDS
from monosemy.dictionaries.selection import SELECTIONS, build_selection
from monosemy.foundation.errors import nearest, refuse
from monosemy.tensors.compute import DTYPES, Compute
from monosemy.training import end_to_end
from monosemy.training.end_to_end import EndToEndConfig
from monosemy.training.local_config import LocalConfig
from monosemy.training.objectives import ObjectiveConfig
from monosemy.training.optim import OptimConfig
from monosemy.training.start import CENTRES, DIRECTIONS

PRECISIONS = ("auto", "float32", "bfloat16")
AUTOENCODER, CROSSCODER, CROSS_LAYER = "autoencoder", "crosscoder", "cross_layer"
TRANSCODERS = ("transcoder", "skip_transcoder", CROSS_LAYER)
"""Structures that write where they do not read."""
STRUCTURES = (AUTOENCODER, *TRANSCODERS, CROSSCODER)
LINEAR, GATED, LISTA, MATCHING_PURSUIT = "linear", "gated", "lista", "matching_pursuit"
LOCAL, HIERARCHICAL = "local", "hierarchical"
BRANCHING = (LOCAL, HIERARCHICAL)
"""Encoders whose latents have children: ``latents`` counts parents."""
HSAE_READS = ("children", "rank", "l0", "share")
"""Keys of ``local`` that an H-SAE style dictionary has too."""
ENCODERS = (LINEAR, GATED, LISTA, MATCHING_PURSUIT, *BRANCHING)


@dataclass(frozen=True)
class DictionaryRecipe:
    """Everything that decides a dictionary."""

    model: str = "specimen"
    """``specimen``, a Hugging Face folder, or a hub name."""
    site: str = "blocks.0.mlp.hook_post"
    """Where activations are read; ``monosemy sites MODEL`` lists them. Several, with commas between
    or wildcards, for a crosscoder or a cross-layer transcoder."""
    target: str = ""
    """Where a transcoder writes; as many places as are read, for a cross-layer one."""
    structure: str = "autoencoder"
    """What is read and written: ``autoencoder``, ``transcoder``, ``skip_transcoder``, ``crosscoder``
    or ``cross_layer`` (a cross-layer transcoder)."""
    compare_with: str = ""
    """Other models that read the same tokens, with commas between: a crosscoder shares its latents
    among them."""
    random_model: int | None = None
    """Replace the model's weights by random ones from this seed: the control."""
    text: str = "stdlib"
    """``stdlib``, a text or JSONL file, a folder, a datasets folder."""
    shards: str | None = None
    """A folder of captured activations to read instead of running the model."""
    world: str = ""
    """Learn from samples of a world whose features are known, instead of a model that reads text:
    one of ``monosemy truth worlds``."""
    world_seed: int = 0
    """The seed that fixes the world."""
    tokens: int = 1_000_000
    """Activations in an epoch."""
    epochs: int = 1
    """Passes over them."""
    context: int = 256
    """Tokens in a window of text."""
    latents: int = 4096
    """Size of the dictionary; of each layer, for a cross-layer transcoder."""
    encoder: str = "linear"
    """How latents are read off: ``linear``, ``gated``, ``lista`` (one step of explaining away),
    ``matching_pursuit`` (one latent at a time), ``local`` (latents have children in shared charts) or
    ``hierarchical`` (children in a subspace of each latent's own, as in H-SAE)."""
    selection: str = "batchtopk"
    """Which latents stay active: ``relu``, ``topk``, ``batchtopk`` or ``jumprelu``."""
    k: int = 16
    """Active latents a token, where the selection has a k."""
    batch: int = 256
    """Activations in an update."""
    block: int = 131_072
    """Activations that are held and shuffled together."""
    centre: str = "geometric_median"
    """Where `b_dec` begins: ``geometric_median``, ``mean`` or ``zero``."""
    whiten: bool = False
    """Learn from whitened activations (their covariance taken out), which folds away at the end."""
    directions: str = "random"
    """Where `W_dec` begins: ``random``, or ``data`` (sampled activations, centred)."""
    objective: ObjectiveConfig = field(default_factory=lambda: ObjectiveConfig(k_start=64))
    """Weights of the loss."""
    local: LocalConfig = field(default_factory=LocalConfig)
    """Children of the latents, where they have any (``encoder`` is ``local`` or ``hierarchical``)."""
    end_to_end: EndToEndConfig = field(default_factory=EndToEndConfig)
    """Learn from what the model predicts with the reconstruction in the activation's place."""
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(learning_rate=2e-3))
    """The optimiser."""
    checkpoint: int = 1000
    """Updates between resumable states on disk."""
    seed: int = 0
    """Root of every random draw."""
    device: str = "cpu"
    """Where tensors live."""
    dtype: str = "float32"
    """Precision in which the model is read."""
    precision: str = "auto"
    """How the dictionary finds what could be active: ``float32``, or ``bfloat16`` proposes and
    float32 decides; ``auto`` takes bfloat16 where the device multiplies it faster."""
    memory: int | None = None
    """MiB that the run may take: refused before it starts where more are expected. ``none`` does not
    look. Decides nothing else, so a run may go on with another value."""

    @property
    def steps(self) -> int:
        """Updates in all."""
        return self.epochs * (self.tokens // self.batch)

    @property
    def reads(self) -> tuple[str, ...]:
        """Patterns of the sites that are read."""
        return _names(self.site)

    @property
    def writes(self) -> tuple[str, ...]:
        """Patterns of the sites that are written, where they are others."""
        return _names(self.target)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that is read."""
        return (self.model, *_names(self.compare_with))

    @property
    def place(self) -> str:
        """Where it reads and writes, in words."""
        if self.world:
            return f"world {self.world}"
        return f"{self.site} -> {self.target}" if self.target else self.site

    @property
    def architecture(self) -> str:
        """Structure, encoder and selection, in words: what is not the plain case."""
        structure = "" if self.structure == AUTOENCODER else self.structure
        nested = "matryoshka" if self.objective.nested else ""
        encoder = "" if self.encoder == LINEAR else self.encoder
        # What a gate or a pursuit decides, no selection does.
        selection = "" if self.encoder in (GATED, MATCHING_PURSUIT) else self.selection
        return " ".join(part for part in (nested, encoder, selection, structure) if part)

    @property
    def compute(self) -> Compute:
        """Device, dtype and seed as one value."""
        return Compute(self.device, self.dtype, self.seed)


def check(recipe: DictionaryRecipe) -> None:
    """Refuse what can be refused before anything is loaded, all reasons at once."""
    counts = ("tokens", "epochs", "context", "latents", "batch", "block", "checkpoint")
    reasons = [
        f"{name} = {getattr(recipe, name)}; wanted at least 1"
        for name in counts
        if getattr(recipe, name) < 1
    ]
    for name, known in (
        ("structure", STRUCTURES),
        ("encoder", ENCODERS),
        ("selection", SELECTIONS),
        ("precision", PRECISIONS),
        ("centre", CENTRES),
        ("directions", DIRECTIONS),
        ("dtype", tuple(DTYPES)),
    ):
        value = getattr(recipe, name)
        if value not in known:
            reasons.append(f"{name} = {value!r}; known: {', '.join(known)}{nearest(value, known)}")
    if recipe.selection in SELECTIONS and recipe.latents >= 1:
        selection = build_selection(recipe.selection, recipe.k, recipe.latents)
        reasons += selection.refuse_for(recipe.latents) + recipe.objective.refuse_for(selection)
    reasons += combination_reasons(recipe)
    if recipe.memory is not None and recipe.memory < 1:
        reasons.append(f"memory = {recipe.memory}; wanted at least 1 (MiB), or none")
    if 1 <= recipe.tokens < recipe.batch:
        reasons.append(f"batch = {recipe.batch:,} is larger than tokens = {recipe.tokens:,}")
    refuse(reasons, "this recipe")


def combination_reasons(recipe: DictionaryRecipe) -> list[str]:
    """Why decisions that are fine alone do not go together, and what would."""
    return [
        *_place_reasons(recipe), *_world_reasons(recipe), *_encoder_reasons(recipe),
        *_objective_reasons(recipe),
    ]  # fmt: skip


def _place_reasons(recipe: DictionaryRecipe) -> list[str]:
    structure, reasons = recipe.structure, list[str]()
    several = [p for p in (*recipe.reads, *recipe.writes) if set(p) & set("*?[")]
    if not recipe.reads:
        reasons.append("site is empty; name where to read (monosemy sites lists the places)")
    if structure in TRANSCODERS and not recipe.writes:
        reasons.append(f"{structure}: needs a target, where it writes")
    if structure not in TRANSCODERS and recipe.writes:
        reasons.append(f"target = {recipe.target!r} is for transcoders; structure = {structure!r}")
    one = structure not in (CROSSCODER, CROSS_LAYER)
    if one and (several or max(len(recipe.reads), len(recipe.writes)) > 1):
        reasons.append(f"{structure}: reads one site; several are for crosscoder or cross_layer")
    if structure == CROSSCODER and len(recipe.reads) * len(recipe.models) == 1 and not several:
        reasons.append("a crosscoder reads several sites, or several models (compare_with)")
    if structure != CROSSCODER and len(recipe.models) > 1:
        reasons.append(f"compare_with is for a crosscoder; structure = {structure!r}")
    if recipe.whiten and structure != AUTOENCODER:
        reasons.append(f"whiten = true mixes all numbers of one site; structure = {structure!r}")
    return reasons


def _world_reasons(recipe: DictionaryRecipe) -> list[str]:
    if not recipe.world:
        return []
    reasons, beside = [], f"world = {recipe.world!r}"
    if recipe.world not in WORLDS:
        known, hint = ", ".join(WORLDS), nearest(recipe.world, WORLDS)
        reasons.append(f"{beside}; known worlds: {known}{hint}")
    if recipe.structure != AUTOENCODER:
        reasons.append(f"{beside} has one place; structure = {recipe.structure!r}")
    if recipe.shards is not None:
        reasons.append(f"{beside} draws its samples, shards hold others; give one of them")
    if recipe.end_to_end.wanted:
        reasons.append(f"{beside} has no model behind it, which end_to_end learns from")
    if recipe.random_model is not None:
        reasons.append(f"{beside} has no model behind it; random_model = {recipe.random_model}")
    return reasons


def _encoder_reasons(recipe: DictionaryRecipe) -> list[str]:
    encoder, reasons = recipe.encoder, list[str]()
    if encoder != LINEAR and recipe.structure != AUTOENCODER:
        reasons.append(f"encoder = {encoder!r} explains what it reads: only for an autoencoder")
    if encoder == GATED and recipe.selection != "relu":
        reasons.append(
            f"encoder = 'gated' chooses by its gate: selection = {recipe.selection!r}, wanted relu"
        )
    if encoder == MATCHING_PURSUIT and recipe.selection != "topk":
        reasons.append(
            "encoder = 'matching_pursuit' chooses one latent at a time, k in all: "
            f"selection = {recipe.selection!r}, wanted topk"
        )
    if encoder == MATCHING_PURSUIT and recipe.whiten:
        reasons.append("whiten = true does not fold into a tied encoder (matching_pursuit)")
    if encoder not in BRANCHING:
        return reasons + _idle_reasons(recipe, recipe.local.changed(), " or ".join(BRANCHING))
    if encoder == HIERARCHICAL:
        reasons += _idle_reasons(recipe, recipe.local.changed(besides=HSAE_READS), LOCAL)
    return reasons + _branching_reasons(recipe)


def _idle_reasons(recipe: DictionaryRecipe, keys: dict[str, object], wanted: str) -> list[str]:
    """Keys that were changed and would change nothing."""
    said = ", ".join(f"local.{name} = {value}" for name, value in keys.items())
    if not keys or recipe.encoder not in ENCODERS:
        return []
    return [f"{said}: of no effect with encoder = {recipe.encoder!r}; wanted encoder = {wanted}"]


def _branching_reasons(recipe: DictionaryRecipe) -> list[str]:
    encoder, reasons = recipe.encoder, recipe.local.refuse_for(recipe.latents, recipe.k)
    if recipe.selection != "batchtopk":
        reasons.append(
            f"encoder = {encoder!r} steers how many are active over a batch: selection = "
            f"{recipe.selection!r}, wanted batchtopk"
        )
    if recipe.whiten:
        reasons.append(f"whiten = true does not fold into orthonormal charts ({encoder})")
    if recipe.objective.nested:
        reasons.append(f"prefixes of encoder = {encoder!r} are not defined; leave them out")
    if recipe.objective.decoder != "unit":
        reasons.append(
            f"objective.decoder = {recipe.objective.decoder!r}: {encoder} wants unit rows"
        )
    if recipe.end_to_end.wanted:
        reasons.append(f"encoder = {encoder!r} learns at the site only, not end to end")
    return reasons


def _objective_reasons(recipe: DictionaryRecipe) -> list[str]:
    reasons = end_to_end.reasons(
        recipe.end_to_end, recipe.objective, recipe.shards is not None, len(recipe.models),
        recipe.dtype, recipe.context,
    )  # fmt: skip
    if recipe.structure == CROSS_LAYER and recipe.objective.nested:
        reasons.append("prefixes of a cross-layer transcoder: its latents lie by layer, not nested")
    return reasons


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
