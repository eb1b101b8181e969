"""Local codes: numbers and addresses by hand, codes that are known, and what must always hold."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from monosemy.dictionaries import files
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.conversion import convert
from monosemy.dictionaries.local import LocalDictionary, _reasons, operations, with_level
from monosemy.dictionaries.selection import JumpReLU, ReLU
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError
from monosemy.tensors import branches, plain_branches
from monosemy.tensors.codes import SparseCode

PARENTS, CHILDREN, CHARTS, RANK, WIDTH = 4, 3, 2, 2, 12


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def axes(seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draw(seed)).double())[0]


def flat(parents: int = PARENTS, seed: int = 0) -> FlatDictionary:
    """Directions at right angles, read as they are written; what is above 0.1 counts."""
    threshold = torch.full((parents,), 0.1).double()
    b_dec = torch.randn(WIDTH, generator=draw(8)).double()
    return FlatDictionary.tied(axes(seed)[:parents], b_dec, JumpReLU(threshold)).double().eval()


def charts(bearers: int, first: int = PARENTS, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Planes at right angles to each other, to the parents, and to the planes before `first`."""
    V = axes(seed)[first : first + CHARTS * RANK].view(CHARTS, RANK, WIDTH).contiguous()
    angles = torch.linspace(0, 4, CHILDREN).double() + torch.arange(bearers)[:, None] / 7
    return V, torch.arange(bearers) % CHARTS, torch.stack([angles.cos(), angles.sin()], 2)


def make(levels: int = 1, **rule: float) -> LocalDictionary:
    trunk, first, bearers = flat(), PARENTS, PARENTS
    for _ in range(levels):
        trunk = LocalDictionary(trunk, *charts(bearers, first), **rule).eval()
        first, bearers = first + CHARTS * RANK, bearers * CHILDREN
    return trunk


# --- numbers and addresses ------------------------------------------------------------------------


def test_latents_are_numbered_level_by_level():
    deep = make(2)
    assert deep.latents == 4 + 12 + 36
    assert [deep.address(n) for n in (0, 3, 4, 6, 7, 15)] == ["0", "3", "0.0", "0.2", "1.0", "3.2"]
    assert [deep.address(n) for n in (16, 18, 19, 51)] == ["0.0.0", "0.0.2", "0.1.0", "3.2.2"]
    assert deep.parent_of(torch.tensor([0, 3, 4, 7, 15, 16, 19, 51])).tolist() == [
        -1, -1, 0, 1, 3, 4, 5, 15,
    ]  # fmt: skip
    assert [level.bearers for level in deep.levels] == [4, 12]


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_every_latent_has_an_address_that_leads_to_it(levels: int):
    dictionary = make(levels) if levels < 3 else with_level(make(2), zeros(36))
    found = [dictionary.address(n) for n in range(dictionary.latents)]
    assert len(set(found)) == dictionary.latents
    assert [dictionary.numbered(address) for address in found] == list(range(dictionary.latents))
    parents = dictionary.parent_of(torch.arange(dictionary.latents)).tolist()
    for address, parent in zip(found, parents, strict=True):
        assert address.rpartition(".")[0] == ("" if parent < 0 else found[parent])


def zeros(bearers: int) -> branches.Charts:
    return branches.Charts(*charts(bearers, 0))


@pytest.mark.parametrize("address", ["4", "-1", "0.3", "0.0.3", "0.0.0.0", "3.-1"])
def test_an_address_that_leads_nowhere_is_refused(address: str):
    with pytest.raises(UserError) as caught:
        make(2).numbered(address)
    assert str(caught.value) == f"no latent has the address {address}; numbers go up to 4.3.3"


@pytest.mark.parametrize("address", ["", "a", "1.", "1,2"])
def test_an_address_that_is_none_is_refused(address: str):
    with pytest.raises(UserError) as caught:
        make().numbered(address)
    assert str(caught.value) == f"address {address!r}; wanted numbers with dots, as in 12.3"


def test_the_tree_says_how_large_everything_is():
    assert make(2).tree() == {
        "parents": 4, "children": [3, 3], "charts": [2, 2], "rank": [2, 2],
    }  # fmt: skip


def test_operations_counted_by_hand():
    """Two proposals, a round and the last: each visit reads and writes a parent, a chart, codes."""
    d, visits = WIDTH, 2
    parent, chart, codes = 4 * d, 4 * d * RANK, 4 * RANK * CHILDREN
    wanted = 2 * d * PARENTS + 2 * (visits * (parent + chart + codes) + 2 * d)
    assert operations(make(rounds=1), 2) == wanted
    flat_one = 2 * d * make().latents
    assert operations(make(rounds=0), 0) < flat_one / 3
    assert operations(make(2), 2) > operations(make(1), 2)


# --- codes that are known -------------------------------------------------------------------------


def planted(dictionary: LocalDictionary, seed: int = 0) -> torch.Tensor:
    """Codes of 200 tokens: a parent is active or not, and then has a child or none, and so on."""
    full = torch.zeros(200, dictionary.latents).double()
    uniform = torch.rand(full.shape, generator=draw(seed), dtype=torch.float64)
    full[:, :PARENTS] = (uniform[:, :PARENTS] < 0.4) * (1 + uniform[:, :PARENTS])
    for level in dictionary.levels:
        first, own = level.trunk.latents - level.bearers, level.trunk.latents
        for bearer in range(level.bearers):
            which = torch.randint(level.branching + 1, (200,), generator=draw(bearer))
            for child in range(level.branching):
                n = own + bearer * level.branching + child
                has = (which == child) & (full[:, first + bearer] > 0)
                full[:, n] = has * (0.5 + uniform[:, n]) * full[:, first + bearer]
    return full


def one_a_chart(dictionary: LocalDictionary, full: torch.Tensor) -> torch.Tensor:
    """Tokens where no two active bearers share a chart: elsewhere children could not be told apart."""
    keep = torch.ones(len(full), dtype=torch.bool)
    for level in dictionary.levels:
        active = full[:, level.trunk.latents - level.bearers : level.trunk.latents] > 0
        for chart in range(len(level.V)):
            keep &= active[:, level.routes == chart].sum(1) <= 1
    return keep


@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize("rounds", [0, 2])
def test_where_everything_is_at_right_angles_the_code_is_what_was_written(levels, rounds):
    dictionary = make(levels, rounds=rounds, floor=0.3, least=0.2)
    full = planted(dictionary)
    full = full[one_a_chart(dictionary, full)]
    assert (full[:, -3 * CHILDREN :] > 0).any()
    assert len(full) > 60
    x = full @ dictionary.W_dec + dictionary.b_dec
    torch.testing.assert_close(dictionary.encode(x), full)
    torch.testing.assert_close(dictionary(x), x)


def test_a_parent_is_corrected_for_what_its_child_has_of_it():
    """A flat encoder reads too much of a parent where a child lies partly along it."""
    d = axes()
    V = torch.stack([(0.6 * d[0] + 0.8 * d[5]), d[6]])[None]
    C = torch.tensor([[[1.0, 0.0]]]).double()
    trunk = FlatDictionary.tied(d[:1], torch.zeros(WIDTH).double(), ReLU()).double()
    dictionary = LocalDictionary(trunk, V, torch.tensor([0]), C).eval()
    x = (2 * d[0] + 1 * V[0, 0])[None]
    torch.testing.assert_close(trunk.encode(x), torch.tensor([[2.6]]).double())
    torch.testing.assert_close(dictionary.encode(x), torch.tensor([[2.0, 1.0]]).double())


def test_local_gain_measures_a_child_by_its_parent():
    dictionary = make(least=0.2)
    e = dictionary.W_dec[PARENTS + 1]
    for size, there in ((0.19, False), (0.21, True)):
        for parent in (1.0, 50.0):
            x = parent * (dictionary.W_dec[:1] + size * e) + dictionary.b_dec
            assert bool(dictionary.encode(x)[0, PARENTS + 1] > 0) is there


def test_a_bearer_that_points_at_no_chart_has_no_children():
    dictionary = make()
    full = planted(dictionary)
    dictionary.routes[0] = -1
    code = dictionary.encode(full @ make().W_dec + dictionary.b_dec)
    assert (code[:, PARENTS : PARENTS + CHILDREN] == 0).all()
    assert (code[:, PARENTS + CHILDREN :] > 0).any()
    assert (dictionary.W_dec[PARENTS : PARENTS + CHILDREN] == 0).all()


# --- what must always hold ------------------------------------------------------------------------


def random_one(seed: int, levels: int, floor: float, least: float) -> LocalDictionary:
    """Everything overlaps, and some bearers point at no chart."""
    generator, width = draw(seed), 5
    W_enc, W_dec = torch.randn(2, 6, width, generator=generator)
    trunk = FlatDictionary(W_enc, torch.zeros(6), normalize(W_dec, dim=1), W_dec[0].clone(), ReLU())
    bearers = 6
    for _ in range(levels):
        V = torch.linalg.qr(torch.randn(3, width, 2, generator=generator))[0].mT.contiguous()
        C = normalize(torch.randn(bearers, 2, 2, generator=generator), dim=2)
        routes = torch.randint(-1, 3, (bearers,), generator=generator)
        trunk = LocalDictionary(trunk, V, routes, C, 1, floor, least)
        bearers *= 2
    return trunk.eval()


@given(st.integers(0, 10_000), st.integers(1, 3), st.floats(0, 1), st.floats(0, 0.5))
def test_nothing_is_active_without_its_parent_and_no_parent_has_two_children(
    seed, levels, floor, least
):
    dictionary = random_one(seed, levels, floor, least)
    x = 2 * torch.randn(30, 5, generator=draw(seed + 1))
    code = dictionary.encode(x)
    assert (code >= 0).all()
    parents = dictionary.parent_of(torch.arange(dictionary.latents))
    below = (parents >= 0).nonzero().flatten()
    active = code[:, below] > 0
    assert (code[:, parents[below]][active] > 0).all()
    many = torch.zeros(30, dictionary.latents).index_add(1, parents[below], active.float())
    assert many.max() <= 1
    first = below[below < dictionary.levels[0].latents]
    ratio = code[:, first] / code[:, parents[first]]
    assert (ratio[code[:, first] > 0] >= least - 1e-4).all()


@given(st.integers(0, 10_000), st.integers(1, 2))
def test_what_is_left_over_is_what_the_code_does_not_write(seed, levels):
    dictionary = random_one(seed, levels, 0.2, 0.1).double()
    x = torch.randn(20, 5, generator=draw(seed)).double()
    code, _, found = dictionary.find(x)
    rest = found[-1].explained.rest
    torch.testing.assert_close(x - dictionary.decode(code), rest)
    torch.testing.assert_close(x - code.dense() @ dictionary.W_dec - dictionary.b_dec, rest)


@given(st.integers(0, 10_000), st.integers(0, 3))
def test_explaining_never_leaves_more_than_the_proposals_do(seed, rounds):
    dictionary = random_one(seed, 1, 0.0, 0.0).double()
    dictionary.rounds = rounds
    x = torch.randn(20, 5, generator=draw(seed)).double()
    before = (x - dictionary.parents(x)).square().sum(1)
    after = (x - dictionary(x)).square().sum(1)
    assert (after <= before + 1e-9).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [1, 2])
def test_plain_torch_finds_the_same_code(monkeypatch, dtype, levels):
    dictionary = random_one(3, levels, 0.3, 0.1).to(dtype)
    x = torch.randn(200, 5, generator=draw(4)).to(dtype)
    compiled, out = dictionary.code(x), dictionary(x)
    monkeypatch.setattr(branches, "_side", lambda tensor: plain_branches)
    plain = dictionary.code(x)
    assert torch.equal(compiled.indices, plain.indices)
    assert torch.equal(compiled.offsets, plain.offsets)
    torch.testing.assert_close(compiled.values, plain.values, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(dictionary(x), out, rtol=1e-4, atol=1e-5)


def test_a_child_may_be_written_alone():
    """Decoding takes any code: an intervention may set a child and no parent."""
    dictionary = make()
    code = torch.zeros(2, dictionary.latents).double()
    code[1, PARENTS + 4] = 3.0
    wanted = torch.stack([0 * dictionary.b_dec, 3 * dictionary.W_dec[PARENTS + 4]])
    torch.testing.assert_close(dictionary.decode(code), wanted + dictionary.b_dec)


# --- what is refused ------------------------------------------------------------------------------


def refused(*given, **rule) -> str:
    with pytest.raises(UserError) as caught:
        LocalDictionary(*given, **rule)
    return str(caught.value)


def test_a_chart_of_higher_rank_than_the_width_is_refused():
    V, C = torch.randn(2, 13, WIDTH).double(), torch.randn(PARENTS, 3, 13).double()
    text = refused(flat(), V, torch.zeros(PARENTS).long(), C)
    assert text == "charts of rank 13 in 12 dimensions; wanted at most 12"


@pytest.mark.parametrize(("route", "said"), [(2, "0 to 2"), (-2, "-2 to 1")])
def test_routes_that_lead_nowhere_are_refused(route: int, said: str):
    V, routes, C = charts(PARENTS)
    routes[2] = route
    text = refused(flat(), V, routes, C)
    assert text == f"routes lead to charts {said}; wanted -1 (none) to 1"


def test_parents_of_other_lengths_than_one_are_refused():
    trunk = flat()
    trunk.W_dec.data *= 1.1
    text = refused(trunk, *charts(PARENTS))
    assert text == "the trunk's decoder rows are not of length one; normalise them first"
    trunk.W_dec.data /= 1.1 * 1.001  # what half precision leaves
    LocalDictionary(trunk, *charts(PARENTS))


def test_all_reasons_come_at_once():
    V, routes, C = charts(PARENTS + 1)
    # Asked directly: annotations, which tests check, would stop at the first.
    reasons = _reasons(
        flat(), V[:, :, :5], routes[:-1], C[:, :, :1], rounds=-1, floor=-1.0, least=float("nan")
    )
    assert len(reasons) == 7
    for reason in (
        "V lies in 5 dimensions; the trunk reads 12",
        "C has 1 numbers a child; wanted 2, the charts' rank",
        "routes has shape (4,); wanted (5,), one a bearer",
        "5 bearers; wanted 4, the trunk's latents",
        "rounds = -1; wanted at least 0",
        "floor = -1.0; wanted at least 0",
        "least = nan; wanted at least 0",
    ):
        assert reason in reasons
    text = refused(make(), *charts(PARENTS))
    assert text == "4 bearers; wanted 12, the trunk's children"


def test_a_trunk_that_writes_elsewhere_is_refused():
    W_dec = torch.eye(4, 5).double()
    trunk = Transcoder(axes()[:4], torch.zeros(4).double(), W_dec, W_dec[0], ReLU())
    assert _reasons(trunk, *charts(PARENTS), 1, 0.0, 0.0) == [
        "the trunk is a Transcoder; wanted a plain autoencoder, or another local dictionary"
    ]


def test_it_learns_in_stages():
    with pytest.raises(UserError) as caught:
        make().training_code(torch.zeros(1, WIDTH).double())
    assert str(caught.value) == (
        "a local dictionary learns in stages: train it with encoder = 'local'"
    )


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_files_hold_every_bit(dtype, tmp_path):
    dictionary = make(2, rounds=2, floor=0.123456789012345, least=0.2).to(dtype)
    files.save(dictionary, tmp_path)
    loaded = files.load(tmp_path)
    assert loaded.tree() == dictionary.tree()
    ours, theirs = dictionary.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(theirs[name], tensor.to(theirs[name])), name
        assert name.endswith(("floor", "least")) or theirs[name].dtype == tensor.dtype, name


def test_files_that_lead_nowhere_are_refused(tmp_path):
    files.save(make(), tmp_path)
    tensors = load_file(tmp_path / files.WEIGHTS)
    tensors["routes_1"][1] = 7
    save_file(tensors, tmp_path / files.WEIGHTS)
    with pytest.raises(UserError, match=r"routes lead to charts 0 to 7; wanted -1 \(none\) to 1"):
        files.load(tmp_path)


def test_other_libraries_have_no_word_for_it(tmp_path):
    files.save(make(), tmp_path / "own")
    for form in ("saelens", "sparsify", "dictionary_learning", "gemma_scope"):
        with pytest.raises(UserError, match="a local code"):
            convert(str(tmp_path / "own"), str(tmp_path / form), form)
        assert not (tmp_path / form).exists()
    convert(str(tmp_path / "own"), str(tmp_path / "again"), "monosemy")


def test_the_order_of_entries_is_that_of_latents():
    """Explaining goes from entry to entry, so a token alone and in a batch must list them alike."""
    code = random_one(1, 2, 0.0, 0.0).code(torch.randn(50, 5, generator=draw(2)))
    for token in range(code.tokens):
        entries = code[token : token + 1].indices.tolist()
        levels = [[n for n in entries if a <= n < b] for a, b in itertools.pairwise((0, 6, 18, 42))]
        assert sum(levels, []) == entries
        assert isinstance(code, SparseCode)
        assert levels[0] == sorted(levels[0])
