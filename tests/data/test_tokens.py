import pytest
import torch

from monosemy.data.text import Corpus, Document, open_corpus
from monosemy.data.tokens import NOWHERE, Contexts, Origin, Packing, Place, pack
from monosemy.foundation.errors import UserError
from monosemy.tensors.compute import Compute


def flat(contexts):
    columns = (contexts.ids, contexts.document, contexts.offset, contexts.kept)
    return list(zip(*(column.flatten().tolist() for column in columns), strict=True))


def test_windows_hold_the_documents_one_after_another(corpus, tokenizer, contexts):
    text = {document.name: document.text for document in corpus.documents}
    assert len(set(contexts.documents)) == len(corpus.documents)
    assert contexts.ids.shape == (len(contexts), 16)
    for index, name in enumerate(contexts.documents):
        tokens = [(i, offset) for i, d, offset, _ in flat(contexts) if d == index]
        assert tokens[0] == (tokenizer.bos_token_id, NOWHERE)
        ids = [i for i, offset in tokens if offset != NOWHERE]
        assert tokenizer.decode(ids) == text[name]


def test_provenance_gives_back_the_text_of_every_token(corpus, tokenizer, contexts):
    text = {document.name: document.text for document in corpus.documents}
    whole, parts = 0, 0
    for token, document, offset, kept in flat(contexts):
        if not kept:
            continue
        rest = text[contexts.documents[document]][offset:]
        decoded = tokenizer.decode([token])
        if "\ufffd" in decoded:  # a part of a character of several bytes
            parts += 1
        else:
            whole += 1
            assert rest.startswith(decoded)
    assert whole > 500
    assert parts > 0


@pytest.mark.parametrize("model", ["models/stories260K", "tokenizers/gpt2"])
def test_provenance_with_real_tokenizers(shared_data, model):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(shared_data / model)
    corpus = open_corpus(shared_data / "text/tinystories/test.txt", "heldout")
    contexts = pack(corpus, tokenizer, Packing(context=64, tokens=2000), Compute())
    text = {document.name: document.text for document in corpus.documents}
    pieces = tokenizer.convert_ids_to_tokens(contexts.ids.flatten().tolist())
    checked = 0
    for piece, (_, document, offset, kept) in zip(pieces, flat(contexts), strict=True):
        plain = piece.replace("▁", " ").replace("Ġ", " ").replace("Ċ", "\n")
        if not kept or "<0x" in piece or not plain.isascii():
            continue
        rest = text[contexts.documents[document]][offset:]
        # The Llama tokenizer puts a space of its own before a document.
        assert rest.startswith(plain) or (offset == 0 and rest.startswith(plain[1:]))
        checked += 1
    assert checked > 1900


def test_beginning_and_padding_are_not_kept(tokenizer, contexts):
    for token, _, offset, kept in flat(contexts):
        assert kept == (offset != NOWHERE)
        assert kept == (token != tokenizer.bos_token_id)


def test_beginning_can_be_kept_and_padding_never_is(corpus, tokenizer):
    contexts = pack(corpus, tokenizer, Packing(context=16, drop_bos=False), Compute(seed=1))
    assert contexts.tokens == contexts.kept.numel() - int(contexts.padding.sum())
    beginnings = contexts.kept & (contexts.ids == tokenizer.bos_token_id)
    assert int(beginnings.sum()) == len(corpus.documents)


def test_padding_is_only_the_end_of_the_last_window(contexts):
    padding = contexts.padding
    assert 0 < int(padding.sum()) < 16
    assert not padding[:-1].any()
    first = int(padding[-1].int().argmax())
    assert padding[-1, first:].all()
    # A slice that ends with a document's beginning has no padding for that.
    ends_with_beginning = [i for i in range(len(contexts) - 1) if contexts.offset[i, -1] == NOWHERE]
    assert ends_with_beginning
    for i in ends_with_beginning:
        assert not contexts[i : i + 1].padding.any()


@pytest.mark.parametrize("budget", [1, 15, 16, 100, 500])
@pytest.mark.parametrize("drop_bos", [True, False])
def test_budget_is_met_exactly(corpus, tokenizer, budget, drop_bos):
    packing = Packing(context=16, tokens=budget, drop_bos=drop_bos)
    contexts = pack(corpus, tokenizer, packing, Compute(seed=1))
    assert contexts.tokens == budget
    everything = pack(corpus, tokenizer, Packing(context=16, drop_bos=drop_bos), Compute(seed=1))
    real = [
        row for row, pad in zip(flat(contexts), contexts.padding.flatten(), strict=True) if not pad
    ]
    assert real == flat(everything)[: len(real)]


def test_order_is_fixed_by_the_seed(corpus, tokenizer, contexts):
    again = pack(corpus, tokenizer, Packing(context=16), Compute(seed=1))
    other = pack(corpus, tokenizer, Packing(context=16), Compute(seed=2))
    plain = pack(corpus, tokenizer, Packing(context=16, shuffle=False), Compute(seed=1))
    assert again.fingerprint == contexts.fingerprint
    assert other.documents != contexts.documents
    assert sorted(other.documents) == sorted(contexts.documents)
    assert plain.documents == tuple(document.name for document in corpus.documents)


def test_origin_names_corpus_and_seed(corpus, contexts):
    assert contexts.origin == Origin("invented", "all", corpus.fingerprint, 1)
    assert contexts[2:4].origin == contexts.origin


def test_place_of_a_kept_token(contexts):
    rows = [row for row in flat(contexts) if row[3]]
    for token in (0, 17, len(rows) - 1):
        place = contexts.place(token)
        _, document, offset, _ = rows[token]
        assert (place.document, place.offset) == (contexts.documents[document], offset)
        assert (
            contexts.kept[: place.context].sum()
            + (contexts.kept[place.context, : place.position].sum())
            == token
        )


def test_place_reads_as_a_sentence():
    assert (
        str(Place(1, 2, "a.txt", 1234))
        == "document 'a.txt', character 1,234 (context 1, position 2)"
    )
    assert "its beginning" in str(Place(0, 0, "a.txt", NOWHERE))


def test_fingerprint_sees_every_column(contexts):
    columns = {name: getattr(contexts, name) for name in ("ids", "document", "offset", "kept")}
    seen = {contexts.fingerprint}
    for name in columns:
        changed = columns[name].clone()
        changed[0, 3] = not changed[0, 3] if name == "kept" else changed[0, 3] + 1
        seen.add(Contexts(**columns | {name: changed}, documents=contexts.documents).fingerprint)
    seen.add(Contexts(**columns, documents=("other", *contexts.documents[1:])).fingerprint)
    seen.add(contexts[:-1].fingerprint)
    halved = {name: column.reshape(-1, 8) for name, column in columns.items()}
    seen.add(Contexts(**halved, documents=contexts.documents).fingerprint)
    assert len(seen) == 8
    assert Contexts(**columns, documents=contexts.documents).fingerprint == contexts.fingerprint


def test_text_without_tokens_is_refused(tokenizer):
    corpus = Corpus("nothing", "all", (Document("a", ""),))
    with pytest.raises(
        UserError, match=r"no token comes out of nothing \(all\): its text is empty"
    ):
        pack(corpus, tokenizer, Packing(), Compute())


def test_bad_packing_is_refused_with_all_reasons():
    with pytest.raises(UserError, match="2 problems") as caught:
        Packing(context=0, tokens=0)
    assert "context is 0 positions; wanted at least 1" in str(caught.value)
    assert "tokens is 0; wanted at least 1, or none for all the text" in str(caught.value)


def test_tokenizer_without_offsets_is_refused(corpus):
    class Slow:
        is_fast = False
        bos_token_id = None

    with pytest.raises(UserError, match="tokenizer Slow gives no offsets"):
        pack(corpus, Slow(), Packing(), Compute())


def test_contexts_of_several_shapes_are_refused():
    ids = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(Exception, match="offset"):
        Contexts(ids, ids, ids[:, :2], ids.bool(), ("a",))
