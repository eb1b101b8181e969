"""The larger model computes the same: every family, every expansion, any order; and what is refused."""

import copy
from dataclasses import replace

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monosemy.foundation.errors import UserError
from monosemy.growth import expand as module
from monosemy.growth import layout
from monosemy.growth.double import build
from monosemy.growth.expand import expand, problems, steps
from monosemy.growth.families import FAMILIES, family_of
from monosemy.growth.proof import EXACT, differ
from monosemy.growth.shapes import Growth, shape_of
from monosemy.tensors.compute import Compute


def _fits(model, growth):
    """`growth` with heads and stream that this family can have together."""
    family = family_of(model.config)
    shape = shape_of(model.config, family)
    if family.norms_heads:
        growth = replace(growth, key=0)
    if family.tied:
        wanted = (shape.heads + growth.heads) * (shape.head + growth.key)
        return replace(growth, value=growth.key, residual=wanted - shape.width)
    heads = growth.heads * shape.heads // shape.groups
    many = shape.heads + heads
    residual = -(-(shape.width + growth.residual) // many) * many - shape.width
    return replace(growth, heads=heads, value=growth.key, residual=residual)


ONE = {
    "mlp": Growth(mlp=7),
    "heads": Growth(heads=2),
    "keys and values": Growth(key=4),
    "stream": Growth(residual=20),
    "layers": Growth(layers=2),
    "all": Growth(3, 1, 2, 2, 9, 1),
}


@pytest.mark.parametrize("name", ONE)
def test_the_function_stays(model, ids, name):
    growth = _fits(model, ONE[name])
    if growth == Growth():
        pytest.skip("this family ties the stream to its heads, or normalises them")
    larger = expand(model, growth).model
    moved = differ(model, larger, ids)
    assert moved.relative <= EXACT
    assert moved.largest > 0.1
    assert larger.num_parameters() > model.num_parameters()


@pytest.mark.parametrize("kind", ["gpt2", "gpt2, untied", "gpt_neox", "llama", "gemma2", "opt"])
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.builds(Growth, mlp=st.integers(0, 5), heads=st.integers(0, 2),
                          key=st.integers(0, 2).map(lambda n: 2 * n), residual=st.integers(0, 9),
                          layers=st.integers(0, 1)), min_size=1, max_size=3))  # fmt: skip
def test_any_growths_in_any_order(tiny, kind, ids, growths):
    model = larger = tiny(kind)
    for growth in growths:
        growth = _fits(larger, growth)
        if growth != Growth():
            larger = expand(larger, growth).model
    assert differ(model, larger, ids).relative <= EXACT


def test_in_single_precision(model, ids):
    single = build(type(model), model.config, model.state_dict(), torch.float32, "eager")
    larger = expand(single, _fits(model, ONE["all"])).model
    assert larger.dtype == torch.float32
    assert differ(single, larger, ids).relative < 1e-5


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "llama", "gemma2"])
def test_text_drawn_with_a_cache_stays(tiny, kind, ids):
    model = tiny(kind)
    larger = expand(model, _fits(model, ONE["all"])).model
    words = [build(type(one), one.config, one.state_dict(), torch.float32, "eager").generate(
        ids[:, :4], max_new_tokens=10, do_sample=False, eos_token_id=None)
        for one in (model, larger)]  # fmt: skip
    assert words[0].shape[1] == 14
    assert torch.equal(*words)


def test_files_open_with_the_library_alone(model, ids, tmp_path):
    larger = expand(model, _fits(model, ONE["all"])).model
    final = build(type(larger), larger.config, larger.state_dict(), torch.float32, "eager")
    final.save_pretrained(tmp_path)
    opened = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert type(opened) is type(model)
    single = build(type(model), model.config, model.state_dict(), torch.float32, "eager")
    assert differ(single, opened, ids).relative < 1e-5


def test_every_new_axis_learns(model, ids):
    """After two steps something of each new index of each axis has moved, in every matrix."""
    grown = expand(model, _fits(model, ONE["all"]))
    larger, family = grown.model, family_of(model.config)
    before = layout.read(copy.deepcopy(larger), family, grown.plan.after)
    larger.requires_grad_(True)
    optimiser = torch.optim.Adam(larger.parameters(), lr=1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        larger(ids, labels=ids).loss.backward()
        optimiser.step()
    after = layout.read(larger, family, grown.plan.after)
    plan = grown.plan
    made = {"q": plan.queries, "k": plan.keys, "v": plan.values, "gate": plan.neurons,
            "up": plan.neurons, "o": plan.stream, "down": plan.stream}  # fmt: skip
    read = {"o": plan.mixed, "down": plan.neurons}
    for old, new in zip(before.blocks, after.blocks, strict=True):
        for name, axis in made.items():
            if f"{name}.weight" not in new:
                continue
            moved = (new[f"{name}.weight"] - old[f"{name}.weight"]).abs()
            # ReLU leaves some neurons silent on every token.
            share = 0.2 if family.inner == "ffn_dim" and name in ("up", "down") else 1.0
            assert (moved[axis.new].amax(1) > 0).float().mean() >= share, name
            columns = read.get(name, plan.stream)
            assert (moved[:, columns.new].amax(0) > 0).float().mean() >= share, name
    embed = (after.outside["embed"] - before.outside["embed"]).abs()
    assert (embed[:, plan.stream.new].amax(0) > 0).all()
    changed = [(b - a).abs().max() for a, b in zip(before.blocks[-1].values(),
                                                   after.blocks[-1].values(), strict=True)]  # fmt: skip
    assert sum(float(one) > 0 for one in changed) > len(changed) / 2


def test_the_silent_side_gets_a_gradient_at_once(model, ids):
    """Where one side of a new axis is 0 and the other is not, the first gradient is not 0."""
    grown = expand(model, replace(_fits(model, ONE["all"]), layers=0))
    slopes, family, plan = copy.deepcopy(grown.model), family_of(model.config), grown.plan
    grown.model.requires_grad_(True)(ids, labels=ids).loss.backward()
    slopes.load_state_dict({name: p.grad for name, p in grown.model.named_parameters(
        remove_duplicate=False) if p.grad is not None})  # fmt: skip
    found = layout.read(slopes, family, plan.after)
    assert found.outside["embed"][:, plan.stream.new].abs().max() > 0
    for weights in found.blocks:
        o, down, k = (weights[f"{name}.weight"] for name in ("o", "down", "k"))
        silent = (o[plan.stream.new], o[:, plan.mixed.new], down[:, plan.neurons.new],
                  k[plan.new_keys])  # fmt: skip
        assert all(one.abs().max() > 0 for one in silent if one.numel())


# --- negative controls: one constraint broken must fail the same comparison ----------------------


@pytest.mark.parametrize("kind", ["gpt2", "gpt2, untied", "gpt_neox", "llama", "qwen2"])
def test_an_epsilon_left_alone_is_seen(tiny, kind, ids):
    model = tiny(kind)
    larger = expand(model, _fits(model, ONE["all"])).model
    config, key = copy.deepcopy(larger.config), family_of(model.config).eps
    setattr(config, key, getattr(model.config, key))
    wrong = build(type(larger), config, larger.state_dict(), torch.float64, "eager")
    assert differ(model, wrong, ids).relative > 1e3 * EXACT


@pytest.mark.parametrize("kind", ["gpt2", "gpt2, untied", "gpt_neox", "opt"])
def test_a_stream_that_was_not_centred_is_seen(tiny, kind, ids, monkeypatch):
    model = tiny(kind)
    growth, family = _fits(model, ONE["all"]), family_of(model.config)
    monkeypatch.setitem(FAMILIES, model.config.model_type, replace(family, centres=False))
    assert differ(model, expand(model, growth).model, ids).relative > 1e-3


@pytest.mark.parametrize("name", ["key", "gain", "stream"])
def test_an_old_weight_that_is_not_scaled_is_seen(tiny, ids, monkeypatch, name):
    model = tiny("opt" if name == "stream" else "gpt2")
    right = module.factors
    monkeypatch.setattr(module, "factors", lambda *given: replace(right(*given), **{name: 1.0}))
    moved = differ(model, expand(model, _fits(model, ONE["keys and values"])).model, ids)
    assert moved.relative > 1e-6


def test_rotary_positions_left_alone_are_seen(tiny, ids, monkeypatch):
    model = tiny("llama")
    monkeypatch.setattr(module.rotary, "kept", lambda *given: {})
    assert differ(model, expand(model, Growth(key=4, value=4)).model, ids).relative > 1e-6


# --- what is free, what is fixed -----------------------------------------------------------------


def test_the_model_itself_is_left_alone(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    stated = model.config.to_dict()
    expand(model, _fits(model, ONE["all"]))
    assert model.config.to_dict() == stated
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_seed_fixes_what_is_free_and_init_scales_it(tiny):
    model = tiny("llama")
    grown = {
        key: expand(model, Growth(mlp=400), Compute(seed=seed), init).model.state_dict()[
            "model.layers.0.mlp.up_proj.weight"
        ]
        for key, seed, init in [("a", 0, 1.0), ("b", 0, 1.0), ("c", 1, 1.0), ("d", 0, 3.0)]
    }
    assert torch.equal(grown["a"], grown["b"])
    assert not torch.equal(grown["a"], grown["c"])
    old, new = grown["a"][:20], grown["a"][20:]
    assert new.std() == pytest.approx(float(old.std()), rel=0.05)
    torch.testing.assert_close(grown["d"][20:], 3 * new)
    assert torch.equal(grown["d"][:20], old)


def test_untouched_weights_keep_every_bit(tiny):
    model = tiny("gemma")
    state, old = expand(model, Growth(mlp=3)).model.state_dict(), model.state_dict()
    same = [name for name in old if "mlp" not in name]
    assert len(same) > 8
    assert all(torch.equal(state[name], old[name]) for name in same)


# --- one after another ---------------------------------------------------------------------------


def test_steps_are_as_small_as_a_family_can_say(tiny):
    growth = Growth(mlp=4, heads=4, key=2, value=2, residual=40, layers=1)
    assert [str(step) for step in steps(tiny("llama"), growth)] == [
        "mlp +4", "heads +4", "key +2, value +2", "residual +40", "layers +1"]  # fmt: skip
    tied = replace(growth, heads=2, residual=24)
    assert [str(step) for step in steps(tiny("gpt2"), tied)] == [
        "mlp +4", "heads +2, key +2, value +2, residual +24", "layers +1"]  # fmt: skip
    # 24 numbers cannot be divided among 6 heads, as transformers wants it; 36 can.
    assert [str(step) for step in steps(tiny("llama"), Growth(heads=6, residual=16))] == [
        "heads +6, residual +16"]  # fmt: skip


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "growth", "said"),
    [
        ("gpt2", Growth(residual=12), "ask for --heads +2 or --key +3 --value +3 with it"),
        ("gpt2", Growth(residual=10), "such as --residual +12 --heads +2"),
        ("opt", Growth(heads=2), "ask for --residual +12 with these heads"),
        ("gpt_neox", Growth(key=2), "ask for the same of both: --key +2 --value +2"),
        ("llama", Growth(heads=1), "wanted a multiple of 2"),
        ("llama", Growth(key=3, value=3), "wanted an even number"),
        ("llama", Growth(heads=6), "ask for --residual +6 with it"),
        ("qwen3", Growth(key=4, value=4), "so could never learn"),
        ("gemma3", Growth(key=4, value=4), "so could never learn"),
        ("llama", Growth(), "nothing to grow"),
        ("llama", Growth(mlp=-1), "--mlp -1: a model only grows here"),
    ],
)
def test_what_cannot_be_said_is_refused(tiny, kind, growth, said):
    with pytest.raises(UserError) as error:
        expand(tiny(kind), growth)
    assert said in str(error.value)


def test_all_reasons_come_at_once(tiny):
    found = problems(tiny("llama"), Growth(heads=3, key=3))
    assert len(found) == 3


def _llama(**more):
    config = transformers.LlamaConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=6, **more,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


def test_rotary_positions_that_depend_on_the_width_are_refused():
    scaled = {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}
    model = _llama(rope_parameters=scaled)
    assert "'yarn' depend on the width of a head" in problems(model, Growth(key=2, value=2))[0]
    assert problems(model, Growth(heads=2)) == []


def test_other_families_and_altered_models_are_refused():
    config = transformers.BertConfig(
        vocab_size=11,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=6,
    )
    bert = transformers.BertModel(config)
    assert "models of type 'bert' are not known" in problems(bert, Growth(mlp=1))[0]
    model = _llama()
    model.config.quantization_config = {"bits": 4}
    assert "quantised" in problems(model, Growth(mlp=1))[0]
    model = _llama()
    model.model.layers[0].mlp.gate_proj.weight = model.model.layers[0].mlp.up_proj.weight
    assert "one parameter in several places" in problems(model, Growth(mlp=1))[0]
    model = _llama()
    model.model.layers[0].mlp.adapter = torch.nn.Linear(8, 8)
    found = problems(model, Growth(mlp=1))
    assert found[0].startswith("model.layers.0.mlp.adapter.weight and 1 more: no part of a plain")
    model = _llama()
    model.model.layers[0].mlp.up_proj = torch.nn.Linear(8, 5, bias=False)
    assert "up is 5 x 8 where the configuration says 6 x 8" in problems(model, Growth(mlp=1))[0]


@pytest.mark.parametrize(
    ("more", "growth", "said"),
    [
        ({"do_layer_norm_before": False}, Growth(layers=1), "its norms come after the addition"),
        ({"do_layer_norm_before": False}, Growth(heads=1, residual=4), "come after the addition"),
        ({"_remove_final_layer_norm": True}, Growth(heads=1, residual=4), "it has no last norm"),
        ({"layer_norm_elementwise_affine": False}, Growth(heads=1, residual=4), "have no gains"),
        ({"word_embed_proj_dim": 4}, Growth(mlp=1), "no part of a plain 'opt' model"),
    ],
)
def test_variants_of_opt_that_cannot_are_refused(more, growth, said):
    config = transformers.OPTConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, ffn_dim=6,
        max_position_embeddings=8, **{"word_embed_proj_dim": 8, **more},
    )  # fmt: skip
    model = transformers.OPTForCausalLM(config)
    assert said in problems(model, growth)[0]


def test_a_norm_after_the_addition_lets_neurons_grow(ids):
    config = transformers.OPTConfig(
        vocab_size=41, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, ffn_dim=6,
        max_position_embeddings=16, word_embed_proj_dim=8, do_layer_norm_before=False,
    )  # fmt: skip
    model = module.build(transformers.OPTForCausalLM, config, None, torch.float64, "eager")
    assert differ(model, expand(model, Growth(mlp=5)).model, ids).relative <= EXACT
