import json
import math
from collections import Counter
from dataclasses import asdict, fields, replace

import pytest
import torch

from monosemy.data.tokens import NOWHERE, Contexts
from monosemy.foundation.errors import Interrupted, UserError
from monosemy.recipes import specimen as module
from monosemy.recipes.specimen import (
    SpecimenRecipe,
    cross_entropy,
    ngram_cross_entropies,
    sample,
    train_specimen,
)
from monosemy.tensors.compute import Compute
from monosemy.training.optim import OptimConfig

TINY = SpecimenRecipe(
    vocabulary=300, width=8, heads=2, neurons=16, context=32, steps=12, batch=4,
    autocast="float32", optim=OptimConfig(learning_rate=0.02),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _library(small_library):
    """No test here reads the real standard library."""


def weights(folder) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / "model" / "model.safetensors")


def same(one, other) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# --- the whole road ------------------------------------------------------------------------------


def test_a_training_writes_a_folder_that_any_tool_opens(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    card = train_specimen(TINY, tmp_path / "run")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert type(model).__name__ == "GPT2LMHeadModel"
    assert (model.config.n_embd, model.config.n_inner, model.config.n_layer) == (8, 16, 1)
    assert model.config.activation_function == "relu"
    assert model.config.vocab_size == 300
    assert len(tokenizer) == 300
    text = "def naïve():\n    return 😀"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.bos_token == "<|endoftext|>"

    unseen = module.pack(
        module.open_corpus("stdlib", "heldout"), tokenizer,
        module.Packing(context=32, drop_bos=False), Compute(),
    )  # fmt: skip
    assert cross_entropy(model, unseen) == pytest.approx(
        card["cross_entropy"]["specimen"], rel=1e-6
    )


def test_the_card_says_what_was_done(tmp_path):
    card = train_specimen(TINY, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "card.json").read_text()) == json.loads(json.dumps(card))
    assert card["recipe"] == asdict(TINY)
    assert card["seen_tokens"] == 12 * 4 * 32
    nats = card["cross_entropy"]
    assert set(nats) == {"specimen", "specimen_on_train", "unigram", "bigram"}
    assert all(0 < value < math.log(300) + 1 for value in nats.values())
    assert nats["bigram"] < nats["unigram"]
    assert nats["specimen"] < math.log(300), "it has learned something"
    assert card["text"]["train"]["documents"] == 12
    assert card["text"]["heldout"]["documents"] == 4
    assert [line["step"] for line in card["curve"]] == [12]
    assert len(card["samples"]) == len(module.SAMPLE_PROMPTS)
    assert all(
        text.startswith(prompt)
        for text, prompt in zip(card["samples"], module.SAMPLE_PROMPTS, strict=True)
    )


def test_the_parameters_on_the_card_are_those_of_the_file(tmp_path):
    card = train_specimen(TINY, tmp_path / "run")
    stored = sum(value.numel() for value in weights(tmp_path / "run").values())
    assert card["parameters"] == stored


def test_a_stopped_training_goes_on_bit_for_bit(tmp_path, monkeypatch):
    import monosemy.training.loop as loop

    train_specimen(TINY, tmp_path / "whole")
    ordinary, taken = loop.advance, []

    def stopping(training, number):
        taken.append(number)
        if len(taken) == 5:
            loop.signal.raise_signal(loop.signal.SIGINT)
        return ordinary(training, number)

    monkeypatch.setattr(loop, "advance", stopping)
    with pytest.raises(Interrupted, match="stopped after step 5 of 12"):
        train_specimen(TINY, tmp_path / "run")
    train_specimen(TINY, tmp_path / "run")
    assert taken == list(range(12))
    assert same(tmp_path / "run", tmp_path / "whole")
    train_specimen(TINY, tmp_path / "run")
    assert len(taken) == 12, "a finished run takes no further step"


EFFECTS = {
    "vocabulary": 290,
    "width": 16,
    "heads": 1,
    "neurons": 8,
    "context": 16,
    "steps": 6,
    "batch": 2,
    "autocast": "bfloat16",
    "optim": OptimConfig(learning_rate=0.01),
    "seed": 1,
}


def test_every_option_is_accounted_for():
    assert set(EFFECTS) == {field.name for field in fields(SpecimenRecipe)}


@pytest.mark.parametrize("name", EFFECTS)
def test_every_option_has_an_effect(tmp_path, name):
    base = replace(TINY, steps=3)
    for folder, recipe in (
        ("one", base),
        ("again", base),
        ("other", replace(base, **{name: EFFECTS[name]})),
    ):
        train_specimen(recipe, tmp_path / folder)
    assert same(tmp_path / "one", tmp_path / "again")
    a, b = weights(tmp_path / "one"), weights(tmp_path / "other")
    assert any(not torch.equal(a[key], b[key]) for key in a)


def test_what_cannot_be_made_is_refused_all_at_once():
    with pytest.raises(UserError) as caught:
        SpecimenRecipe(vocabulary=256, width=10, heads=4, steps=0, autocast="bfloat")
    assert str(caught.value).splitlines() == [
        "this recipe has 4 problems:",
        "  - vocabulary = 256; wanted at least 257",
        "  - steps = 0; wanted at least 1",
        "  - width = 10 is not a multiple of heads = 4",
        "  - autocast = 'bfloat'; known: float32, bfloat16, float16; did you mean 'bfloat16'?",
    ]
    SpecimenRecipe(vocabulary=257)


# --- its numbers ---------------------------------------------------------------------------------


def contexts(ids: list[list[int]], kept: list[list[bool]] | None = None) -> Contexts:
    table = torch.tensor(ids)
    return Contexts(
        table,
        torch.zeros_like(table),
        torch.full_like(table, NOWHERE),
        torch.ones_like(table, dtype=torch.bool) if kept is None else torch.tensor(kept),
        ("a",),
    )


@pytest.fixture(scope="module")
def model():
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = GPT2Config(vocab_size=60, n_positions=8, n_embd=8, n_layer=1, n_head=2)
        return GPT2LMHeadModel(config).eval()


IDS = torch.randint(0, 60, (5, 8), generator=torch.Generator().manual_seed(0)).tolist()


def test_cross_entropy_is_that_of_the_model_library(model):
    table = torch.tensor(IDS)
    with torch.no_grad():
        expected = float(model(table, labels=table).loss)
    assert cross_entropy(model, contexts(IDS)) == pytest.approx(expected, rel=1e-6)
    assert cross_entropy(model, contexts(IDS), batch=2) == pytest.approx(expected, rel=1e-6)


def test_cross_entropy_leaves_out_what_is_not_kept(model):
    kept = [[True] * 8 for _ in IDS]
    kept[4][5:] = [False] * 3
    labels = torch.tensor(IDS)
    labels[4, 5:] = -100
    with torch.no_grad():
        expected = float(model(torch.tensor(IDS), labels=labels).loss)
    found = cross_entropy(model, contexts(IDS, kept))
    assert found == pytest.approx(expected, rel=1e-6)
    assert found != pytest.approx(cross_entropy(model, contexts(IDS)), rel=1e-6)


def test_ngrams_by_hand():
    """Three words; windows "0 1 0 1" and "0 2 _ _" to learn from, "0 1 2 0" to predict."""
    train = contexts([[0, 1, 0, 1], [0, 2, 0, 0]], [[True] * 4, [True, True, False, False]])
    found = ngram_cross_entropies(train, contexts([[0, 1, 2, 0]]), 3)
    # Seen: 0 three times, 1 twice, 2 once; each count and one more, of nine in all.
    unigram = {0: 4 / 9, 1: 3 / 9, 2: 2 / 9}
    predicted = [(0, 1), (1, 2), (2, 0)]
    assert found["unigram"] == pytest.approx(
        -sum(math.log(unigram[after]) for _, after in predicted) / 3
    )
    pairs = Counter([(0, 1), (1, 0), (0, 1), (0, 2)])  # within windows only
    first = Counter(before for before, _ in pairs.elements())

    def bigram(kappa: int) -> float:
        chances = [
            (pairs[pair] + kappa * unigram[pair[1]]) / (first[pair[0]] + kappa)
            for pair in predicted
        ]
        return -sum(map(math.log, chances)) / 3

    assert found["bigram"] == pytest.approx(
        min(bigram(kappa) for kappa in (1, 3, 10, 30, 100, 300, 1000))
    )


def test_a_bigram_model_wins_where_the_last_word_tells_the_next():
    alternating = contexts([[0, 1] * 16] * 4)
    found = ngram_cross_entropies(alternating, alternating, 2)
    assert found["unigram"] == pytest.approx(math.log(2), rel=0.01)
    assert found["bigram"] < 0.05


# --- samples -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded(model_folder):
    from monosemy.models.loading import load

    return load(model_folder)


def test_a_sample_goes_on_from_its_prompt_and_follows_its_seed(loaded):
    draws = [
        sample(loaded.model, loaded.tokenizer, "def ", Compute(seed=seed), 12) for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]
    assert all(text.startswith("def ") for text in draws)


def test_a_sample_may_be_longer_than_the_models_context(loaded):
    assert loaded.context == 32
    text = sample(loaded.model, loaded.tokenizer, "def ", Compute(), 50)
    assert len(text) > 4


def test_a_sample_is_drawn_from_the_likeliest_tokens_alone(loaded):
    draws = {
        sample(loaded.model, loaded.tokenizer, "d", Compute(seed=seed), 1) for seed in range(300)
    }
    assert 2 < len(draws) <= 40
