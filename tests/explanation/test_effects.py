"""The direct effect is compared with what really happens to the logits in the last block."""

import pytest
import torch
import transformers

from monosemy.explanation.effects import NoDirectPath, direct_effects, logit_weights
from monosemy.models import sites, tap
from monosemy.models.loading import LoadedModel

VOCABULARY, WIDTH = 53, 24
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
}
GROUPED = {**SMALL, "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": False}


def _opt(**changes):
    config = transformers.OPTConfig(**SMALL, ffn_dim=40, word_embed_proj_dim=WIDTH, **changes)
    return transformers.OPTForCausalLM(config)


MAKERS = {
    "gpt2": lambda: transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=1, n_head=4, n_inner=40, n_positions=16,
            bos_token_id=0, eos_token_id=0,
        )
    ),
    "gpt_neox": lambda: transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**SMALL)),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**GROUPED)),
    "gemma": lambda: transformers.GemmaForCausalLM(transformers.GemmaConfig(**GROUPED)),
    "gemma2": lambda: transformers.Gemma2ForCausalLM(
        transformers.Gemma2Config(**GROUPED, final_logit_softcapping=None)
    ),
    "opt": lambda: _opt(),
    "opt, post-norm": lambda: _opt(do_layer_norm_before=False),
    "bert": lambda: transformers.BertModel(
        transformers.BertConfig(**SMALL), add_pooling_layer=False
    ),
}  # fmt: skip
CAUSAL = ["gpt2", "gpt_neox", "llama", "gemma", "gemma2", "opt"]
ENDS = ["mlp.hook_post", "hook_mlp_out", "hook_resid_post"]


def loaded(kind, tokenizer=None):
    torch.manual_seed(0)
    model = MAKERS[kind]().eval().requires_grad_(False)
    for parameter in model.parameters():
        # Biases start at 0 and norms at 1: a forgotten one would go unnoticed.
        parameter.add_(0.3 * torch.randn_like(parameter))
    return LoadedModel("tiny", model, tokenizer, model.config.model_type, 16)


@pytest.fixture
def directions():
    return torch.Generator().manual_seed(1)


def drawn(site, generator):
    return torch.randn(4, site.width, generator=generator)


def change_of_logits(model, site, direction, norms):
    """Logits with `direction` added at `site`, less those without, with the norms' scales held."""
    ids = torch.arange(2, 9)[None]
    frozen = [_Frozen(norm) for norm in norms]
    with torch.no_grad():
        clean = model(ids).logits
        with tap.editing(model, {site: lambda x: x + direction}):
            changed = model(ids).logits
    for one in frozen:
        one.remove()
    return (changed - clean)[0]


class _Frozen:
    """Holds a norm's scale at what it was in the first forward pass."""

    def __init__(self, norm):
        self.scale = None
        self.centre = isinstance(norm, torch.nn.LayerNorm)
        self.remove = norm.register_forward_hook(self._hook).remove

    def _hook(self, norm, args, output):
        x = args[0].double()
        x = x - x.mean(-1, keepdim=True) if self.centre else x
        first = x.square().mean(-1, keepdim=True).sqrt()
        self.scale = first if self.scale is None else self.scale
        bias = norm.bias if self.centre else torch.zeros(())
        return ((output - bias) * (first / self.scale) + bias).to(output.dtype)


@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize("end", ENDS)
def test_with_the_norms_held_the_logits_change_by_exactly_the_weights(kind, end, directions):
    model = loaded(kind)
    site = sites.resolve(model.model, f"blocks.0.{end}")
    drawn_here = drawn(site, directions)
    weights = logit_weights(model, site, drawn_here)
    norms = [model.model.get_submodule(sites.resolve(model.model, "ln_final").module)]
    if kind == "gemma2" and end == "mlp.hook_post":
        place = sites.resolve(model.model, "blocks.0.hook_mlp_out")
        norms.append(model.model.get_submodule(place.module))
    for direction, weight in zip(drawn_here, weights, strict=True):
        change = change_of_logits(model.model, site, direction, norms)
        change = change - change.mean(-1, keepdim=True)
        # The same up to each token's own scale.
        cosine = torch.nn.functional.cosine_similarity(change, weight[None], dim=-1)
        assert cosine.min() > 1 - 1e-4


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_with_free_norms_a_small_push_moves_the_logits_almost_along_the_weights(kind, directions):
    model = loaded(kind)
    site = sites.resolve(model.model, "blocks.0.mlp.hook_post")
    direction = drawn(site, directions)[:1]
    change = change_of_logits(model.model, site, 1e-2 * direction[0], [])
    change = change - change.mean(-1, keepdim=True)
    weight = logit_weights(model, site, direction)
    cosines = torch.nn.functional.cosine_similarity(change, weight, dim=-1)
    assert cosines.mean() > 0.9
    other = logit_weights(model, site, drawn(site, directions)[1:2])
    assert torch.nn.functional.cosine_similarity(change, other, dim=-1).abs().mean() < 0.6


def test_heads_go_through_the_output_projection_of_attention(directions):
    model = loaded("gpt2")
    site = sites.resolve(model.model, "blocks.0.attn.hook_z")
    weights = drawn(site, directions)
    through = weights @ model.model.transformer.h[0].attn.c_proj.weight
    after = sites.resolve(model.model, "blocks.0.hook_attn_out")
    assert torch.allclose(
        logit_weights(model, site, weights), logit_weights(model, after, through), atol=1e-5
    )


def test_a_module_path_means_the_same_as_its_name(directions):
    model = loaded("llama")
    named = sites.resolve(model.model, "blocks.0.mlp.hook_post")
    path = sites.resolve(model.model, "model.layers.0.mlp.down_proj:input")
    chosen = drawn(named, directions)
    assert torch.equal(logit_weights(model, named, chosen), logit_weights(model, path, chosen))


def test_behind_the_last_norm_only_the_unembedding_is_left(directions):
    model = loaded("llama")
    site = sites.resolve(model.model, "ln_final")
    chosen = drawn(site, directions)
    plain = chosen @ model.model.lm_head.weight.T
    wanted = plain - plain.mean(1, keepdim=True)
    assert torch.allclose(logit_weights(model, site, chosen), wanted, atol=1e-6)


def test_raised_and_lowered_are_the_ends_of_the_weights(tokenizer, directions):
    model = loaded("gpt2", tokenizer)
    site = sites.resolve(model.model, "blocks.0.hook_mlp_out")
    chosen = drawn(site, directions)
    weights = logit_weights(model, site, chosen)
    for row, effect in zip(weights, direct_effects(model, site, chosen, count=3), strict=True):
        ordered = row.sort().values
        assert [weight for _, weight in effect.raised] == ordered.flip(0)[:3].tolist()
        assert [weight for _, weight in effect.lowered] == ordered[:3].tolist()
        assert effect.reason == ""
        assert all(isinstance(token, str) and token for token, _ in effect.raised)


def test_ids_that_the_tokenizer_does_not_have_are_not_listed(tokenizer, directions):
    model = loaded("gpt2", tokenizer)
    site = sites.resolve(model.model, "blocks.0.hook_mlp_out")

    class Short:
        def __call__(self, *args, **options):
            return tokenizer(*args, **options)

        def __getattr__(self, name):
            return getattr(tokenizer, name)

        def __len__(self):
            return 5

    short = LoadedModel("tiny", model.model, Short(), "gpt2", 16)
    (effect, *_) = direct_effects(short, site, drawn(site, directions), count=10)
    assert len(effect.raised) == len(effect.lowered) == 5


@pytest.mark.parametrize(
    ("kind", "site", "reason"),
    [
        ("bert", "blocks.0.mlp.hook_post", "BertModel has no unembedding"),
        ("opt, post-norm", "blocks.0.hook_mlp_out", "through one norm to the unembedding"),
        ("llama", "blocks.0.mlp.hook_pre", "neither in the residual stream nor added to it"),
    ],
)
def test_where_there_is_no_direct_path_the_reason_is_given(kind, site, reason, directions):
    model = loaded(kind)
    place = sites.resolve(model.model, site)
    chosen = drawn(place, directions)
    with pytest.raises(NoDirectPath, match=reason):
        logit_weights(model, place, chosen)
    effects = direct_effects(model, place, chosen)
    assert len(effects) == 4
    assert all(not e.raised and not e.lowered and reason in e.reason for e in effects)
