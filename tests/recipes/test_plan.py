from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from monosemy.data.capture import capture
from monosemy.data.text import open_corpus
from monosemy.foundation.errors import UserError
from monosemy.models.loading import load
from monosemy.recipes.dictionary import begin, train_dictionary
from monosemy.recipes.memory import Reading
from monosemy.recipes.plan import _time_step, _time_text, plan
from monosemy.recipes.setting import Widths, load_places, open_setting
from monosemy.training.end_to_end import EndToEndConfig
from monosemy.training.start import look

NEURONS = (32,)
READING = Reading(512, NEURONS, NEURONS, sample=100, row_bytes=128)


def test_a_plan_has_every_part_and_no_number_is_below_zero(recipe):
    made = plan(recipe)
    assert made["recipe"] == asdict(recipe)
    assert made["site"] == {"name": "blocks.0.mlp.hook_post", "width": 32}
    assert (made["steps"], made["tokens"]) == (16, 512)
    memory = made["memory_mib"]
    names = "libraries model text activations dictionary charts step passing total"
    assert set(memory) == set(names.split())
    assert memory["total"] == sum(size for name, size in memory.items() if name != "total")
    assert memory["libraries"] > 0
    seconds = made["seconds"]
    assert set(seconds) == {"text", "reading", "steps", "total"}
    assert all(number >= 0 for number in (*memory.values(), *seconds.values()))
    assert made["checkpoint_mib"] >= 0


def test_parameters_are_counted_exactly(recipe):
    recipe = replace(recipe, latents=48, site="blocks.0.hook_resid_post")
    rows = load(recipe.model).model.transformer.wte.weight.detach()
    widths = Widths((16,), (16,))
    dictionary = begin(recipe, widths, rows, look(rows), 10).module
    assert plan(recipe)["parameters"] == sum(p.numel() for p in dictionary.parameters())


def test_the_steps_are_those_that_training_takes(recipe, tmp_path):
    recipe = replace(recipe, epochs=2, tokens=200)
    dictionary = train_dictionary(recipe, tmp_path / "run")
    made = plan(recipe)
    assert made["steps"] == 2 * 6
    assert dictionary.metadata["trained_tokens"] == made["steps"] * recipe.batch


def test_sizes_grow_with_what_is_held(recipe):
    """Their arithmetic is held by test_memory.py."""
    large = replace(recipe, latents=4096, tokens=2**20, block=2**19)
    memory, small = plan(large)["memory_mib"], plan(recipe)["memory_mib"]
    # 2 * 4096 * 32 weights, with gradients and two moments, in float32.
    assert memory["dictionary"] == 4
    assert memory["activations"] >= 2**19 * 32 * 4 / 2**20
    assert memory["total"] > small["total"] + 60


def test_seconds_are_counted_for_every_token_and_step(recipe, monkeypatch):
    monkeypatch.setattr("monosemy.recipes.plan._time_text", lambda *_: 0.5)
    monkeypatch.setattr("monosemy.recipes.plan._time_reading", lambda *_: 0.25)
    monkeypatch.setattr("monosemy.recipes.plan._time_step", lambda *_: 2.0)
    seconds = plan(replace(recipe, epochs=2))["seconds"]
    assert seconds == {"text": 256.0, "reading": 256.0, "steps": 64.0, "total": 576.0}


def test_steps_are_timed_at_both_ends_where_k_falls(recipe, monkeypatch):
    """A step with k_start active latents takes 3 s here, one with k takes 1 s."""
    asked = replace(recipe, objective=replace(recipe.objective, k_start=8, k_fall=0.5))
    seen = []

    def advance(program, optimiser, batch, step):
        program.loss(batch)
        seen.append(program.module.selection.k)

    def seconds(work):
        work()
        return 3.0 if seen[-1] == 8 else 1.0

    monkeypatch.setattr("monosemy.recipes.plan.advance_program", advance)
    monkeypatch.setattr("monosemy.recipes.plan._median_seconds", seconds)
    assert _time_step(asked, READING) == 3.0 * 0.25 + 1.0 * 0.75
    assert seen == [8, 4]
    assert _time_step(recipe, READING) == 1.0
    assert seen == [8, 4, 4]


def test_end_to_end_the_model_runs_four_times(recipe, monkeypatch):
    monkeypatch.setattr("monosemy.recipes.plan._time_pass", lambda *_: 0.25)
    asked = replace(recipe, end_to_end=EndToEndConfig(loss="kl"))
    assert plan(asked)["seconds"]["reading"] == 4 * 0.25 * 512


def test_text_is_timed_on_a_part_of_it(recipe, monkeypatch):
    seen = []

    def pack(corpus, *_):
        seen.append(corpus.characters)
        return SimpleNamespace(tokens=10)

    loaded, corpus = load_places(recipe).loaded, open_corpus(recipe.text)
    monkeypatch.setattr("monosemy.recipes.plan.pack", pack)
    for tried, characters in ((1 << 17, corpus.characters), (300, 300)):
        monkeypatch.setattr("monosemy.recipes.plan._TRIED", tried)
        assert _time_text(recipe, loaded, corpus) > 0
        assert seen.pop() == characters


def test_shards_cost_no_reading_and_say_how_many_there_are(recipe, tmp_path):
    setting = open_setting(replace(recipe, tokens=300))
    capture(setting.loaded, [setting.site], setting.contexts, tmp_path / "acts")
    made = plan(replace(recipe, shards=str(tmp_path / "acts"), epochs=2))
    assert made["seconds"]["reading"] == made["seconds"]["text"] == 0
    assert made["memory_mib"]["model"] == made["memory_mib"]["text"] == 0
    assert (made["tokens"], made["steps"]) == (600, 2 * (300 // 32))
    assert plan(recipe)["tokens"] == 512


def test_a_plan_refuses_what_a_training_would(recipe):
    with pytest.raises(UserError, match="k = 99 for 32 latents"):
        plan(replace(recipe, k=99))
    with pytest.raises(UserError, match="memory = 300 allows less"):
        plan(replace(recipe, memory=300))
    with pytest.raises(UserError, match="unknown model './nowhere'"):
        plan(replace(recipe, model="./nowhere"))
    with pytest.raises(UserError, match="nowhere"):
        plan(replace(recipe, shards="./nowhere"))
