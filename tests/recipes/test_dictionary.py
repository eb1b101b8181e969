from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from monosemy.data.capture import capture
from monosemy.data.text import split_of
from monosemy.dictionaries import files
from monosemy.foundation.errors import Interrupted, UserError
from monosemy.recipes import dictionary as module
from monosemy.recipes.building import parameters
from monosemy.recipes.catalogue import RECIPES
from monosemy.recipes.dictionary import read_run, train_dictionary
from monosemy.recipes.evaluation import evaluate
from monosemy.recipes.recipe import DictionaryRecipe, check
from monosemy.recipes.setting import open_setting, open_source
from monosemy.training.end_to_end import EndToEndConfig
from monosemy.training.journal import Journal, read_metrics
from monosemy.training.optim import OptimConfig


def tensors(dictionary) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in dictionary.state_dict().items()}


def same(one, other) -> bool:
    a, b = tensors(one), tensors(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- before anything is loaded -------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_the_built_in_recipes_pass(name):
    check(RECIPES[name]())
    assert RECIPES[name].__doc__


def test_everything_wrong_is_told_at_once():
    wrong = DictionaryRecipe(
        latents=8, k=9, selection="topk", centre="median", directions="dta", dtype="float8",
        batch=512, tokens=100, epochs=0,
    )  # fmt: skip
    with pytest.raises(UserError) as caught:
        check(wrong)
    assert str(caught.value).splitlines() == [
        "this recipe has 6 problems:",
        "  - epochs = 0; wanted at least 1",
        "  - centre = 'median'; known: geometric_median, mean, zero; did you mean 'mean'?",
        "  - directions = 'dta'; known: data, random; did you mean 'data'?",
        "  - dtype = 'float8'; known: float32, bfloat16, float16; did you mean 'float32'?",
        "  - k = 9 for 8 latents; wanted 1 <= k <= latents",
        "  - batch = 512 is larger than tokens = 100",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "k = 0 for 4,096 latents; wanted 1 <= k <= latents"),
        ({"k": 5000}, "k = 5,000 for 4,096 latents; wanted 1 <= k <= latents"),
        (
            {"selection": "topkk"},
            "selection = 'topkk'; known: relu, topk, batchtopk, jumprelu; did you mean 'topk'?",
        ),
        ({"batch": 2_000_000}, "batch = 2,000,000 is larger than tokens = 1,000,000"),
        ({"latents": 0, "selection": "relu"}, "latents = 0; wanted at least 1"),
        ({"context": -1}, "context = -1; wanted at least 1"),
    ],
)
def test_each_mistake_is_refused_in_words(changes, message):
    with pytest.raises(UserError) as caught:
        check(DictionaryRecipe(**changes))
    assert str(caught.value) == message


def test_a_relu_needs_no_k():
    check(DictionaryRecipe(selection="relu", k=0))


# --- a whole training ----------------------------------------------------------------------------


@pytest.mark.parametrize("selection", ["relu", "topk", "batchtopk"])
def test_a_training_writes_a_dictionary_that_loads(recipe, tmp_path, selection):
    recipe = replace(recipe, selection=selection)
    trained = train_dictionary(recipe, tmp_path / "run")
    loaded = files.load(tmp_path / "run" / "dictionary")
    assert (loaded.latents, loaded.width) == (32, 32)
    assert loaded.metadata["hook_name"] == recipe.site
    assert loaded.metadata["model_name"] == recipe.model
    assert loaded.metadata["trained_tokens"] == 512
    named = {"relu": "standard"}.get(selection, selection)
    assert loaded.metadata["training_architecture"] == named
    rows = open_source(recipe).source.rows(0, 200)
    with torch.no_grad():
        torch.testing.assert_close(loaded(rows), trained(rows))
        explained = 1 - (loaded(rows) - rows).square().sum() / (rows - rows.mean(0)).square().sum()
    assert float(explained) > 0.2, "sixteen steps from a start on the data explain something"
    torch.testing.assert_close(trained.W_dec.detach().norm(dim=1), torch.ones(32))


def test_batchtopk_keeps_k_latents_on_average_on_the_sample(recipe, tmp_path):
    trained = train_dictionary(recipe, tmp_path / "run")
    counts = trained.code(open_source(recipe).source.rows(0, 512)).counts.float()
    assert float(counts.mean()) == pytest.approx(recipe.k, rel=0.2)


def test_running_again_reads_the_finished_run(recipe, tmp_path, monkeypatch):
    first = train_dictionary(recipe, tmp_path / "run")
    files_before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    monkeypatch.setattr(
        "monosemy.training.loop.advance", lambda *_: pytest.fail("a step was taken")
    )
    assert same(train_dictionary(recipe, tmp_path / "run"), first)
    files_after = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    assert files_after == files_before


def test_the_same_recipe_gives_the_same_dictionary_bit_for_bit(recipe, tmp_path):
    assert same(
        train_dictionary(recipe, tmp_path / "one"), train_dictionary(recipe, tmp_path / "two")
    )


@pytest.mark.parametrize("step", [3, 10])
def test_a_stopped_training_goes_on_bit_for_bit(recipe, tmp_path, monkeypatch, step):
    whole = train_dictionary(recipe, tmp_path / "whole")
    import monosemy.training.loop as loop

    ordinary, taken = loop.advance, []

    def stopping(training, number):
        taken.append(number)
        if len(taken) == step:
            loop.signal.raise_signal(loop.signal.SIGTERM)
        return ordinary(training, number)

    monkeypatch.setattr(loop, "advance", stopping)
    with pytest.raises(Interrupted, match=f"stopped after step {step} of 16"):
        train_dictionary(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "dictionary").exists()
    assert same(train_dictionary(recipe, tmp_path / "run"), whole)
    assert taken == list(range(16)), "every step once"


def test_a_run_killed_before_its_dictionary_was_written_is_finished(recipe, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train_dictionary(recipe, tmp_path / "run")
    finished = train_dictionary(recipe, tmp_path / "run")
    assert same(finished, train_dictionary(recipe, tmp_path / "whole"))
    assert (tmp_path / "run" / "dictionary" / "cfg.json").exists()


def test_another_recipe_is_refused_where_a_run_stands(recipe, tmp_path):
    train_dictionary(recipe, tmp_path / "run")
    with pytest.raises(UserError) as caught:
        train_dictionary(replace(recipe, latents=40), tmp_path / "run")
    assert "holds a run with latents = 32, not 40" in str(caught.value)


def test_other_text_under_the_same_name_is_refused(recipe, tmp_path, text_folder):
    copy = tmp_path / "texts"
    copy.mkdir()
    for path in text_folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    recipe = replace(recipe, text=str(copy))
    train_dictionary(recipe, tmp_path / "run")
    for path in copy.iterdir():
        path.write_text("edited " + path.read_text())
    with pytest.raises(UserError, match="holds a run with source = "):
        train_dictionary(recipe, tmp_path / "run")


def test_shards_give_what_the_model_gives_bit_for_bit(recipe, tmp_path):
    live = train_dictionary(recipe, tmp_path / "live")
    setting = open_setting(recipe)
    capture(setting.loaded, [setting.site], setting.contexts, tmp_path / "acts", shard_tokens=100)
    from_disk = replace(recipe, shards=str(tmp_path / "acts"), model="not opened", text="nor this")
    assert same(train_dictionary(from_disk, tmp_path / "run"), live)


def test_a_run_tells_its_recipe(recipe, tmp_path):
    recipe = replace(recipe, random_model=7)
    train_dictionary(recipe, tmp_path / "run")
    assert read_run(tmp_path / "run") == recipe


def test_what_is_no_run_tells_none(tmp_path):
    with pytest.raises(UserError, match="the run's description is missing"):
        read_run(tmp_path)
    Journal(tmp_path / "other", {"steps": 3, "vocabulary": 300})
    with pytest.raises(UserError) as caught:
        read_run(tmp_path / "other")
    assert "unknown key 'vocabulary'" in str(caught.value)


def test_a_path_may_be_text(recipe, tmp_path):
    train_dictionary(recipe, str(tmp_path / "run"))  # type: ignore[arg-type]
    assert read_run(tmp_path / "run") == recipe


# --- what does not fit ---------------------------------------------------------------------------


def test_an_unknown_site_is_refused_with_the_nearest(recipe, tmp_path):
    with pytest.raises(UserError) as caught:
        train_dictionary(replace(recipe, site="blocks.0.mlp.hook_pots"), tmp_path / "run")
    assert "blocks.0.mlp.hook_pots" in str(caught.value)
    assert "did you mean 'blocks.0.mlp.hook_post'?" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_unknown_model_and_an_unknown_text_are_refused(recipe, tmp_path):
    for changes, message in (
        ({"model": "./no-such-model"}, "unknown model './no-such-model': no such folder"),
        ({"text": "./no-such-text"}, "unknown text source './no-such-text'"),
        ({"shards": str(tmp_path / "none")}, "none"),
    ):
        with pytest.raises(UserError, match=message):
            train_dictionary(replace(recipe, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_site_that_the_shards_do_not_hold_is_refused(recipe, tmp_path):
    setting = open_setting(recipe)
    capture(setting.loaded, [setting.site], setting.contexts, tmp_path / "acts")
    wrong = replace(recipe, shards=str(tmp_path / "acts"), site="blocks.0.hook_resid_post")
    with pytest.raises(UserError) as caught:
        train_dictionary(wrong, tmp_path / "run")
    assert "blocks.0.hook_resid_post" in str(caught.value)
    assert "blocks.0.mlp.hook_post" in str(caught.value), "what there is"


def test_a_site_of_another_width_is_refused(recipe, tmp_path):
    trained = train_dictionary(recipe, tmp_path / "run")
    with pytest.raises(UserError) as caught:
        trained.check_width(16, "site blocks.0.hook_resid_post")
    assert str(caught.value) == (
        "site blocks.0.hook_resid_post has 16 numbers an activation, the dictionary 32; "
        "name the site it was trained on (blocks.0.mlp.hook_post)"
    )


def test_less_text_than_a_batch_is_refused(recipe, tmp_path):
    assert split_of("short.md") == "train"
    (tmp_path / "short.md").write_text("def")
    with pytest.raises(UserError) as caught:
        train_dictionary(replace(recipe, text=str(tmp_path / "short.md")), tmp_path / "run")
    assert "a batch of 32 rows is more than the 3 activations there are" in str(caught.value)


# --- other structures ----------------------------------------------------------------------------

IN, OUT = "blocks.0.mlp.hook_in", "blocks.0.hook_mlp_out"
PLACES = {
    "transcoder": {"site": IN, "target": OUT},
    "skip_transcoder": {"site": IN, "target": OUT},
    "crosscoder": {"site": f"{IN},{OUT}"},
    "cross_layer": {"site": IN, "target": OUT},
}


@pytest.mark.parametrize("structure", PLACES)
@pytest.mark.parametrize("selection", ["topk", "batchtopk", "relu", "jumprelu"])
def test_every_structure_is_learned_and_measured(recipe, tmp_path, structure, selection):
    recipe = replace(recipe, structure=structure, selection=selection, **PLACES[structure])
    trained = train_dictionary(recipe, tmp_path / "run")
    loaded = files.load(tmp_path / "run" / "dictionary")
    opened = open_source(recipe)
    rows = opened.source.rows(0, 512)
    x, y = loaded.split(rows)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), trained(x))
        explained = 1 - (loaded(x) - y).square().sum() / (y - y.mean(0)).square().sum()
    assert float(explained) > 0.1
    assert sum(p.numel() for p in trained.parameters()) == parameters(
        recipe, opened.read, opened.written
    )
    measured = evaluate(tmp_path / "run", 300, random_model=False)
    assert measured.measured.estimates["explained_variance"].value > 0
    assert measured.measured.estimates["ce_spliced"].value is not None
    assert ("linear" in measured.controls) == (structure != "crosscoder")


def test_a_crosscoder_between_two_models_learns_from_both(recipe, tmp_path, model_folder):
    recipe = replace(recipe, structure="crosscoder", compare_with=str(model_folder))
    trained = train_dictionary(recipe, tmp_path / "run")
    assert trained.widths == (32, 32)
    # The same model twice: every latent lives in both alike.
    torch.testing.assert_close(trained.relative_norms(), torch.full((32, 2), 0.5), atol=0.2, rtol=0)
    measured = evaluate(tmp_path / "run", 300, random_model=False).measured
    assert measured.estimates["explained_variance"].value > 0
    assert measured.estimates["ce_spliced"].value is None


@pytest.mark.parametrize("encoder", ["gated", "lista", "matching_pursuit"])
def test_every_encoder_is_learned(recipe, tmp_path, encoder):
    selection = {"gated": "relu", "matching_pursuit": "topk"}.get(encoder, "batchtopk")
    recipe = replace(recipe, encoder=encoder, selection=selection)
    trained = train_dictionary(recipe, tmp_path / "run")
    rows = open_source(recipe).source.rows(0, 200)
    torch.testing.assert_close(files.load(tmp_path / "run" / "dictionary")(rows), trained(rows))
    count = sum(p.numel() for p in trained.parameters())
    assert count == parameters(recipe, (32,), (32,))


def test_end_to_end_lowers_the_divergence(recipe, tmp_path):
    slow = OptimConfig(learning_rate=1e-3)
    kl = EndToEndConfig(loss="kl")
    train_dictionary(replace(recipe, epochs=16, end_to_end=kl, optim=slow), tmp_path / "run")
    kl = [line["kl"] for line in read_metrics(tmp_path / "run")]
    assert kl[-1] < kl[0]


WRONG = {
    "transcoder: needs a target": {"structure": "transcoder"},
    "target = 'blocks.0.hook_mlp_out' is for transcoders": {"target": OUT},
    "a crosscoder reads several sites": {"structure": "crosscoder"},
    "autoencoder: reads one site": {"site": f"{IN},{OUT}"},
    "compare_with is for a crosscoder": {"compare_with": "specimen"},
    "whiten = true mixes all numbers of one site": {"whiten": True, **PLACES["crosscoder"],
                                                    "structure": "crosscoder"},
    "encoder = 'gated' chooses by its gate": {"encoder": "gated"},
    "encoder = 'lista' explains what it reads": {
        "encoder": "lista", "structure": "transcoder", **PLACES["transcoder"]},
    "encoder = 'matching_pursuit' chooses one latent at a time": {"encoder": "matching_pursuit"},
    "end-to-end training runs the model on text": {
        "end_to_end": EndToEndConfig(loss="kl"), "shards": "acts"},
}  # fmt: skip


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_go_together_is_refused_before_work_starts(recipe, message):
    check(recipe)
    with pytest.raises(UserError, match=message):
        check(replace(recipe, **WRONG[message]))


# --- every option counts -------------------------------------------------------------------------

EFFECTS = {
    "site": "blocks.0.mlp.hook_pre",
    "random_model": 1,
    "tokens": 256,
    "epochs": 2,
    "context": 8,
    "latents": 24,
    "selection": "relu",
    "k": 2,
    "batch": 16,
    "block": 64,
    "centre": "zero",
    "whiten": True,
    "encoder": "lista",
    "directions": "data",
    "seed": 1,
    "dtype": "bfloat16",
}
NESTED = {
    "objective": {
        "l1": 0.5, "l0": 0.5, "warmup": 3, "prefixes": (0.5, 1.0), "k_start": 8,
        "k_fall": 0.9, "aux": 5.0, "aux_k": 1, "dead_after": 10**9, "l0_form": "tanh",
        "tanh_slope": 1.0, "target_l0": 2.0, "decoder": "free", "prefixes_sampled": 2,
        "resample_every": 4, "resample_until": 0.01, "prefixes_by": "frequency",
        "prefixes_detached": True, "tilt": 2.0,
    },
    "optim": {
        "learning_rate": 0.02, "warmup": 0.9, "decay": 0.9, "betas": (0.5, 0.9),
        "weight_decay": 0.5, "clip": 1e-3, "rows": "active",
    },
    "end_to_end": {
        "loss": "kl", "reconstruction": 0.5, "downstream": 0.5,
        "downstream_sites": ("blocks.0.hook_resid_post",),
    },
}  # fmt: skip
END_TO_END = EndToEndConfig(loss="ce", downstream=0.1, downstream_sites=("blocks.0.hook_mlp_out",))
# What else has to be asked for, so that an option counts.
WHERE_IT_COUNTS = {
    "l0": {"selection": "jumprelu"},  # where thresholds learn
    "l0_form": {"selection": "jumprelu"},
    "target_l0": {"selection": "relu"},
}
OBJECTIVES = {
    "rows": {"aux": 0.0},  # where some are silent; AuxK would wake them
    "l0_form": {"l0": 0.5},
    "tanh_slope": {"l0": 0.5, "l0_form": "tanh"},
    "resample_until": {"resample_every": 4},
    "prefixes_by": {"prefixes": (0.3, 0.6, 1.0)},
    "prefixes_detached": {"prefixes": (0.3, 0.6, 1.0)},
}
PATHS = ("model", "text", "shards")
# Held by tests of their own: a structure changes places, and places make a structure.
STRUCTURE = ("structure", "target", "compare_with")
# What is drawn from in the place of text; test_setting.py opens it.
WORLD = ("world", "world_seed")
WITHOUT_EFFECT_ON_NUMBERS = {
    "device": "where they are computed",
    "checkpoint": "how often a state is saved",
    "precision": "what proposes; the same latents survive",
    "memory": "when a run is refused",
}


# Each of its keys is shown to have an effect in tests/training/test_local.py.
CHILDREN = ("local",)


def test_every_option_is_accounted_for():
    named = {*CHILDREN, *EFFECTS, *NESTED, *PATHS, *STRUCTURE, *WORLD, *WITHOUT_EFFECT_ON_NUMBERS}
    assert named == {field.name for field in fields(DictionaryRecipe)}
    for name, inner in NESTED.items():
        kind = type(getattr(DictionaryRecipe(), name))
        assert set(inner) == {field.name for field in fields(kind)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Trainings by recipe, each made once."""
    made = {}

    def train(recipe):
        if recipe not in made:
            made[recipe] = train_dictionary(recipe, tmp_path_factory.mktemp("runs") / "run")
        return made[recipe]

    return train


@pytest.fixture
def lively(recipe, monkeypatch) -> DictionaryRecipe:
    """A recipe whose dictionary has dead latents, so that AuxK matters too."""
    monkeypatch.setattr(module, "START_ROWS", 64)
    objective = replace(recipe.objective, dead_after=32, k_start=4)
    return replace(recipe, k=1, latents=32, objective=objective)


@pytest.mark.parametrize(("name", "value"), EFFECTS.items())
def test_every_option_has_an_effect(lively, trained, name, value):
    assert not same(trained(lively), trained(replace(lively, **{name: value})))


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [(table, name, value) for table, inner in NESTED.items() for name, value in inner.items()],
)
def test_every_nested_option_has_an_effect(lively, trained, table, name, value):
    lively = replace(lively, **WHERE_IT_COUNTS.get(name, {}))
    if table == "end_to_end":
        lively = replace(lively, end_to_end=END_TO_END)
    if name in OBJECTIVES:
        lively = replace(lively, objective=replace(lively.objective, **OBJECTIVES[name]))
    inner = replace(getattr(lively, table), **{name: value})
    assert not same(trained(lively), trained(replace(lively, **{table: inner})))


def test_every_path_has_an_effect(lively, trained, tmp_path, model_folder, text_folder):
    from safetensors.torch import load_file, save_file

    other = tmp_path / "model"
    other.mkdir()
    for path in Path(model_folder).iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    weights = load_file(other / "model.safetensors")
    weights["transformer.h.0.mlp.c_fc.weight"] *= 1.5
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    text = tmp_path / "texts"
    text.mkdir()
    for path in text_folder.iterdir():
        (text / path.name).write_text(path.read_text()[::-1])
    setting = open_setting(replace(lively, text=str(text)))
    capture(setting.loaded, [setting.site], setting.contexts, tmp_path / "acts")
    for changes in (
        {"model": str(other)},
        {"text": str(text)},
        {"shards": str(tmp_path / "acts")},
    ):
        assert not same(trained(lively), trained(replace(lively, **changes))), changes


def test_how_often_a_state_is_saved_has_none(lively, trained):
    assert same(trained(lively), trained(replace(lively, checkpoint=1)))
