"""What is read equals what the public model computes; what is written is what it goes on with."""

import contextlib
import logging
import threading

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.models import sites, tap

PARALLEL, POST_NORM = ("gpt_neox",), ("bert", "opt, post-norm")


def everything(model, ids, **options):
    return tap.read(model, sites.listing(model), ids, **options)


def result(model, ids, **options):
    """What the public model gives: logits, or the last hidden state of an encoder."""
    output = model(input_ids=ids, **options)
    return output.logits if "logits" in output else output.last_hidden_state


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def place(model, inner, layer=0):
    return sites.resolve(model, f"blocks.{layer}.{inner}")


# --- reading -------------------------------------------------------------------------------------


def test_the_residual_stream_is_the_models_own_hidden_states(kind, model, ids):
    hidden = model(input_ids=ids, output_hidden_states=True).hidden_states
    read = everything(model, ids)
    after = "hook_normalized_resid_post" if kind in POST_NORM else "hook_resid_post"
    for layer in range(2):
        assert torch.equal(read[f"blocks.{layer}.hook_resid_pre"], hidden[layer])
    assert torch.equal(read[f"blocks.0.{after}"], hidden[1])
    if "ln_final" in read:
        # transformers gives the last hidden state after the last norm.
        assert torch.equal(read["ln_final"], hidden[2])
        norm = model.get_submodule(sites.resolve(model, "ln_final").module)
        assert torch.equal(norm(read["blocks.1.hook_resid_post"]), hidden[2])
    else:
        outward = (
            model.model.decoder.project_out if kind == "opt, post-norm" else torch.nn.Identity()
        )
        assert torch.equal(outward(read[f"blocks.1.{after}"]), hidden[2])


def test_each_block_adds_attention_and_then_the_mlp(kind, model, ids):
    read = everything(model, ids)
    for layer in range(2):
        pre, attention, mlp, post = (
            read[f"blocks.{layer}.hook_{part}"]
            for part in ("resid_pre", "attn_out", "mlp_out", "resid_post")
        )
        if kind in PARALLEL:
            torch.testing.assert_close(post, pre + attention + mlp)
            continue
        middle = read[f"blocks.{layer}.hook_resid_mid"]
        torch.testing.assert_close(middle, pre + attention)
        if kind in POST_NORM:
            norm = "attention.output.LayerNorm" if kind == "bert" else "self_attn_layer_norm"
            middle = model.get_submodule(block_path(model, layer) + "." + norm)(middle)
        torch.testing.assert_close(post, middle + mlp)
        assert not torch.allclose(post, pre + mlp)  # negative control: attention is not nothing


def block_path(model, layer):
    return sites.resolve(model, f"blocks.{layer}.hook_resid_pre").module


def test_attention_and_mlp_are_their_own_projections(kind, model, ids):
    read = everything(model, ids)
    for layer in range(2):
        project = model.get_submodule(place(model, "attn.hook_z", layer).module)
        attention = project(read[f"blocks.{layer}.attn.hook_z"])
        down = model.get_submodule(place(model, "mlp.hook_post", layer).module)
        mlp = down(read[f"blocks.{layer}.mlp.hook_post"])
        if kind in ("gemma2", "gemma3_text"):  # normalised before they are added
            block = model.get_submodule(block_path(model, layer))
            attention = block.post_attention_layernorm(attention)
            mlp = block.post_feedforward_layernorm(mlp)
        torch.testing.assert_close(read[f"blocks.{layer}.hook_attn_out"], attention)
        torch.testing.assert_close(read[f"blocks.{layer}.hook_mlp_out"], mlp)


def test_mlp_activations_are_the_function_of_what_enters_it(kind, model, ids):
    from transformers.activations import ACT2FN

    config = model.config
    names = ("activation_function", "hidden_activation", "hidden_act")
    function = ACT2FN[next(getattr(config, name) for name in names if hasattr(config, name))]
    read = everything(model, ids)
    for layer in range(2):
        expected = function(read[f"blocks.{layer}.mlp.hook_pre"])
        if (gate := f"blocks.{layer}.mlp.hook_pre_linear") in read:
            expected = expected * read[gate]
        torch.testing.assert_close(read[f"blocks.{layer}.mlp.hook_post"], expected)


def test_the_embedding_is_the_first_hidden_state_less_the_positions(kind, model, ids):
    read = everything(model, ids)
    first = read["blocks.0.hook_resid_pre"]
    if kind == "bert":
        assert torch.equal(read["hook_full_embed"], first)
        assert torch.equal(read["hook_embed"], model.embeddings.word_embeddings(ids))
    elif kind == "opt, post-norm":
        body = model.model.decoder
        torch.testing.assert_close(
            body.project_in(read["hook_embed"]) + read["hook_pos_embed"], first
        )
    else:
        torch.testing.assert_close(read["hook_embed"] + read.get("hook_pos_embed", 0), first)
    if "hook_pos_embed" in read:
        assert read["hook_pos_embed"].shape == (3, 7, 24)
        assert torch.equal(read["hook_pos_embed"][0], read["hook_pos_embed"][2])


def test_gemma_scales_its_embedding(tiny, ids):
    model = tiny("gemma2")
    embedded = torch.nn.functional.embedding(ids, model.model.embed_tokens.weight) * 24**0.5
    torch.testing.assert_close(everything(model, ids)["hook_embed"], embedded)


def test_the_mask_reaches_the_model(model, ids):
    mask = torch.ones_like(ids)
    mask[:, -2:] = 0
    site = place(model, "hook_resid_pre", 1)
    read = tap.read(model, [site], ids, mask)[site.name]
    output = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    assert torch.equal(read, output.hidden_states[1])


def test_the_mask_matters_to_an_encoder(bert, ids):
    mask = torch.ones_like(ids)
    mask[:, -2:] = 0
    site = place(bert, "hook_normalized_resid_post", 1)
    masked, whole = (tap.read(bert, [site], ids, m)[site.name] for m in (mask, None))
    shorter = tap.read(bert, [site], ids[:, :-2])[site.name]
    torch.testing.assert_close(masked[:, :-2], shorter)
    assert not torch.allclose(whole[:, :-2], shorter)


def test_heads_are_laid_side_by_side(tiny):
    model = tiny("qwen3")
    site = sites.resolve(model, "model.layers.0.self_attn.q_norm")
    assert site.width == 4 * 8


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_models_precision_is_kept(gpt2, ids, dtype):
    import copy

    model = copy.deepcopy(gpt2).to(dtype)
    assert {value.dtype for value in everything(model, ids).values()} == {dtype}


def test_what_is_read_can_be_learned_from(gpt2, ids):
    site = place(gpt2, "mlp.hook_post")
    read = tap.read(gpt2, [site], ids)[site.name]
    assert not read.requires_grad
    weight = torch.nn.Parameter(torch.ones(40))
    (read * weight).sum().backward()  # a tensor of inference mode would be refused here
    assert weight.grad is not None


def test_padding_at_an_edge_raises_no_notice(gpt2, ids, caplog, monkeypatch):
    from transformers.utils.logging import warning_once

    ids[:, -1] = 1
    monkeypatch.setattr(gpt2.config, "pad_token_id", 1)
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    for silent in (True, False):
        warning_once.cache_clear()  # each notice is given once only
        if silent:
            tap.read(gpt2, [place(gpt2, "hook_resid_pre")], ids)
        else:  # negative control: outside, the notice is given
            gpt2(ids)
        assert bool(caplog.records) is not silent


# --- stopping early ------------------------------------------------------------------------------


@contextlib.contextmanager
def counting(model):
    """Names of the modules that run inside the block, in order."""
    ran = []
    handles = [
        module.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
        for name, module in model.named_modules()
    ]
    yield ran
    for handle in handles:
        handle.remove()


def test_nothing_runs_after_the_last_site(gpt2, ids):
    wanted = [place(gpt2, "hook_attn_out"), place(gpt2, "mlp.hook_post")]
    with counting(gpt2) as ran:
        tap.read(gpt2, wanted, ids)
    assert ran[-1] == "transformer.h.0.mlp.c_proj"  # its input is read; its product is not formed
    assert "transformer.h.1" not in ran
    assert "lm_head" not in ran
    with counting(gpt2) as ran:  # negative control: the plain model runs them all
        gpt2(ids)
    assert {"transformer.h.1", "transformer.ln_f", "lm_head"} <= set(ran)


def test_no_family_runs_a_block_that_is_not_needed(model, ids):
    wanted = place(model, "hook_resid_post", 0)
    with counting(model) as ran:
        tap.read(model, [wanted], ids)
    second = block_path(model, 1)
    assert ran
    assert not [name for name in ran if name == second or name.startswith(second + ".")]
    with counting(model) as ran:
        tap.read(model, [place(model, "hook_resid_pre", 1)], ids)
    assert [name for name in ran if name.startswith(second)] == [second]  # entered, and left


def test_attention_is_one_operation_in_every_family(kind, model, ids, monkeypatch):
    called, plain = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda *args, **options: called.append(options.get("attn_mask")) or plain(*args, **options),
    )
    everything(model, ids)
    if kind == "gemma2":  # caps its scores, which that operation cannot
        assert not called
        return
    assert called == [None, None]  # where all tokens count, no mask is made


def test_threads_do_not_notice_each_other(gpt2, ids, other_ids):
    """A stream may be read in one thread while a step runs, reads and edits the model in another."""
    site = place(gpt2, "hook_resid_post")
    wanted = tap.read(gpt2, [site], other_ids)[site.name]
    plain = result(gpt2, ids)
    turn, done, found = threading.Event(), threading.Event(), []

    def run_and_read(*_):
        """Called inside a forward pass of the other thread, when its hooks are in place."""

        def work():
            found.append(result(gpt2, ids))
            found.append(tap.read(gpt2, [site], other_ids)[site.name])

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    handle = gpt2.transformer.h[0].ln_1.register_forward_pre_hook(
        lambda *_: None if turn.is_set() else (turn.set(), run_and_read(), done.set())[0]
    )
    try:
        with tap.editing(gpt2, {site: lambda x: 2 * x}):
            read = tap.read(gpt2, [site], ids)[site.name]
    finally:
        handle.remove()
    assert done.is_set()
    assert torch.equal(found[0], plain)  # neither edited nor stopped
    assert torch.equal(found[1], wanted)
    torch.testing.assert_close(read, 2 * tap.read(gpt2, [site], ids)[site.name])


def test_the_order_asked_for_does_not_matter(gpt2, ids):
    late, early = place(gpt2, "hook_resid_post", 1), place(gpt2, "hook_resid_pre")
    one, other = (tap.read(gpt2, order, ids) for order in ([late, early], [early, late]))
    assert list(one) == [late.name, early.name]
    assert torch.equal(one[late.name], other[late.name])


def test_a_product_is_not_formed_once_its_input_is_read(gpt2, ids, monkeypatch):
    formed = []
    project = gpt2.transformer.h[0].mlp.c_proj
    plain = project.forward
    monkeypatch.setattr(project, "forward", lambda x: formed.append(1) or plain(x))
    tap.read(gpt2, [place(gpt2, "mlp.hook_post")], ids)
    assert not formed
    tap.read(gpt2, [place(gpt2, "hook_mlp_out")], ids)
    assert formed


def test_no_site_in_the_body_needs_logits(model, ids):
    with counting(model) as ran:
        everything(model, ids)
    assert "lm_head" not in ran


def test_logits_can_be_asked_for(gpt2, ids):
    site = sites.resolve(gpt2, "lm_head")
    assert torch.equal(tap.read(gpt2, [site], ids)["lm_head"], gpt2(ids).logits)


def test_no_hook_stays(gpt2, ids):
    before = hooks(gpt2)
    everything(gpt2, ids)
    with pytest.raises(IndexError):
        tap.read(gpt2, [place(gpt2, "hook_resid_post")], ids + 1000)
    alien = tap.Site("alien", "transformer.h.9", "output", 9, 24)
    with pytest.raises(UserError):
        tap.read(gpt2, [place(gpt2, "hook_resid_post"), alien], ids)
    with tap.editing(gpt2, {place(gpt2, "mlp.hook_post"): lambda x: x / (0 // 0)}):
        assert hooks(gpt2) > before
        with pytest.raises(ZeroDivisionError):
            gpt2(ids)
    broken = tap.editing(gpt2, {place(gpt2, "hook_resid_post"): torch.zeros_like, alien: abs})
    with pytest.raises(UserError), broken:
        pass
    assert hooks(gpt2) == before


def test_contexts_that_are_too_long_are_refused(gpt2):
    with pytest.raises(UserError) as error:
        tap.read(gpt2, [place(gpt2, "hook_resid_pre")], torch.zeros(1, 17, dtype=torch.long))
    assert str(error.value) == (
        "contexts of 17 positions do not fit GPT2LMHeadModel, whose context is 16; "
        "pack them with --context 16 or less"
    )


def test_a_site_of_another_model_is_refused(gpt2, bert, ids):
    with pytest.raises(UserError) as error:
        tap.read(gpt2, [place(bert, "mlp.hook_post")], ids)
    assert str(error.value) == (
        "site blocks.0.mlp.hook_post does not belong to GPT2LMHeadModel: "
        "it has no module 'encoder.layer.0.output.dense'"
    )


# --- editing -------------------------------------------------------------------------------------


def test_replacing_a_value_by_itself_changes_no_bit(model, ids):
    plain = result(model, ids)
    for site in sites.listing(model):
        with tap.editing(model, {site: lambda x: x}):
            assert torch.equal(result(model, ids), plain), site.name
        with tap.editing(model, {site: lambda x: x.clone()}):
            assert torch.equal(result(model, ids), plain), site.name
        with tap.editing(model, {site: lambda x: x + torch.linspace(0, 1, x.shape[-1])}):
            assert not torch.equal(result(model, ids), plain), site.name
    assert torch.equal(result(model, ids), plain)


CUTS = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_normalized_resid_post")


def test_the_whole_stream_of_another_run_gives_that_runs_result(model, ids, other_ids):
    """Every path to the output leads through these sites, so patching one is patching the run."""
    donated, expected = everything(model, other_ids), result(model, other_ids)
    assert not torch.allclose(result(model, ids), expected)
    cuts = [site for site in sites.listing(model) if site.name.endswith((*CUTS, "ln_final"))]
    assert len(cuts) >= 4
    for site in cuts:
        with tap.editing(model, {site: lambda _, name=site.name: donated[name]}):
            assert torch.equal(result(model, ids), expected), site.name


def test_embeddings_of_another_run_give_that_runs_result(kind, model, ids, other_ids):
    donated = everything(model, other_ids)
    names = [name for name in ("hook_embed", "hook_pos_embed") if name in donated]
    edits = {sites.resolve(model, n): lambda _, n=n: donated[n].clone() for n in names}
    with tap.editing(model, edits):
        assert torch.equal(result(model, ids), result_without(model, other_ids))


def result_without(model, ids):
    handles = [(m, m._forward_hooks.copy(), m._forward_pre_hooks.copy()) for m in model.modules()]
    for module, _, _ in handles:
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    try:
        return result(model, ids)
    finally:
        for module, after, before in handles:
            module._forward_hooks.update(after)
            module._forward_pre_hooks.update(before)


def test_an_edit_of_a_part_moves_the_stream_by_what_it_adds(kind, model, ids):
    """attn_out + a moves resid_mid by a; mlp_out + b moves resid_post by b."""
    push = torch.linspace(-1, 1, 24)
    target = "hook_resid_mid" if kind not in PARALLEL else "hook_resid_post"
    for part, moved in (("hook_attn_out", target), ("hook_mlp_out", "hook_resid_post")):
        site = place(model, moved)
        plain = tap.read(model, [site], ids)[site.name]
        if kind in PARALLEL and part == "hook_attn_out":
            assert target == "hook_resid_post"
        with tap.editing(model, {place(model, part): lambda x: x + push}):
            edited = tap.read(model, [site], ids)[site.name]
        torch.testing.assert_close(edited, plain + push)


def test_an_edit_before_a_projection_reaches_what_it_projects(kind, model, ids):
    for inner in ("attn.hook_z", "mlp.hook_post"):
        site = place(model, inner)
        product = sites.resolve(model, site.module)
        project = model.get_submodule(site.module)
        value = tap.read(model, [site], ids)[site.name]
        with tap.editing(model, {site: lambda x: 2 * x}):
            edited = tap.read(model, [product], ids)[product.name]
        torch.testing.assert_close(edited, project(2 * value))
        assert not torch.allclose(edited, project(value))


def test_an_edit_of_the_pre_activation_reaches_the_activation(model, ids):
    before, after = place(model, "mlp.hook_pre"), place(model, "mlp.hook_post")
    with tap.editing(model, {before: torch.zeros_like}):
        # Every activation function here is zero at zero.
        assert not tap.read(model, [after], ids)[after.name].any()
    assert tap.read(model, [after], ids)[after.name].any()


def test_several_edits_act_together(gpt2, ids):
    first, second = place(gpt2, "hook_mlp_out"), place(gpt2, "hook_mlp_out", 1)
    with tap.editing(gpt2, {first: torch.zeros_like, second: torch.zeros_like}):
        both = everything(gpt2, ids)
    for layer in range(2):
        middle, post = (both[f"blocks.{layer}.hook_resid_{part}"] for part in ("mid", "post"))
        assert torch.equal(middle, post)


def test_a_single_position_can_be_edited(gpt2, ids):
    def edit(x):
        return torch.cat([x[:, :4], 0 * x[:, 4:5], x[:, 5:]], dim=1)

    with tap.editing(gpt2, {place(gpt2, "hook_resid_mid", 1): edit}):
        edited = result(gpt2, ids)
    plain = result(gpt2, ids)
    changed = (edited != plain).any(-1)
    # The last block's MLP acts on each position alone.
    assert changed.sum(0).tolist() == [0, 0, 0, 0, 3, 0, 0]


def test_gradients_flow_through_an_edit(kind, model, ids):
    """The gradient of the result along a push equals the finite difference."""
    # An RMSNorm of transformers computes in float32 whatever the model's precision.
    rounded = kind.startswith(("llama", "mistral", "qwen", "gemma"))
    step, tolerance = (1e-2, 1e-2) if rounded else (1e-5, 1e-5)
    model = model.double()
    direction = torch.randn(24, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    weights = torch.randn(53, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    names = ("hook_resid_pre", "hook_resid_mid", "hook_attn_out", "hook_mlp_out", "hook_resid_post")

    def score(site, size):
        # Quadratic in the value, so that the gradient needs what was there before the edit.
        with tap.editing(model, {site: lambda x: x + size * x * x * direction}):
            output = result(model, ids)
        return (output * weights[: output.shape[-1]]).sum()

    try:
        named = {site.name for site in sites.listing(model)}
        for site in [place(model, name) for name in names if f"blocks.0.{name}" in named]:
            size = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
            score(site, size).backward()
            slope = (score(site, 0.1 + step) - score(site, 0.1 - step)) / (2 * step)
            torch.testing.assert_close(size.grad, slope, rtol=tolerance, atol=tolerance)
            assert slope.abs() > 1e-3, site.name
    finally:
        model.float()


def test_gradients_reach_what_was_there_before(gpt2, ids):
    """With an upstream leaf that needs gradients, the write into the stream is differentiable."""
    start = torch.zeros(24, requires_grad=True)
    edits = {
        place(gpt2, "hook_resid_pre"): lambda x: x + start,
        place(gpt2, "hook_resid_mid"): lambda x: x * x,
    }
    with tap.editing(gpt2, edits):
        result(gpt2, ids).square().sum().backward()
    assert start.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda x: x[:, :3],
            "the edit at blocks.0.mlp.hook_post returned shape (3, 3, 40), torch.float32 on cpu; "
            "wanted (3, 7, 40), torch.float32 on cpu",
        ),
        (
            lambda x: x.double(),
            "the edit at blocks.0.mlp.hook_post returned shape (3, 7, 40), torch.float64 on cpu; "
            "wanted (3, 7, 40), torch.float32 on cpu",
        ),
        (
            lambda x: None,
            "the edit at blocks.0.mlp.hook_post returned NoneType, not a tensor",
        ),
    ],
)
def test_a_replacement_that_does_not_fit_is_refused(gpt2, ids, edit, message):
    with (
        tap.editing(gpt2, {place(gpt2, "mlp.hook_post"): edit}),
        pytest.raises(UserError) as error,
    ):
        gpt2(ids)
    assert str(error.value) == message


def test_a_module_fed_by_name_and_a_module_with_a_named_output_can_be_edited(tiny, gpt2, ids):
    llama = tiny("llama")
    fed = sites.resolve(llama, "model.layers.0.self_attn:input")
    body = sites.resolve(gpt2, "transformer")
    with tap.editing(llama, {fed: torch.zeros_like}):
        out = place(llama, "hook_attn_out")
        assert not tap.read(llama, [out], ids)[out.name].any()
    with tap.editing(gpt2, {body: torch.zeros_like}):
        assert not result(gpt2, ids).any()


def test_real_models_compute_what_is_read(shared_data):
    from monosemy.models.loading import load

    for name, text in (("stories260K", "Once upon a time"), ("minilm-l6", "The king spoke.")):
        loaded = load(shared_data / "models" / name)
        ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
        hidden = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states
        layers = range(loaded.layers)
        pre = [place(loaded.model, "hook_resid_pre", layer) for layer in layers]
        read = tap.read(loaded.model, pre, ids)
        for layer in layers:
            assert torch.equal(read[f"blocks.{layer}.hook_resid_pre"], hidden[layer])
