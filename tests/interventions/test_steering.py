"""Text under an edit: the same with and without a cache, without an edit, and by another road."""

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import transformers

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import TopK
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.foundation.errors import UserError
from monosemy.interventions.features import Add, Scale, Set, placed
from monosemy.interventions.steering import (
    Prompt,
    Sampling,
    Steered,
    Text,
    generate,
    read_prompt,
    steer,
)
from monosemy.models import sites, tap
from monosemy.models.loading import LoadedModel, load

VOCABULARY = 37


@dataclass
class Letters:
    """A token a letter; id 0 begins a text, `end` ends one."""

    bos_token_id: int | None = 0
    eos_token_id: int | None = None

    def __call__(self, text, **_: Any):
        return {"input_ids": [1 + ord(letter) % (VOCABULARY - 1) for letter in text]}

    def decode(self, ids, **_: Any):
        return "".join(chr(96 + i) for i in ids)


@pytest.fixture
def loaded(model):
    return LoadedModel("tiny", model, Letters(), "gpt2", 16)


@pytest.fixture
def prompt(loaded):
    return read_prompt(loaded, "abcd")


@pytest.fixture
def edit(model, site):
    """Strong enough to change what is written."""
    dictionary = FlatDictionary.random(24, 40, TopK(4), torch.Generator().manual_seed(0)).eval()
    return lambda value=30.0: placed(Set(dictionary, 3, value), site)


SAMPLING = Sampling(tokens=10, samples=3, temperature=0.9, seed=4)


def by_hand(model, edits, prompt, tokens, kept):
    """Greedy decoding, the whole text through the edited model for every token."""
    ids = prompt.ids.clone()
    for _ in range(tokens):
        length = ids.shape[1]
        here = torch.cat(
            [kept[:, :length], kept[:, -1:].expand(-1, max(0, length - kept.shape[1]))], 1
        )
        from monosemy.interventions.edits import Only

        with (
            torch.no_grad(),
            tap.editing(model, {site: Only(one, here) for site, one in edits.items()}),
        ):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    return tuple(ids[0, prompt.ids.shape[1] :].tolist())


# --- prompts --------------------------------------------------------------------------------------


def test_a_prompt_begins_as_training_contexts_do(loaded):
    found = read_prompt(loaded, "ab")
    assert found.ids.tolist() == [[0, 1 + 97 % 36, 1 + 98 % 36]]
    assert found.kept.tolist() == [[False, True, True]]
    bare = read_prompt(replace(loaded, tokenizer=Letters(bos_token_id=None)), "ab")
    assert bare.ids.tolist() == found.ids[:, 1:].tolist()
    assert bare.kept.all()


def test_prompts_that_do_not_go_are_refused(loaded):
    with pytest.raises(UserError, match="the text is empty: no token comes out of it"):
        read_prompt(loaded, "")
    with pytest.raises(UserError, match="the text has 17 tokens, the context of tiny 16; give a"):
        read_prompt(loaded, "a" * 16)


# --- what an edit changes, and what it does not ---------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_an_edit_that_changes_nothing_changes_no_text(loaded, prompt, site, temperature):
    sampling = replace(SAMPLING, temperature=temperature)
    dictionary = FlatDictionary.random(24, 40, TopK(4), torch.Generator().manual_seed(0)).eval()
    found = steer(loaded, prompt, lambda: placed(Scale(dictionary, 3, 1.0), site), sampling)
    assert found.default == found.steered
    assert len(found.default) == 3


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("where", ["all", "prompt", "new"])
def test_a_cache_changes_no_text(loaded, prompt, edit, temperature, where):
    sampling = replace(SAMPLING, temperature=temperature, where=where)
    with_cache = generate(loaded, prompt, edit(), sampling)
    assert with_cache == generate(loaded, prompt, edit(), replace(sampling, cache=False))
    assert with_cache != generate(loaded, prompt, {}, sampling)


@pytest.mark.parametrize("where", ["all", "prompt", "new"])
def test_greedy_text_is_that_of_whole_passes(model, loaded, prompt, edit, where):
    sampling = Sampling(tokens=10, temperature=0, where=where)
    (found,) = generate(loaded, prompt, edit(), sampling)
    new = torch.full((1, 1), where != "prompt")
    kept = torch.cat([prompt.kept & (where != "new"), new], 1)
    assert found.ids == by_hand(model, edit(), prompt, 10, kept)


def test_every_position_is_edited_once(loaded, prompt, site):
    """Counted: with a cache each passes once; the last token is written and not read."""
    seen = []

    def watch(activation):
        seen.append(activation.shape[1])
        return activation.clone()

    generate(loaded, prompt, {site: watch}, SAMPLING)
    assert seen == [5] + [1] * 9


def test_the_beginning_token_is_left_alone(loaded, prompt, model):
    """An edit of the embedding that would change everything there, if it were made."""
    site = sites.resolve(model, "blocks.0.hook_resid_pre")
    only_beginning = Prompt(prompt.ids[:, :1], prompt.kept[:, :1])
    sampling = Sampling(tokens=1, temperature=0, where="prompt")
    edits = {site: Add(torch.ones(16) * torch.arange(16), 40.0)}
    plain = generate(loaded, only_beginning, {}, sampling)
    assert generate(loaded, only_beginning, edits, sampling) == plain
    touched = Prompt(only_beginning.ids, only_beginning.kept | True)
    assert generate(loaded, touched, edits, sampling) != plain


def test_a_transcoder_steers_too(model, loaded, prompt):
    reads = sites.resolve(model, "blocks.0.mlp.hook_in")
    writes = sites.resolve(model, "blocks.0.hook_mlp_out")

    def part(*shape, seed):
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    transcoder = Transcoder(part(20, 16, seed=1), part(20, seed=2), part(20, 16, seed=3),
                            part(16, seed=4), TopK(3)).eval()  # fmt: skip
    for edit, alike in ((Scale(transcoder, 2, 1.0), True), (Set(transcoder, 2, 300.0), False)):
        found = steer(loaded, prompt, lambda e=edit: placed(e, writes, reads), SAMPLING)
        assert (found.default == found.steered) == alike
        again = generate(
            loaded, prompt, placed(edit, writes, reads), replace(SAMPLING, cache=False)
        )
        assert found.steered == again


# --- sampling -------------------------------------------------------------------------------------


def test_the_seed_decides_and_nothing_outside(loaded, prompt):
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    found = generate(loaded, prompt, {}, SAMPLING)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    assert generate(loaded, prompt, {}, SAMPLING) == found
    assert generate(loaded, prompt, {}, replace(SAMPLING, seed=5)) != found
    assert len({text.ids for text in found}) == 3


def test_a_sample_does_not_depend_on_how_many_there_are(loaded, prompt):
    found = generate(loaded, prompt, {}, SAMPLING)
    assert generate(loaded, prompt, {}, replace(SAMPLING, samples=1)) == found[:1]


def test_tokens_are_drawn_from_the_model(model, loaded, prompt):
    """Frequencies of the first token over many samples, against the distribution itself."""
    many = 4000
    drawn = generate(loaded, prompt, {}, Sampling(tokens=1, samples=many, temperature=1.3))
    found = torch.bincount(torch.tensor([one.ids[0] for one in drawn]), minlength=VOCABULARY) / many
    wanted = (model(prompt.ids).logits[0, -1] / 1.3).softmax(-1)
    error = (wanted * (1 - wanted) / many).sqrt()
    assert ((found - wanted).abs() <= 5 * error + 1e-4).all()
    # The check would see another temperature.
    other = model(prompt.ids).logits[0, -1].softmax(-1)
    assert ((found - other).abs() > 5 * error + 1e-4).any()


def test_top_p_leaves_the_likeliest(model, loaded, prompt):
    p = model(prompt.ids).logits[0, -1].softmax(-1)
    order = p.argsort(descending=True)
    inside = order[: int((p[order].cumsum(0) < 0.6).sum()) + 1].tolist()
    drawn = generate(loaded, prompt, {}, Sampling(tokens=1, samples=500, top_p=0.6))
    assert {one.ids[0] for one in drawn} == set(inside)


def test_temperature_zero_takes_the_likeliest(model, loaded, prompt):
    (found,) = generate(loaded, prompt, {}, Sampling(tokens=1, temperature=0))
    assert found.ids[0] == int(model(prompt.ids).logits[0, -1].argmax())


def test_a_text_may_end_by_itself(loaded, prompt):
    plain = generate(loaded, prompt, {}, SAMPLING)
    end = plain[1].ids[4]
    ending = replace(loaded, tokenizer=Letters(eos_token_id=end))
    found = generate(ending, prompt, {}, SAMPLING)
    assert found[1].ended
    for before, after in zip(plain, found, strict=True):
        stop = before.ids.index(end) if end in before.ids else len(before.ids)
        assert after.ids == before.ids[:stop]
        assert after.ended == (end in before.ids)
        assert after.text == Letters().decode(after.ids)


def test_the_model_is_left_as_it_was(model, loaded, prompt, edit):
    before = model(prompt.ids).logits
    generate(loaded, prompt, edit(), SAMPLING)
    assert torch.equal(model(prompt.ids).logits, before)


# --- refusals and results -------------------------------------------------------------------------


def test_numbers_that_cannot_be_are_refused_together():
    with pytest.raises(UserError) as caught:
        Sampling(tokens=0, samples=0, temperature=-1, top_p=0, where="here")
    for reason in ("tokens = 0; wanted at least 1", "samples = 0; wanted at least 1",
                   "temperature = -1; wanted at least 0", "top_p = 0; wanted more than 0",
                   "where = 'here'; known: all, prompt, new"):  # fmt: skip
        assert reason in str(caught.value)
    with pytest.raises(UserError, match="temperature = nan"):
        Sampling(temperature=float("nan"))


def test_what_does_not_fit_the_context_is_refused(loaded, prompt):
    with pytest.raises(UserError) as caught:
        generate(loaded, prompt, {}, Sampling(tokens=12))
    assert str(caught.value) == (
        "5 tokens of prompt and 12 new ones do not fit the context of tiny, 16; write at most 11"
    )
    generate(loaded, prompt, {}, Sampling(tokens=11))


def test_an_encoder_writes_nothing(prompt):
    config = transformers.BertConfig(
        vocab_size=37, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=16,
    )  # fmt: skip
    bert = LoadedModel("tiny", transformers.BertModel(config).eval(), Letters(), "bert", 16)
    with pytest.raises(UserError) as caught:
        generate(bert, prompt, {}, Sampling(tokens=1))
    assert str(caught.value) == (
        "tiny (BertModel) reads in both directions and predicts no next token, so it writes no text "
        "and has no logits; edits still change its activations. Name a causal language model"
    )


def test_json_is_json():
    text, other = Text((1, 2), "ab", False), Text((), "", True)
    said = Steered(SAMPLING, (text,), (other,)).to_json()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert said["samples"] == [{"default": text.to_json(), "steered": other.to_json()}]


def test_on_a_llama(shared_data):
    loaded = load(shared_data / "models" / "stories260K")
    site = sites.resolve(loaded.model, "blocks.2.hook_resid_post")
    prompt = read_prompt(loaded, "Once upon a time, there was a little")
    dictionary = FlatDictionary.random(64, 128, TopK(8), torch.Generator().manual_seed(0)).eval()
    sampling = Sampling(tokens=12, samples=2, temperature=0.7)
    same = steer(loaded, prompt, lambda: placed(Scale(dictionary, 3, 1.0), site), sampling)
    assert same.default == same.steered
    found = steer(loaded, prompt, lambda: placed(Set(dictionary, 3, 8.0), site), sampling)
    assert found.default == same.default
    assert found.default != found.steered
    plain = generate(
        loaded, prompt, placed(Set(dictionary, 3, 8.0), site), replace(sampling, cache=False)
    )
    assert found.steered == plain
