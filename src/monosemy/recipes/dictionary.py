"""From text to a dictionary: the recipe, and the road that follows it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from monosemy.data.capture import LiveSource
from monosemy.data.shards import open_shards
from monosemy.data.streams import ActivationStream, Source
from monosemy.data.text import Corpus, open_corpus
from monosemy.data.tokens import Contexts, Packing, pack
from monosemy.dictionaries import files
from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.files import GATED
from monosemy.dictionaries.flat import FlatDictionary, random_unit_rows
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.selection import SELECTIONS, build_selection
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, nearest, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.models.loading import LoadedModel, load, reinitialised
from monosemy.models.sites import Site, resolve
from monosemy.recipes import config
from monosemy.recipes.memory import Reading, keep_within
from monosemy.tensors.axes import Activations, Tensor
from monosemy.tensors.compute import DTYPES, Compute
from monosemy.tensors.routes import multiplies_bfloat16
from monosemy.training.journal import Journal, read_metrics
from monosemy.training.loop import Rhythm, Training, fit
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.start import CENTRES, DIRECTIONS, Start, look, sample_directions
from monosemy.training.threshold import settle_threshold

# Rows that the start looks at: enough for a mean in every direction, a moment to compute.
START_ROWS = 16_384
PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class DictionaryRecipe:
    """Everything that decides a dictionary."""

    model: str = "specimen"
    """``specimen``, a Hugging Face folder, or a hub name."""
    site: str = "blocks.0.mlp.hook_post"
    """Where activations are read; ``monosemy sites MODEL`` lists them."""
    random_model: int | None = None
    """Replace the model's weights by random ones from this seed: the control."""
    text: str = "stdlib"
    """``stdlib``, a text or JSONL file, a folder, a datasets folder."""
    shards: str | None = None
    """A folder of captured activations to read instead of running the model."""
    tokens: int = 1_000_000
    """Activations in an epoch."""
    epochs: int = 1
    """Passes over them."""
    context: int = 256
    """Tokens in a window of text."""
    latents: int = 4096
    """Size of the dictionary."""
    selection: str = "batchtopk"
    """Which latents stay active: ``relu``, ``topk``, ``batchtopk``, ``jumprelu`` or ``gated``."""
    k: int = 16
    """Active latents a token, where the selection has a k."""
    batch: int = 256
    """Activations in an update."""
    block: int = 131_072
    """Activations that are held and shuffled together."""
    centre: str = "geometric_median"
    """Where `b_dec` begins: ``geometric_median``, ``mean`` or ``zero``."""
    directions: str = "random"
    """Where `W_dec` begins: ``random``, or ``data`` (sampled activations, centred)."""
    objective: ObjectiveConfig = field(default_factory=lambda: ObjectiveConfig(k_start=64))
    """Weights of the loss."""
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
    def compute(self) -> Compute:
        """Device, dtype and seed as one value."""
        return Compute(self.device, self.dtype, self.seed)


def demo() -> DictionaryRecipe:
    """4,096 BatchTopK latents (k = 16) on the specimen's 512 neurons, a million activations."""
    return DictionaryRecipe()


def residual() -> DictionaryRecipe:
    """2,048 TopK latents on what the specimen's layer leaves in the residual stream."""
    return DictionaryRecipe(site="blocks.0.hook_resid_post", latents=2048, selection="topk", k=16)


def jumprelu() -> DictionaryRecipe:
    """A threshold a latent, learned by straight-through gradients under an L0 penalty."""
    return DictionaryRecipe(
        selection="jumprelu", objective=ObjectiveConfig(l0=0.003, warmup=400, aux=0.0)
    )


def gated() -> DictionaryRecipe:
    """A gate for which latents are active, magnitudes for how much, an L1 penalty on the gate."""
    return DictionaryRecipe(
        selection="gated", objective=ObjectiveConfig(l1=0.12, warmup=400, aux=0.0)
    )


def matryoshka() -> DictionaryRecipe:
    """The demo's dictionary with nested prefixes that each reconstruct alone."""
    shares = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
    return DictionaryRecipe(objective=ObjectiveConfig(k_start=64, prefixes=shares))


def relu() -> DictionaryRecipe:
    """The ReLU dictionary of "Towards Monosemanticity": an L1 penalty instead of a k."""
    return DictionaryRecipe(
        selection="relu", objective=ObjectiveConfig(l1=0.12, warmup=200, aux=0.0)
    )


RECIPES: dict[str, Callable[[], DictionaryRecipe]] = {
    "demo": demo,
    "residual": residual,
    "relu": relu,
    "jumprelu": jumprelu,
    "gated": gated,
    "matryoshka": matryoshka,
}


def find_recipe(name: str) -> DictionaryRecipe:
    """The recipe called `name`: a built-in one, ``FILE.toml``, or ``FILE.py:FUNCTION``."""
    if name in RECIPES:
        return RECIPES[name]()
    path, _, function = name.partition(":")
    if path.endswith(".py"):
        return config.from_python(Path(path), function or "recipe", DictionaryRecipe)
    if name.endswith(".toml"):
        return config.from_toml(Path(name), DictionaryRecipe())
    raise UserError(
        f"unknown recipe {name!r}; built in: {', '.join(RECIPES)}; or FILE.toml, or FILE.py:FUNCTION"
        + nearest(name, RECIPES)
    )


@dataclass(frozen=True, eq=False)
class Setting:
    """What a recipe names, opened: the model, the place in it, the text."""

    loaded: LoadedModel
    site: Site
    corpus: Corpus
    contexts: Contexts


def check(recipe: DictionaryRecipe) -> None:
    """Refuse what can be refused before anything is loaded, all reasons at once."""
    counts = ("tokens", "epochs", "context", "latents", "batch", "block", "checkpoint")
    reasons = [
        f"{name} = {getattr(recipe, name)}; wanted at least 1"
        for name in counts
        if getattr(recipe, name) < 1
    ]
    for name, known in (
        ("selection", (*SELECTIONS, GATED)),
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
        reasons += selection.refuse_for(recipe.latents)
    if recipe.memory is not None and recipe.memory < 1:
        reasons.append(f"memory = {recipe.memory}; wanted at least 1 (MiB), or none")
    if 1 <= recipe.tokens < recipe.batch:
        reasons.append(f"batch = {recipe.batch:,} is larger than tokens = {recipe.tokens:,}")
    refuse(reasons, "this recipe")


def load_place(recipe: DictionaryRecipe) -> tuple[LoadedModel, Site]:
    """The model that the recipe names, with random weights if it says so, and the site in it."""
    loaded = load(recipe.model, recipe.compute)
    if recipe.random_model is not None:
        loaded = reinitialised(loaded, recipe.random_model)
    return loaded, resolve(loaded.model, recipe.site)


def open_setting(
    recipe: DictionaryRecipe, split: str = "train", tokens: int | None = None,
    progress: Progress = SILENT,
) -> Setting:  # fmt: skip
    """Load the model, find the site, read and pack the text (`tokens` of it; else the recipe's)."""
    check(recipe)
    loaded, site = load_place(recipe)
    corpus = open_corpus(recipe.text, split)
    tokens = recipe.tokens if tokens is None else tokens
    packing = Packing(context=min(recipe.context, loaded.context), tokens=tokens)
    contexts = pack(corpus, loaded.tokenizer, packing, recipe.compute, progress)
    return Setting(loaded, site, corpus, contexts)


def open_source(recipe: DictionaryRecipe, progress: Progress = SILENT) -> Source:
    """Activations of the training text: from shards where the recipe names them, else live."""
    if recipe.shards is not None:
        check(recipe)
        source = open_shards(recipe.shards, recipe.site)
        keep_within(recipe, Reading.of_shards(source, START_ROWS))
        return source
    setting = open_setting(recipe, "train", progress=progress)
    place, tokens = (setting.loaded, setting.site, setting.corpus), setting.contexts.tokens
    keep_within(recipe, Reading.of_model(*place, tokens, START_ROWS))
    return LiveSource(setting.loaded, setting.site, setting.contexts)


def train_dictionary(
    recipe: DictionaryRecipe, out: str | Path, progress: Progress = SILENT
) -> Dictionary:
    """The main road: open the source, look at it, learn, write ``out/dictionary``.

    Run again with the same recipe it goes on from the last checkpoint; a finished run is read back.
    """
    out, source = Path(out), open_source(recipe, progress)
    journal = Journal(out, asdict(replace(recipe, memory=None)) | {"source": source.fingerprint})
    stream = ActivationStream(source, recipe.batch, recipe.compute, recipe.epochs, recipe.block)
    with closing(stream):
        return _learn(recipe, stream, journal, progress)


def _learn(
    recipe: DictionaryRecipe, stream: ActivationStream, journal: Journal, progress: Progress
) -> Dictionary:
    rows = stream.first_rows(START_ROWS)
    start = look(rows, recipe.centre)
    program = begin(recipe, rows, start, len(stream))
    training = Training(
        program,
        Optimiser(program.module.parameters(), recipe.optim, len(stream)),
        stream,
        len(stream),
        Rhythm(log=min(50, len(stream)), checkpoint=recipe.checkpoint),
        tokens_per_step=recipe.batch,
    )
    fit(training, journal, progress)
    dictionary = program.result()
    settle_threshold(dictionary, rows.to(dictionary.W_dec))
    dictionary.metadata = describe(recipe, start, len(stream) * recipe.batch)
    files.save(dictionary, journal.folder / "dictionary")
    return dictionary


def begin(recipe: DictionaryRecipe, rows: Activations, start: Start, steps: int) -> LearnDictionary:
    """The dictionary as it stands before the first step, in the scaled units of `start`."""
    compute = recipe.compute
    draw = compute.generator("dictionary weights")
    if recipe.directions == "data":
        directions = sample_directions(rows - start.centre, recipe.latents, draw)
    else:
        directions = random_unit_rows(recipe.latents, rows.shape[1], draw)
    dictionary = _tied(recipe, directions, start.centre * start.scale)
    dictionary = dictionary.to(compute.device).train()
    bfloat16_pays = multiplies_bfloat16(dictionary.W_enc.device.type)
    dictionary.propose = {"auto": bfloat16_pays}.get(
        recipe.precision, recipe.precision == "bfloat16"
    )
    return LearnDictionary(dictionary, start, recipe.objective, steps)


def _tied(recipe: DictionaryRecipe, directions: Activations, b_dec: Tensor) -> Dictionary:
    if recipe.selection == GATED:
        return GatedDictionary.tied(directions, b_dec)
    selection = build_selection(recipe.selection, recipe.k, recipe.latents)
    return FlatDictionary.tied(directions, b_dec, selection)


def describe(recipe: DictionaryRecipe, start: Start, tokens: int) -> dict[str, Any]:
    """What the dictionary's file says about where it comes from, under the names others read."""
    return {
        "model_name": recipe.model,
        "hook_name": recipe.site,
        "dataset_path": recipe.text,
        "context_size": recipe.context,
        "prepend_bos": False,
        "seed": recipe.seed,
        "trained_tokens": tokens,
        "outlier_ratio": start.outlier_ratio,
    }


def pace_of(folder: Path) -> dict[str, Any]:
    """``tokens_per_second`` of the run in `folder`, and ``shares`` of where its time went."""
    last = read_metrics(Path(folder))[-1]
    shares = {key.removeprefix("share_"): last[key] for key in last if key.startswith("share_")}
    return {"tokens_per_second": last.get("tokens_per_second"), "shares": shares}


def read_run(folder: Path) -> DictionaryRecipe:
    """The recipe that the run in `folder` followed."""
    run = storage.read_json(Path(folder) / "run.json", "the run's description")
    saved = {key: value for key, value in run["configuration"].items() if key != "source"}
    return config.override(DictionaryRecipe(), _flatten(saved))


def _flatten(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= (
            _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat
