"""What a recipe names is opened in its places, and what does not fit is refused first."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from monosemy.data.capture import capture
from monosemy.data.text import open_corpus
from monosemy.foundation.errors import UserError
from monosemy.models import tap
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import (
    find_places,
    load_models,
    load_places,
    open_setting,
    open_source,
    reading_of,
    width_reasons,
)
from monosemy.training.end_to_end import EndToEndConfig
from monosemy.training.local_config import LocalConfig

BEFORE, MIDDLE, AFTER = (f"blocks.0.hook_resid_{part}" for part in ("pre", "mid", "post"))
NEURONS, WRITTEN = "blocks.0.mlp.hook_post", "blocks.0.hook_mlp_out"


@pytest.fixture
def make_other(model_folder: Path, tmp_path: Path) -> Callable[..., str]:
    """Another model folder with the same tokenizer, and a configuration of its own."""

    def make(name: str, **changes: int) -> str:
        folder = tmp_path / name
        config = GPT2Config.from_pretrained(model_folder)
        for key, value in changes.items():
            setattr(config, key, value)
        GPT2LMHeadModel(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
        return str(folder)

    return make


def crosscoder(recipe: DictionaryRecipe, *sites: str, **changes) -> DictionaryRecipe:
    return replace(recipe, site=",".join(sites), structure="crosscoder", **changes)


def transcoder(recipe: DictionaryRecipe, site: str, target: str, **changes) -> DictionaryRecipe:
    return replace(
        recipe, **({"site": site, "target": target, "structure": "transcoder"} | changes)
    )


def names(sites) -> list[str]:
    return [site.name for site in sites]


# --- places --------------------------------------------------------------------------------------


def test_what_reconstructs_what_it_reads_has_one_place(recipe):
    places = load_places(recipe)
    assert names(places.columns) == names(places.writes) == [NEURONS]
    read, written = places.widths
    assert read == (32,)
    assert written is read, "one tuple says that nothing else is written"


def test_a_transcoder_has_what_it_writes_beside_what_it_reads(recipe):
    places = load_places(transcoder(recipe, BEFORE, NEURONS))
    assert names(places.columns) == [BEFORE, NEURONS]
    assert places.widths == ((16,), (32,))


def test_sites_are_in_order_of_computation_and_each_once(recipe):
    places = load_places(crosscoder(recipe, AFTER, "blocks.0.hook_resid_*"))
    assert names(places.reads) == [BEFORE, MIDDLE, AFTER]


def test_several_models_lie_one_after_the_other_each_with_its_own_widths(recipe, make_other):
    other = make_other("narrow", n_embd=8)
    opened = open_source(crosscoder(recipe, BEFORE, NEURONS, compare_with=other))
    assert opened.read == (16, 32, 8, 32)
    assert opened.written is opened.read
    rows = opened.source.rows(0, 5)
    setting = opened.setting
    for loaded, columns in zip(setting.places.models, rows.split([48, 40], dim=1), strict=True):
        group = setting.contexts[:1]
        read = tap.read(loaded.model, setting.places.reads, group.ids, None)
        ours = torch.cat([read[name][group.kept][:5] for name in (BEFORE, NEURONS)], dim=1)
        torch.testing.assert_close(columns, ours)


def test_random_weights_are_those_of_the_seed(recipe):
    def weight(seed: int | None) -> torch.Tensor:
        (loaded,) = load_models(replace(recipe, random_model=seed))
        return loaded.model.transformer.h[0].mlp.c_fc.weight

    assert torch.equal(weight(1), weight(1))
    assert not torch.equal(weight(1), weight(2))
    assert not torch.equal(weight(1), weight(None))


def test_several_recipes_find_their_places_in_the_same_models(recipe):
    models = load_models(recipe)
    one, other = (find_places(own, models) for own in (recipe, replace(recipe, site=BEFORE)))
    assert one.loaded is other.loaded is models[0]
    assert (names(one.reads), names(other.reads)) == ([NEURONS], [BEFORE])


# --- text and activations ------------------------------------------------------------------------


def test_a_setting_holds_the_text_of_its_split(recipe):
    train, heldout = open_setting(recipe), open_setting(recipe, "heldout", 100)
    assert (train.contexts.tokens, heldout.contexts.tokens) == (512, 100)
    assert train.contexts.length == 16
    assert heldout.corpus.name == open_corpus(recipe.text, "heldout").name
    assert not {d.name for d in train.corpus.documents} & {d.name for d in heldout.corpus.documents}
    assert train.site.name == NEURONS
    assert train.source().width == 32


def test_contexts_are_no_longer_than_the_shortest_model_takes(recipe, make_other):
    assert open_setting(replace(recipe, context=256)).contexts.length == 32
    short = make_other("short", n_positions=8)
    both = crosscoder(recipe, BEFORE, compare_with=short)
    assert open_setting(both).contexts.length == 8


def test_shards_give_the_rows_that_the_model_gives(recipe, tmp_path):
    live = open_source(transcoder(recipe, BEFORE, NEURONS))
    setting = live.setting
    capture(setting.loaded, list(setting.places.columns), setting.contexts, tmp_path)
    stored = open_source(transcoder(recipe, BEFORE, NEURONS, shards=str(tmp_path)))
    assert stored.setting is None
    assert (stored.read, stored.written) == (live.read, live.written) == ((16,), (32,))
    torch.testing.assert_close(stored.source.rows(0, 300), live.source.rows(0, 300))
    alone = open_source(replace(recipe, shards=str(tmp_path)))
    assert alone.written is alone.read


def test_sites_of_shards_stay_in_the_order_that_was_learned(recipe, tmp_path):
    setting = open_setting(crosscoder(recipe, BEFORE, NEURONS))
    capture(setting.loaded, list(setting.places.columns), setting.contexts, tmp_path)
    backwards = crosscoder(recipe, NEURONS, BEFORE, shards=str(tmp_path))
    rows = open_source(backwards).source.rows(0, 20)
    read = open_setting(backwards)
    assert names(read.places.reads) == [NEURONS, BEFORE]
    torch.testing.assert_close(read.source().rows(0, 20), rows)
    live = open_setting(replace(backwards, shards=None))
    assert names(live.places.reads) == [BEFORE, NEURONS]


def test_the_reading_knows_models_places_and_text(recipe):
    places = load_places(transcoder(recipe, BEFORE, NEURONS))
    reading = reading_of(places, open_corpus(recipe.text), 300)
    assert (reading.read, reading.written, reading.tokens) == ((16,), (32,), 300)


# --- refused -------------------------------------------------------------------------------------


def refusal(recipe: DictionaryRecipe, work: Callable = load_places) -> str:
    with pytest.raises(UserError) as caught:
        work(recipe)
    return str(caught.value)


def uneven(*targets: str) -> str:
    return (
        "a cross-layer transcoder reads and writes as many places, all of one width; "
        f"site: {BEFORE} (16); target: {', '.join(targets)}"
    )


def test_places_that_no_transcoder_reads_and_writes(recipe):
    same = transcoder(recipe, BEFORE, BEFORE)
    said = f"site and target are both {BEFORE}; an autoencoder would do"
    assert refusal(same) == said
    several = transcoder(recipe, f"{BEFORE},{AFTER}", "blocks.0.hook_resid_p*")
    several = replace(several, structure="cross_layer")
    assert refusal(several) == said.replace(BEFORE, f"{BEFORE}, {AFTER}")
    layers = transcoder(recipe, BEFORE, f"{WRITTEN},{NEURONS}", structure="cross_layer")
    assert refusal(layers) == uneven(f"{NEURONS} (32)", f"{WRITTEN} (16)")
    load_places(transcoder(recipe, BEFORE, WRITTEN, structure="cross_layer"))


def test_shards_are_refused_for_the_same_reasons(recipe, tmp_path):
    setting = open_setting(crosscoder(recipe, BEFORE, NEURONS, WRITTEN))
    capture(setting.loaded, list(setting.places.columns), setting.contexts, tmp_path)
    stored = replace(recipe, shards=str(tmp_path))
    same = transcoder(stored, BEFORE, BEFORE)
    assert refusal(same, open_source) == refusal(replace(same, shards=None))
    layers = transcoder(stored, BEFORE, f"{WRITTEN},{NEURONS}", structure="cross_layer")
    assert refusal(layers, open_source) == uneven(f"{WRITTEN} (16)", f"{NEURONS} (32)")
    open_source(transcoder(stored, BEFORE, WRITTEN, structure="cross_layer"))
    several = crosscoder(stored, BEFORE, compare_with=recipe.model)
    assert refusal(several, open_source) == (
        "shards hold one model's activations; compare_with reads several models"
    )


def test_the_width_matters_and_not_only_the_number(recipe):
    layers = replace(recipe, structure="cross_layer")
    assert width_reasons(layers, {"a": 4}, {"b": 4}) == []
    assert width_reasons(layers, {"a": 4, "b": 4}, {"b": 4, "c": 4}) == []
    (reason,) = width_reasons(layers, {"a": 4}, {"b": 8})
    assert reason.endswith("site: a (4); target: b (8)")
    assert width_reasons(replace(recipe, structure="transcoder"), {"a": 4}, {"b": 8}) == []


def test_models_that_cannot_be_compared_for_all_reasons_at_once(recipe, make_other):
    more = make_other("more", vocab_size=300)
    both = crosscoder(recipe, BEFORE, compare_with=more)
    assert refusal(both) == (
        f"{more} knows 300 tokens and {recipe.model} 257; models that are compared must read the "
        "same tokens"
    )
    deeper = replace(both, model=make_other("deeper", n_layer=2), site="blocks.1.hook_resid_pre")
    first, tokens, site = refusal(deeper).splitlines()
    assert first == "this recipe has 2 problems:"
    assert "models that are compared must read the same tokens" in tokens
    assert site.startswith(f"  - {more}: ")
    assert "blocks.1.hook_resid_pre" in site


def test_end_to_end_training_looks_after_where_it_writes(recipe):
    lively = replace(recipe, end_to_end=EndToEndConfig(downstream=1.0, downstream_sites=(BEFORE,)))
    assert refusal(replace(lively, site=AFTER)) == (
        f"downstream site {BEFORE} does not come after {AFTER}, where the reconstruction is "
        "spliced in; name later sites"
    )


def test_a_world_is_opened_in_the_place_of_text():
    recipe = DictionaryRecipe(world="conditional-rotated", tokens=3000)
    opened = open_source(recipe)
    assert opened.setting is None
    assert opened.read is opened.written
    assert (opened.read, opened.source.tokens) == ((48,), 3000)
    rows = opened.source.rows(0, 100)
    assert torch.equal(rows, open_source(recipe).source.rows(0, 100))
    for change in ({"world": "conditional-unshared"}, {"world_seed": 1}, {"seed": 1}):
        other = open_source(replace(recipe, **change)).source
        assert not torch.equal(rows, other.rows(0, 100)), change
        assert other.fingerprint != opened.source.fingerprint


def test_a_world_has_no_text():
    recipe = DictionaryRecipe(world="conditional-rotated")
    with pytest.raises(
        UserError, match="has no text; compare with its features: monosemy truth run"
    ):
        open_setting(recipe, "heldout")


def test_memory_of_a_world_is_kept_within_bounds():
    recipe = DictionaryRecipe(world="conditional-rotated", memory=10)
    with pytest.raises(UserError, match="and memory = 10 allows less"):
        open_source(recipe)


@pytest.mark.parametrize("encoder", ["local", "hierarchical"])
def test_charts_of_higher_rank_than_the_width_are_refused_before_anything_runs(
    recipe, encoder, tmp_path
):
    config = LocalConfig(rank=33)
    live = replace(recipe, encoder=encoder, selection="batchtopk", k=4, local=config, latents=64)
    text = (
        "local.rank = 33 where activations have 32 numbers; a chart has at most as many dimensions"
    )
    setting = open_setting(recipe)
    capture(setting.loaded, list(setting.places.columns), setting.contexts, tmp_path)
    world = replace(live, world="conditional-rotated", local=LocalConfig(rank=49))
    for wrong, said in (
        (live, text), (replace(live, shards=str(tmp_path)), text),
        (world, text.replace("33", "49").replace("32", "48")),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            open_source(wrong)
        assert str(caught.value) == said
    open_source(replace(live, local=LocalConfig(rank=32)))
