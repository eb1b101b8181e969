import pytest
import torch
from transformers import GPT2Config, GPT2Model, GPTJConfig, GPTJModel

from monosemy.foundation.errors import UserError
from monosemy.models import sites, tap

WIDTHS = {"mlp.hook_pre": 40, "mlp.hook_pre_linear": 40, "mlp.hook_post": 40}


def test_every_family_lists_the_places_it_has(kind, model):
    names = [site.name for site in sites.listing(model)]
    assert len(names) == len(set(names))
    for name in ("hook_resid_pre", "attn.hook_z", "hook_attn_out", "mlp.hook_pre"):
        assert f"blocks.1.{name}" in names
    for name in ("mlp.hook_post", "hook_mlp_out", "hook_resid_post"):
        assert f"blocks.1.{name}" in names
    assert ("blocks.0.hook_resid_mid" in names) == (kind != "gpt_neox")
    gated = kind.startswith(("llama", "mistral", "qwen", "gemma"))
    assert ("blocks.0.mlp.hook_pre_linear" in names) == gated
    assert ("blocks.0.hook_normalized_resid_post" in names) == (kind in ("bert", "opt, post-norm"))
    assert ("hook_pos_embed" in names) == (kind.startswith(("gpt2", "opt", "bert")))
    assert ("ln_final" in names) == (kind not in ("bert", "opt, post-norm"))


def test_widths_are_those_of_what_is_read(kind, model, ids):
    listed = sites.listing(model)
    heads = model.config.num_attention_heads * getattr(model.config, "head_dim", 6)
    read = tap.read(model, listed, ids)
    for site in listed:
        assert read[site.name].shape == (3, 7, site.width), site
        inner = site.name.partition("blocks.0.")[2]
        assert site.width == WIDTHS.get(inner, site.width)
        assert inner != "attn.hook_z" or site.width == heads
        assert inner != "hook_resid_post" or site.width == 24
    # OPT-350m embeds its tokens in fewer numbers than the stream has.
    assert listed[0].width == (16 if kind == "opt, post-norm" else 24)


def test_listing_follows_the_order_of_computation(model, ids):
    listed, fired = sites.listing(model), []

    def note(site):
        def hook(*_):
            fired.append(site.name)

        return hook

    handles = []
    for site in listed:
        module = model.get_submodule(site.module)
        side = "register_forward_pre_hook" if site.side == "input" else "register_forward_hook"
        handles.append(getattr(module, side)(note(site)))
    with torch.no_grad():
        model(ids)
    for handle in handles:
        handle.remove()
    assert fired == [site.name for site in listed]


def test_layers_are_named(model):
    layers = {site.name: site.layer for site in sites.listing(model)}
    assert layers["blocks.1.mlp.hook_post"] == 1
    assert layers["hook_embed"] is None


def test_a_model_without_a_head_has_the_same_names(gpt2):
    body = GPT2Model(GPT2Config(n_embd=24, n_layer=2, n_head=4, vocab_size=53, n_positions=16))
    named = {site.name: site.module for site in sites.listing(body)}
    assert named["blocks.1.hook_mlp_out"] == "h.1.mlp"
    assert list(named) == [site.name for site in sites.listing(gpt2)]


def test_module_paths_name_sites_too(gpt2):
    activation = sites.resolve(gpt2, "transformer.h.1.mlp.act")
    assert activation == tap.Site(
        "transformer.h.1.mlp.act", "transformer.h.1.mlp.act", "output", 1, 40
    )
    into = sites.resolve(gpt2, "transformer.h.0.mlp.c_proj:input")
    assert (into.side, into.width, into.layer) == ("input", 40, 0)
    assert sites.resolve(gpt2, "transformer.ln_f:output").layer is None
    assert sites.resolve(gpt2, "lm_head").width == 53


def test_normalized_final_is_understood_where_it_means_the_same(gpt2, model, kind):
    assert sites.resolve(gpt2, "ln_final.hook_normalized").module == "transformer.ln_f"
    if kind.startswith(("llama", "gemma", "qwen", "mistral", "bert")):
        with pytest.raises(UserError, match=r"unknown site 'ln_final\.hook_normalized'"):
            sites.resolve(model, "ln_final.hook_normalized")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("blocks.0.hook_resid_pst", "did you mean 'blocks.0.hook_resid_post'"),
        ("blocks.7.mlp.hook_post", "did you mean 'blocks.1.mlp.hook_post'"),
        ("transformer.h.0.mlp.acts", "did you mean 'transformer.h.0.mlp.act'"),
        ("transformer.h.0.mlp.act:outptu", "did you mean 'transformer.h.0.mlp.act'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(gpt2, name, nearest):
    with pytest.raises(UserError) as error:
        sites.resolve(gpt2, name)
    assert f"unknown site {name!r} in GPT2LMHeadModel; {nearest}" in str(error.value)
    assert "'monosemy sites MODEL' lists the names" in str(error.value)


def test_a_module_that_gives_no_vector_per_token_is_refused(gpt2):
    with pytest.raises(UserError, match="never runs it"):
        sites.resolve(gpt2, "transformer.h")
    with pytest.raises(UserError, match="carries torch.int64 values, not one vector of numbers"):
        sites.resolve(gpt2, "transformer.wte:input")


def test_patterns(gpt2):
    names = [site.name for site in sites.match(gpt2, "blocks.*.hook_resid_post")]
    assert names == ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    # Several patterns: each site once, in order of computation, module paths last.
    patterns = ["transformer.h.?.mlp.act", "ln_final", "blocks.1.mlp.*", "blocks.[1].*.hook_post"]
    names = [site.name for site in sites.match(gpt2, patterns)]
    assert names == [
        "blocks.1.mlp.hook_in",
        "blocks.1.mlp.hook_pre",
        "blocks.1.mlp.hook_post",
        "ln_final",
        "transformer.h.0.mlp.act",
        "transformer.h.1.mlp.act",
    ]
    assert sites.match(gpt2, "transformer.h.*.mlp.c_proj:input")[1].width == 40


def test_a_pattern_that_means_nothing_is_refused(gpt2):
    with pytest.raises(UserError) as error:
        sites.match(gpt2, ["blocks.*.hook_resid_post", "blocks.*.hook_resid_end"])
    assert "no site of GPT2LMHeadModel matches 'blocks.*.hook_resid_end'; did you mean" in str(
        error.value
    )


def test_a_family_without_a_table_still_has_module_paths():
    model = GPTJModel(GPTJConfig(n_embd=16, n_layer=1, n_head=2, rotary_dim=4, vocab_size=20))
    with pytest.raises(UserError) as error:
        sites.listing(model)
    assert "no site names are known for models of type 'gptj' (known: bert, gemma" in str(
        error.value
    )
    assert sites.resolve(model, "h.0.mlp.fc_in").width == 64


def test_a_real_decoder_and_a_real_encoder(shared_data):
    from monosemy.models.loading import load

    stories = load(shared_data / "models" / "stories260K").model
    widths = {site.name: site.width for site in sites.listing(stories)}
    assert widths["blocks.4.hook_resid_post"] == widths["blocks.0.attn.hook_z"] == 64
    assert widths["blocks.0.mlp.hook_post"] == 172
    assert len(widths) == 5 * 10 + 2
    encoder = load(shared_data / "models" / "minilm-l6").model
    widths = {site.name: site.width for site in sites.listing(encoder)}
    assert widths["blocks.5.hook_normalized_resid_post"] == 384
    assert widths["blocks.5.mlp.hook_post"] == 1536
