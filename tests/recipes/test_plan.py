from dataclasses import asdict, replace

import pytest

from monosemy.data.capture import capture
from monosemy.foundation.errors import UserError
from monosemy.models.loading import load
from monosemy.recipes.dictionary import begin, open_setting, train_dictionary
from monosemy.recipes.plan import plan
from monosemy.training.start import look


def test_a_plan_has_every_part_and_no_number_is_below_zero(recipe):
    made = plan(recipe)
    assert made["recipe"] == asdict(recipe)
    assert made["site"] == {"name": "blocks.0.mlp.hook_post", "width": 32}
    assert (made["steps"], made["tokens"]) == (16, 512)
    memory = made["memory_mib"]
    assert set(memory) == {"libraries", "model", "dictionary", "block", "step", "saving", "total"}
    assert memory["total"] == sum(size for name, size in memory.items() if name != "total")
    assert memory["libraries"] > 0
    seconds = made["seconds"]
    assert set(seconds) == {"reading", "steps", "total"}
    assert all(number >= 0 for number in (*memory.values(), *seconds.values()))
    assert made["checkpoint_mib"] >= 0


def test_parameters_are_counted_exactly(recipe):
    recipe = replace(recipe, latents=48, site="blocks.0.hook_resid_post")
    rows = load(recipe.model).model.transformer.wte.weight.detach()
    dictionary = begin(recipe, rows, look(rows), 10).module
    assert plan(recipe)["parameters"] == sum(p.numel() for p in dictionary.parameters())


def test_the_steps_are_those_that_training_takes(recipe, tmp_path):
    recipe = replace(recipe, epochs=2, tokens=200)
    dictionary = train_dictionary(recipe, tmp_path / "run")
    made = plan(recipe)
    assert made["steps"] == 2 * 6
    assert dictionary.metadata["trained_tokens"] == made["steps"] * recipe.batch


def test_sizes_grow_with_what_is_held(recipe):
    large = replace(recipe, latents=4096, batch=4096, tokens=2**20, block=2**19)
    memory = plan(replace(large, batch=512))["memory_mib"]
    # 2 * 4096 * 32 weights and biases, with gradients and two moments, in float32: 4.06 MiB.
    assert memory["dictionary"] == 4
    assert memory["block"] == 2**19 * 32 * 4 / 2**20
    assert memory["step"] == 512 * 4096 * 4 * 3 / 2**20


def test_shards_cost_no_reading_and_say_how_many_there_are(recipe, tmp_path):
    setting = open_setting(replace(recipe, tokens=300))
    capture(setting.loaded, [setting.site], setting.contexts, tmp_path / "acts")
    made = plan(replace(recipe, shards=str(tmp_path / "acts"), epochs=2))
    assert made["seconds"]["reading"] == 0
    assert (made["tokens"], made["steps"]) == (600, 2 * (300 // 32))
    assert plan(recipe)["tokens"] == 512


def test_a_plan_refuses_what_a_training_would(recipe):
    with pytest.raises(UserError, match="k = 99 for 32 latents"):
        plan(replace(recipe, k=99))
    with pytest.raises(UserError, match="unknown model './nowhere'"):
        plan(replace(recipe, model="./nowhere"))
    with pytest.raises(UserError, match="nowhere"):
        plan(replace(recipe, shards="./nowhere"))
