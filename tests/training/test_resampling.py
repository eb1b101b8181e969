"""Dead latents begin anew as in "Towards Monosemanticity", and the same way every time."""

import pytest
import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.refined import MatchingPursuit
from monosemy.dictionaries.selection import build_selection
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.tensors.rows import RowGradient
from monosemy.training.loop import advance_program
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.resampling import Resampling, resamples
from monosemy.training.revival import Firing
from monosemy.training.start import look

WIDTH, WRITTEN, LATENTS, TOKENS = 6, 4, 12, 30
DEAD = [2, 5, 11]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(kind="relu"):
    rows = torch.nn.functional.normalize(drawn(LATENTS, WIDTH), dim=1)
    if kind == "gated":
        dictionary = GatedDictionary.tied(rows, drawn(WIDTH, seed=1))
    elif kind == "transcoder":
        W_dec = torch.nn.functional.normalize(drawn(LATENTS, WRITTEN, seed=3), dim=1)
        selection = build_selection("relu", 2, LATENTS)
        dictionary = Transcoder(
            rows, torch.zeros(LATENTS), W_dec, drawn(WRITTEN, seed=1), selection
        )
    else:
        selection = build_selection(kind, 2, LATENTS)
        dictionary = FlatDictionary.tied(rows, drawn(WIDTH, seed=1), selection)
    with torch.no_grad():
        for name, parameter in dictionary.named_parameters():
            if parameter.ndim == 1 and name != "b_dec":
                parameter.add_(1 + torch.rand(LATENTS, generator=torch.Generator().manual_seed(2)))
        dictionary.W_enc.mul_(torch.linspace(1, 3, LATENTS)[:, None])
    return dictionary


def firing(dead=DEAD, window=100):
    counter = Firing(LATENTS, window)
    counter.silent[dead] = torch.arange(len(dead)) + window
    return counter


def renew(dictionary, error=None, dead=DEAD, seed=0, step=5, tokens=TOKENS):
    x = drawn(tokens, WIDTH, seed=7)
    target = x if dictionary.autoencodes else drawn(tokens, WRITTEN, seed=8)
    error = torch.linspace(1, 2, tokens) if error is None else error
    counter = firing(dead)
    changed = Resampling(5, 1.0, 100, seed).renew(dictionary, x, target, error, counter, step)
    return x, target, counter, changed


@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu", "gated", "transcoder"])
def test_dead_latents_become_what_the_docstring_says_and_the_living_stay(kind):
    before, after = made(kind), made(kind)
    x, target, counter, changed = renew(after)
    old, new = dict(before.named_parameters()), dict(after.named_parameters())
    living = [i for i in range(LATENTS) if i not in DEAD]
    written = target - old["b_dec"]
    read = x - before.shift
    used = set()
    for latent in DEAD:
        cosines = torch.cosine_similarity(read, new["W_enc"][latent][None].detach())
        token = int(cosines.argmax())
        used.add(token)
        unit = torch.nn.functional.normalize
        length = (1.0 if kind == "topk" else 0.2) * old["W_enc"][living].norm(dim=1).mean()
        torch.testing.assert_close(new["W_enc"][latent], length * unit(read[token], dim=0))
        torch.testing.assert_close(new["W_dec"][latent], unit(written[token], dim=0))
    assert len(used) == len(DEAD), "no two begin alike"
    for name in ("b_enc", "b_mag", "r_mag"):
        if name in new:
            assert new[name][DEAD].tolist() == [0.0] * 3
    if kind == "jumprelu":
        threshold = 0.2 * old["selection.threshold"][living].mean()
        torch.testing.assert_close(new["selection.threshold"][DEAD], threshold.expand(3))
    assert torch.equal(old["b_dec"], new["b_dec"])
    for name in old.keys() - {"b_dec"}:
        assert torch.equal(old[name][living], new[name][living]), name
        assert not torch.equal(old[name][DEAD], new[name][DEAD]), name
    assert counter.silent.tolist() == [0] * LATENTS
    found = {id(parameter): sorted(rows.tolist()) for parameter, rows in changed}
    assert found == {id(p): DEAD for name, p in new.items() if name != "b_dec"}


def token_of(dictionary, x):
    read = x - dictionary.b_dec.detach()
    return [int(torch.cosine_similarity(read, dictionary.W_enc[i][None]).argmax()) for i in DEAD]


def test_tokens_are_drawn_by_the_square_of_their_loss():
    """One token of loss 3 among nine of loss 1: it is drawn first with probability 9 / 18."""
    error = torch.ones(10)
    error[4] = 3.0
    drawn_first = 0
    for seed in range(400):
        dictionary = made()
        x = renew(dictionary, error, dead=[2], seed=seed, tokens=10)[0]
        drawn_first += token_of(dictionary, x)[0] == 4
    assert drawn_first / 400 == pytest.approx(0.5, abs=4 * (0.25 / 400) ** 0.5)


def test_what_is_reconstructed_perfectly_is_never_drawn():
    error = torch.zeros(TOKENS)
    error[[3, 8]] = 1.0
    dictionary = made()
    x, _, counter, changed = renew(dictionary, error)
    # Two tokens for three latents: the longest silent go first, the third waits.
    assert sorted(token_of(dictionary, x)[1:]) == [3, 8]
    assert counter.silent[DEAD].tolist() == [100, 0, 0]
    assert all(sorted(rows.tolist()) == DEAD[1:] for _, rows in changed)
    assert renew(made(), torch.zeros(TOKENS))[3] == []


def test_nobody_dead_nobody_renewed_and_everybody_dead_is_no_error():
    assert renew(made(), dead=[])[3] == []
    dictionary = made()
    renew(dictionary, dead=list(range(LATENTS)))
    assert all(torch.isfinite(p).all() for p in dictionary.parameters())
    torch.testing.assert_close(dictionary.W_enc.norm(dim=1), torch.full((LATENTS,), 0.2))


def test_it_depends_on_seed_and_step_alone():
    def rows(**where):
        dictionary = made()
        renew(dictionary, **where)
        return dictionary.W_enc

    assert torch.equal(rows(), rows())
    assert not torch.equal(rows(), rows(seed=1))
    assert not torch.equal(rows(), rows(step=10))


def test_occasions():
    assert [s for s in range(1, 41) if Resampling(5, 0.5, 40).due(s)] == [5, 10, 15, 20]
    assert not any(Resampling(0, 1.0, 40).due(step) for step in range(1, 41))


def test_what_has_no_rows_of_its_own_cannot():
    assert resamples(made())
    assert resamples(made("transcoder"))
    assert not resamples(MatchingPursuit(drawn(LATENTS, WIDTH), torch.zeros(WIDTH), 2))


# --- in the loop ----------------------------------------------------------------------------------


def program(**config):
    torch_rows = drawn(400, WIDTH, seed=9)
    options = {"aux": 0.0, "dead_after": 60, "resample_every": 3, "resample_until": 1.0} | config
    dictionary = FlatDictionary.tied(
        torch.nn.functional.normalize(drawn(LATENTS, WIDTH), dim=1),
        torch.zeros(WIDTH),
        build_selection("relu", 2, LATENTS),
    )
    with torch.no_grad():
        dictionary.b_enc[DEAD] = -50.0
    return LearnDictionary(dictionary.train(), look(torch_rows), ObjectiveConfig(**options), 12)


@pytest.mark.parametrize("rows", ["all", "active"])
def test_the_dead_come_back_and_their_moments_are_forgotten(rows):
    learner = program()
    optimiser = Optimiser(learner.module.parameters(), OptimConfig(0.01, rows=rows), 12)
    for step in range(3):
        batch = drawn(TOKENS, WIDTH, seed=20 + step)
        readings = advance_program(learner, optimiser, batch, step)[1]
        assert int(readings["dead"]) == (len(DEAD) if step else 0)
    assert learner.module.b_enc[DEAD].tolist() == [0.0] * 3
    parts = {id(part.parameter): part for part in optimiser._rows}
    for parameter in (learner.module.W_enc, learner.module.W_dec, learner.module.b_enc):
        part = parts[id(parameter)]
        for moment in (part.mean, part.variance):
            moment = moment.view_as(parameter)
            assert float(moment[DEAD].abs().max()) == 0
            assert float(moment[[0, 1, 3]].abs().min()) > 0, "the living keep theirs"
    readings = advance_program(learner, optimiser, drawn(TOKENS, WIDTH, seed=30), 3)[1]
    assert int(readings["dead"]) == 0
    assert int(learner.firing.silent.max()) < TOKENS, "they fire again"
    torch.testing.assert_close(learner.module.W_dec.norm(dim=1), torch.ones(LATENTS))


def test_off_they_stay_dead():
    learner = program(resample_every=0)
    optimiser = Optimiser(learner.module.parameters(), OptimConfig(0.01), 12)
    for step in range(5):
        advance_program(learner, optimiser, drawn(TOKENS, WIDTH, seed=20 + step), step)
    assert int(learner.firing.dead.sum()) == len(DEAD)


def test_a_resumed_run_resamples_the_same():
    def state(learner, optimiser):
        return {"program": learner.state_dict(), "optimiser": optimiser.state_dict()}

    def go(learner, optimiser, begin, end):
        for step in range(begin, end):
            advance_program(learner, optimiser, drawn(TOKENS, WIDTH, seed=20 + step), step)

    def new():
        learner = program(target_l0=3.0, l1=0.05, prefixes_sampled=3)
        return learner, Optimiser(learner.module.parameters(), OptimConfig(0.01), 12)

    whole, first, second = new(), new(), new()
    go(*whole, 0, 12)
    go(*first, 0, 5)
    saved = state(*first)
    second[0].load_state_dict(saved["program"])
    second[1].load_state_dict(saved["optimiser"])
    go(*second, 5, 12)
    for a, b in zip(whole[0].module.parameters(), second[0].module.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(whole[0].firing.silent, second[0].firing.silent)


def test_an_attached_unit_row_is_the_same_memory():
    """Resampling writes where the optimiser reads the rows that it keeps at length one."""
    dictionary = made()
    gradient = RowGradient.attach(dictionary.W_dec, unit=True)
    renew(dictionary)
    assert torch.equal(gradient.unit, dictionary.W_dec)
