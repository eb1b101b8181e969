"""The loss is what the spliced model loses: compared with plain dense autograd, in float64."""

import copy
from dataclasses import replace

import pytest
import torch
import transformers
from torch.nn import functional

from monosemy.data.streams import TokenStream
from monosemy.data.text import open_corpus
from monosemy.data.tokens import Contexts, Packing, pack
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.selection import ReLU, build_selection
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.dictionaries.units import Units
from monosemy.foundation.errors import UserError
from monosemy.interventions.contrast import contrast
from monosemy.interventions.edits import Splice, ZeroAblate
from monosemy.models import sites, tap
from monosemy.models.loading import LoadedModel, load
from monosemy.tensors.compute import Compute
from monosemy.tensors.rows import gradient_of
from monosemy.training.end_to_end import EndToEndConfig, LearnEndToEnd, mark_unkept, reasons
from monosemy.training.loop import Training, advance
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.start import Start, look

VOCABULARY, WIDTH, LATENTS, K = 37, 24, 40, 4
POST, IN, OUT = "blocks.0.mlp.hook_post", "transformer.h.0.ln_2", "blocks.0.hook_mlp_out"
LATER = ("blocks.1.hook_resid_mid", "blocks.1.mlp.hook_post")


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    """Two layers of GPT-2 in float64, with weights large enough that an edit matters."""
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_inner=WIDTH, n_positions=16,
        activation_function="relu", bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval().requires_grad_(False).double()
    for i, parameter in enumerate(model.parameters()):
        parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw(i)).double())
    return LoadedModel("tiny", model, None, "gpt2", 16)


@pytest.fixture
def kept() -> torch.Tensor:
    """Beginnings of documents in two places, and padding at the end."""
    kept = torch.ones(3, 8, dtype=torch.bool)
    kept[0, 0] = kept[1, 4] = False
    kept[2, 6:] = False
    return kept


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(1, VOCABULARY, (3, 8), generator=draw(50))


@pytest.fixture
def batch(ids, kept) -> torch.Tensor:
    return torch.where(kept, ids, ~ids)


def hooks(loaded: LoadedModel) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in loaded.model.modules())


def perturbed(dictionary, dtype=torch.float64):
    """Off its beginning: biases, an encoder apart from the decoder."""
    with torch.no_grad():
        for i, parameter in enumerate(dictionary.parameters()):
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=draw(i)))
    return dictionary.to(dtype).train()


def flat(kind="topk"):
    return perturbed(
        FlatDictionary.random(WIDTH, LATENTS, build_selection(kind, K, LATENTS), draw(0))
    )


def transcoder():
    rows = [torch.randn(LATENTS, 16, generator=draw(i)) / 4 for i in (1, 2)]
    skip = torch.randn(16, 16, generator=draw(3)) / 4
    zeros = torch.zeros(LATENTS), torch.zeros(16)
    made = Transcoder(rows[0], zeros[0], rows[1], zeros[1], build_selection("topk", K, LATENTS),
                      W_skip=skip)  # fmt: skip
    return perturbed(made)


def program(loaded, dictionary, read=POST, write=(), objective=None, units=None, **config):
    """Learns `dictionary`, in units of their own, at the sites called `read` and `write`."""
    width = dictionary.width + (0 if dictionary.autoencodes else dictionary.written)
    units = units or Units.scaled(torch.tensor(1.7))
    start = Start(torch.zeros(width), units, 2.5, 0.0)
    local = LearnDictionary(dictionary, start, objective or ObjectiveConfig(aux=0.0), 10)
    found = [
        [sites.resolve(loaded.model, name) for name in names] for names in ([read], write or [read])
    ]
    return LearnEndToEnd(local, loaded, EndToEndConfig(**config), *found)


def gradients(dictionary) -> dict[str, torch.Tensor]:
    """Of every parameter, wherever it is kept."""
    carried = {name: gradient_of(p) for name, p in dictionary.named_parameters()}
    return {
        name: p.grad if carried[name] is None else carried[name].dense()
        for name, p in dictionary.named_parameters()
    }


# --- the plain twin ------------------------------------------------------------------------------


def plain_run(loaded, ids, rebuild=None, kept=None):
    """Logits, later activations, and what stands at the site; torch's own hooks, no others.

    `rebuild` maps what enters the down projection of the first layer to what is to enter it.
    """
    body, seen = loaded.model.transformer, {}

    def splice(module, args):
        seen["site"] = args[0]
        if rebuild is not None:
            return (torch.where(kept[..., None], rebuild(args[0]), args[0]),)
        return None

    places = {LATER[0]: body.h[1].ln_2, LATER[1]: body.h[1].mlp.c_proj}
    handles = [body.h[0].mlp.c_proj.register_forward_pre_hook(splice)]
    for name, module in places.items():
        handles.append(
            module.register_forward_pre_hook(
                lambda m, args, name=name: seen.update({name: args[0]})
            )
        )
    logits = loaded.model(ids).logits
    for handle in handles:
        handle.remove()
    return logits, seen


def dense_twin(d, x, scale=1.7):
    """``x̂`` by plain dense products: the encoder, the k largest, the decoder."""
    z = x * scale
    pre = (z - d.b_dec) @ d.W_enc.T + d.b_enc
    least = pre.topk(K, dim=-1).values[..., -1:]
    f = pre * ((pre >= least) & (pre > 0))
    return (f @ d.W_dec + d.b_dec) / scale


def plain_terms(loaded, d, ids, kept):
    """Every loss of the class docstring, differentiable in the parameters of `d`."""
    with torch.no_grad():
        clean, before = plain_run(loaded, ids)
    spliced, after = plain_run(loaded, ids, lambda x: dense_twin(d, x), kept)
    counted = kept.clone()
    counted[:, 0] = False
    log_p, log_q = (z[:, :-1][counted[:, 1:]].log_softmax(-1) for z in (clean, spliced))
    x = before["site"][kept]

    def fvu(name):
        a, b = before[name][kept], after[name][kept]
        return (a - b).square().sum() / (a - a.mean(0)).square().sum()

    return {
        "kl": functional.kl_div(log_q, log_p, log_target=True, reduction="none").sum(1).mean(),
        "ce": functional.nll_loss(log_q, ids[:, 1:][counted[:, 1:]]),
        "reconstruction": (1.7 * (x - dense_twin(d, x))).square().sum(1).mean() / 2.5,
        "downstream": (fvu(LATER[0]) + fvu(LATER[1])) / 2,
    }


CONFIGS = {
    "kl": {"loss": "kl"},
    "ce": {"loss": "ce"},
    "kl with the site's error": {"loss": "kl", "reconstruction": 0.3},
    "kl with later errors": {"loss": "kl", "downstream": 0.7, "downstream_sites": LATER},
    "later errors alone": {"downstream": 0.7, "downstream_sites": LATER},
    "everything": {"loss": "ce", "reconstruction": 2.0, "downstream": 0.7,
                   "downstream_sites": LATER},
}  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS.values(), ids=list(CONFIGS))
def test_loss_and_gradients_equal_plain_dense_autograd(tiny, ids, kept, batch, config):
    ours, twin = flat(), flat()
    terms = plain_terms(tiny, twin, ids, kept)
    weights = {config.get("loss", "none"): 1.0} | {
        name: weight for name, weight in config.items() if isinstance(weight, float)
    }
    expected = sum(weight * terms[name] for name, weight in weights.items() if name in terms)
    expected.backward()
    loss, readings = program(tiny, ours, **config).loss(batch)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    wanted = {name: parameter.grad for name, parameter in twin.named_parameters()}
    for name, found in gradients(ours).items():
        torch.testing.assert_close(found, wanted[name], msg=lambda text, n=name: f"{n}: {text}")
        assert float(found.abs().max()) > 0
    for name in readings.keys() & terms.keys():
        torch.testing.assert_close(readings[name], terms[name].detach())
    assert readings.keys() - {"fvu", "l0", "dead"} == {n for n in weights if n in terms} - {
        "reconstruction"
    }
    torch.testing.assert_close(readings["fvu"], terms["reconstruction"].detach())


def test_the_comparison_above_can_fail(tiny, ids, kept, batch):
    terms = plain_terms(tiny, flat(), ids, kept)
    wrong = plain_terms(tiny, flat(), ids, torch.ones_like(kept))
    loss, _ = program(tiny, flat(), loss="kl").loss(batch)
    assert not torch.allclose(loss, terms["ce"])
    assert not torch.allclose(loss, wrong["kl"]), "tokens that are not kept must not count"


def test_the_losses_are_those_that_evaluation_reports(tiny, ids, kept, batch):
    """The same numbers as `contrast` measures with the finished dictionary."""
    trained = program(tiny, flat(), loss="kl")
    kl, ce = (
        float(program(tiny, flat(), loss=name).loss(batch)[0].detach()) for name in ("kl", "ce")
    )
    site = sites.resolve(tiny.model, POST)
    seen = contrast(tiny.model, site, ids, kept, {"x": Splice(trained.local.result())})
    measured = seen.changes["x"]
    # Evaluation works in float32.
    assert kl == pytest.approx(float(measured.divergence[seen.counted].mean()), rel=1e-5)
    assert ce == pytest.approx(float(measured.loss[seen.counted].mean()), rel=1e-5)


def perfect() -> FlatDictionary:
    """Activations after a ReLU are not negative, so the identity codes them."""
    eye = torch.eye(WIDTH, dtype=torch.float64)
    zeros = torch.zeros(WIDTH, dtype=torch.float64)
    return FlatDictionary(eye, zeros, eye.clone(), zeros.clone(), ReLU()).train()


def test_a_perfect_dictionary_does_no_harm(tiny, batch):
    """Negative control: the same dictionary with one latent taken away does."""
    later = {"downstream": 1.0, "downstream_sites": LATER}
    loss, readings = program(tiny, perfect(), loss="kl", **later).loss(batch)
    assert abs(float(loss.detach())) < 1e-12
    assert abs(float(readings["fvu"])) < 1e-12
    broken = perfect()
    with torch.no_grad():
        broken.W_dec[3] = 0
    assert float(program(tiny, broken, loss="kl", **later).loss(batch)[0].detach()) > 1e-4


def test_without_a_splice_the_cross_entropy_is_the_models_own(tiny, ids, kept, batch):
    seen = contrast(tiny.model, sites.resolve(tiny.model, POST), ids, kept, {})
    loss, _ = program(tiny, perfect(), loss="ce").loss(batch)
    assert float(loss.detach()) == pytest.approx(float(seen.loss[seen.counted].mean()), rel=1e-6)


def test_a_transcoder_reads_one_site_and_is_spliced_at_another(tiny, ids, kept, batch):
    """Compared with the same splice made by hand."""
    origin = torch.cat([torch.randn(16, generator=draw(7)), torch.zeros(16)]).double()
    scale = torch.cat([torch.full((16,), 1.3), torch.full((16,), 0.6)]).double()
    units = Units.scaled(scale, origin)
    ours, twin = transcoder(), transcoder()
    loss, _ = program(tiny, ours, IN, [OUT], loss="kl", units=units).loss(batch)
    loss.backward()

    layer, seen = tiny.model.transformer.h[0], {}

    def splice(module, args, output):
        x = (seen["x"] - origin[:16]) * 1.3
        pre = x @ twin.W_enc.T + twin.b_enc
        f = pre * ((pre >= pre.topk(K).values[..., -1:]) & (pre > 0))
        y = (f @ twin.W_dec + twin.b_dec + x @ twin.W_skip.T) / 0.6
        return torch.where(kept[..., None], y, output)

    with torch.no_grad():
        clean = tiny.model(ids).logits
    handles = [
        layer.ln_2.register_forward_hook(lambda m, args, out: seen.update(x=out)),
        layer.mlp.register_forward_hook(splice),
    ]
    spliced = tiny.model(ids).logits
    for handle in handles:
        handle.remove()
    counted = kept[:, 1:]
    log_p, log_q = (z[:, :-1][counted].log_softmax(-1) for z in (clean, spliced))
    expected = functional.kl_div(log_q, log_p, log_target=True, reduction="none").sum(1).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected)
    for name, found in gradients(ours).items():
        torch.testing.assert_close(found, twin.get_parameter(name).grad)
        assert float(found.abs().max()) > 0


def test_several_sites_are_spliced_at_once(tiny, batch):
    """Sites side by side, as a crosscoder reads them; negative control: the second one missing."""
    both = [sites.resolve(tiny.model, f"blocks.{layer}.mlp.hook_post") for layer in (0, 1)]
    eye, zeros = torch.eye(2 * WIDTH).double(), torch.zeros(2 * WIDTH).double()

    def kl_with(rows):
        made = FlatDictionary(eye.clone(), zeros.clone(), rows, zeros.clone(), ReLU()).train()
        start = Start(zeros, Units.scaled(torch.tensor(1.7)), 2.5, 0.0)
        local = LearnDictionary(made, start, ObjectiveConfig(aux=0.0))
        learner = LearnEndToEnd(local, tiny, EndToEndConfig(loss="kl"), both, both)
        return float(learner.loss(batch)[0].detach())

    assert abs(kl_with(eye.clone())) < 1e-12
    assert kl_with(torch.cat([eye[:WIDTH], 0 * eye[WIDTH:]])) > 1e-4


# --- what the local program adds -----------------------------------------------------------------


def test_sparsity_auxk_and_the_schedule_of_k_are_those_of_local_training(tiny, batch):
    objective = ObjectiveConfig(l1=0.3, aux=0.7, k_start=9, dead_after=1)
    ours, plain = (program(tiny, flat(), loss="kl", objective=o) for o in (objective, None))
    loss, readings = ours.loss(batch)
    assert ours.module.selection.k == 9
    assert int(readings["dead"]) > 0
    rest = 0.3 * readings["l1"] + 0.7 * readings["aux"]
    torch.testing.assert_close(loss.detach(), readings["kl"] + rest)
    assert float(rest) > 0.01
    assert plain.loss(batch)[1].keys() == {"kl", "fvu", "l0", "dead"}


@pytest.mark.parametrize("made", ["batchtopk", "jumprelu", "gated"])
def test_every_kind_of_dictionary_learns_end_to_end(tiny, batch, made):
    """Every parameter gets a gradient from the model, or from what the dictionary asks beside."""
    rows = torch.randn(LATENTS, WIDTH, generator=draw(0)) / 5
    gated = perturbed(GatedDictionary.tied(rows, torch.zeros(WIDTH)))
    dictionary = gated if made == "gated" else flat(made)
    learner = program(
        tiny,
        dictionary,
        loss="kl",
        objective=ObjectiveConfig(l1=0.1, l0=0.1 * (made == "jumprelu")),
    )
    learner.loss(batch)[0].backward()
    for name, found in gradients(learner.module).items():
        assert float(found.abs().max()) > 0, name


def test_prefixes_reconstruct_beside_the_harm(tiny, batch, ids, kept):
    nested = ObjectiveConfig(aux=0.0, prefixes=(0.25, 1.0))
    learner, twin = program(tiny, flat(), loss="kl", reconstruction=0.5, objective=nested), flat()
    loss, readings = learner.loss(batch)
    terms = plain_terms(tiny, twin, ids, kept)
    with torch.no_grad():
        twin.W_dec[LATENTS // 4 :] = 0
    first = plain_terms(tiny, twin, ids, kept)["reconstruction"]
    torch.testing.assert_close(readings["kl"], terms["kl"].detach())
    torch.testing.assert_close(loss, terms["kl"] + 0.25 * (first + terms["reconstruction"]))


# --- training ------------------------------------------------------------------------------------

BATCH, CONTEXT, STEPS = 4, 64, 30


@pytest.fixture(scope="module")
def specimen() -> LoadedModel:
    return load("specimen")


@pytest.fixture(scope="module")
def contexts(specimen) -> Contexts:
    """Text of the specimen's own kind; the last context is padded, beginnings are not kept."""
    packing = Packing(CONTEXT, BATCH * CONTEXT * 12 + 9)
    return pack(open_corpus("stdlib", "train"), specimen.tokenizer, packing, Compute())


def make_training(specimen, contexts, kind="batchtopk", **config) -> Training:
    """A dictionary of the specimen's neurons, from scratch."""
    site = sites.resolve(specimen.model, POST)
    rows = tap.read(specimen.model, [site], contexts.ids[:BATCH])[POST][contexts.kept[:BATCH]]
    selection = build_selection(kind, 8, 256)
    dictionary = FlatDictionary.random(rows.shape[1], 256, selection, draw(1)).train()
    objective = ObjectiveConfig(aux=0.1, dead_after=2000, k_start=16)
    local = LearnDictionary(dictionary, look(rows), objective, STEPS)
    learner = LearnEndToEnd(
        local, specimen, EndToEndConfig(**{"loss": "kl", **config}), [site], [site]
    )
    optimiser = Optimiser(dictionary.parameters(), OptimConfig(learning_rate=0.01), STEPS)
    stream = TokenStream(mark_unkept(contexts), BATCH, Compute(seed=3))
    return Training(learner, optimiser, stream, STEPS)


def ce_recovered(specimen, contexts, dictionary) -> float:
    """Against zero ablation."""
    site = sites.resolve(specimen.model, POST)
    edits = {"x": Splice(dictionary), "zero": ZeroAblate()}
    seen = contrast(specimen.model, site, contexts.ids, contexts.kept, edits)
    ce = {name: float(c.loss[seen.counted].mean()) for name, c in seen.changes.items()}
    return (ce["zero"] - ce["x"]) / (ce["zero"] - float(seen.loss[seen.counted].mean()))


def test_the_loss_falls_and_more_cross_entropy_is_recovered(specimen, contexts):
    shown, heldout = contexts[:-8], contexts[-8:]
    start = make_training(specimen, shown, "topk").program.local.result()
    training = make_training(specimen, shown, "topk")
    weights = {name: p.clone() for name, p in specimen.model.state_dict().items()}
    kl = [float(advance(training, step)[1]["kl"]) for step in range(STEPS)]
    assert sum(kl[-5:]) < 0.6 * sum(kl[:5])
    after = ce_recovered(specimen, heldout, training.program.local.result())
    assert after > ce_recovered(specimen, heldout, start) + 0.3
    # The model is as it was, and nothing was gathered on it.
    assert all(torch.equal(p, weights[name]) for name, p in specimen.model.state_dict().items())
    assert all(p.grad is None for p in specimen.model.parameters())
    assert hooks(specimen) == 0


def test_a_resumed_run_goes_on_bit_for_bit(specimen, contexts, flat_state):
    options = {"downstream": 0.1, "downstream_sites": ("blocks.0.hook_resid_post",)}
    whole, half, again = (make_training(specimen, contexts, **options) for _ in range(3))
    for step in range(8):
        advance(whole, step)
    for step in range(4):
        advance(half, step)
    again.load_state_dict(copy.deepcopy(half.state_dict()))
    for step in range(4, 8):
        advance(again, step)
    assert flat_state(again.state_dict()) == flat_state(whole.state_dict())
    assert flat_state(half.state_dict()) != flat_state(whole.state_dict())


def test_marked_ids_say_which_tokens_are_kept(contexts):
    marked = mark_unkept(contexts)
    assert not contexts.kept.all()
    assert torch.equal(marked.ids >= 0, contexts.kept)
    assert torch.equal(marked.ids[contexts.kept], contexts.ids[contexts.kept])
    assert torch.equal(~marked.ids[~contexts.kept], contexts.ids[~contexts.kept])


def test_what_padding_and_unkept_tokens_hold_is_left_alone(tiny, batch):
    """Other padding changes nothing: a causal model does not look ahead."""
    other = batch.clone()
    other[2, 6:] = ~torch.tensor([1, 2])
    assert not torch.equal(other, batch)
    losses = [float(program(tiny, flat(), loss="kl").loss(b)[0].detach()) for b in (batch, other)]
    assert losses[0] == losses[1]
    other[2, 4] = (other[2, 4] + 1) % VOCABULARY  # negative control: a kept token
    assert float(program(tiny, flat(), loss="kl").loss(other)[0].detach()) != losses[0]


@pytest.mark.parametrize("loss", ["kl", "ce"])
def test_hooks_are_gone_after_an_error(tiny, batch, loss, monkeypatch):
    """In the clean run, which is given an unknown token, and in the spliced one."""
    learner = program(tiny, flat(), loss=loss)
    with pytest.raises(IndexError):
        learner.loss(batch + 10 * VOCABULARY)
    assert hooks(tiny) == 0

    def fail(activation):
        assert hooks(tiny) > 0
        raise MemoryError

    clean = learner._run_clean(batch)
    monkeypatch.setattr(learner, "_run_clean", lambda batch: clean)
    monkeypatch.setattr(tiny.model.transformer.h[1].mlp.c_fc, "forward", fail)
    with pytest.raises(MemoryError):
        learner.loss(batch)
    assert hooks(tiny) == 0


# --- refusals ------------------------------------------------------------------------------------


def test_a_configuration_is_refused_with_all_reasons():
    with pytest.raises(UserError) as caught:
        EndToEndConfig(loss="kll", reconstruction=-1.0, downstream=0.5)
    assert str(caught.value) == (
        "the end-to-end configuration has 3 problems:\n"
        "  - reconstruction = -1.0; wanted at least 0\n"
        "  - loss = 'kll'; known: none, kl, ce; did you mean 'kl'?\n"
        "  - downstream has a weight and no site; name some in downstream_sites"
    )
    with pytest.raises(UserError) as caught:
        EndToEndConfig(loss="kl", downstream_sites=("ln_final",))
    assert str(caught.value) == "downstream_sites have no weight; set downstream above 0"
    with pytest.raises(UserError) as caught:
        EndToEndConfig(reconstruction=1.0)
    assert str(caught.value) == (
        "reconstruction alone is what local training lowers; leave it out, or set loss to kl or ce"
    )


def test_what_makes_no_sense_is_refused_before_anything_is_loaded():
    nested = ObjectiveConfig(prefixes=(0.5, 1.0))
    wrong = {"shards": True, "models": 2, "dtype": "bfloat16", "context": 1}
    found = reasons(EndToEndConfig(loss="kl"), nested, **wrong)
    assert found == [
        "end-to-end training runs the model on text, and shards hold activations only; leave "
        "shards out, or train locally",
        "end-to-end training splices into one model, and this dictionary reads 2; read one, or "
        "train locally",
        "dtype = bfloat16; gradients through the model want float32",
        "context = 1; a window of one token has no next one",
        "prefixes are learned from the error at the site, which has no weight; set reconstruction "
        "above 0, or leave prefixes out",
    ]
    assert reasons(EndToEndConfig(), nested, **wrong) == []
    assert reasons(EndToEndConfig(loss="kl", reconstruction=1.0), nested) == []


def test_sites_that_the_splice_does_not_reach_are_refused(tiny):
    sites_asked = (IN, POST, LATER[0])
    with pytest.raises(UserError) as caught:
        program(tiny, flat(), loss="kl", downstream=1.0, downstream_sites=sites_asked)
    assert str(caught.value) == (
        "end-to-end training has 2 problems:\n"
        "  - downstream site blocks.0.mlp.hook_post does not come after blocks.0.mlp.hook_post, "
        "where the reconstruction is spliced in; name later sites\n"
        "  - downstream site transformer.h.0.ln_2 does not come after blocks.0.mlp.hook_post, "
        "where the reconstruction is spliced in; name later sites"
    )
    assert hooks(tiny) == 0


def test_a_model_that_predicts_nothing_is_refused(tiny):
    encoder = replace(tiny, name="a folder", family="bert")
    with pytest.raises(UserError) as caught:
        program(encoder, flat(), loss="kl")
    assert str(caught.value) == (
        "a folder (bert) predicts no next token, so nothing can be learned end to end; "
        "name a causal language model, or train locally"
    )
