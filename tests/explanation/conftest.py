"""A tokenizer, texts and activations whose right answers can be read off."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from monosemy.data.text import Corpus, Document
from monosemy.data.tokens import Contexts, Packing, pack
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import ReLU
from monosemy.explanation.archive import Archive
from monosemy.explanation.archive_columns import COLUMNS, Column
from monosemy.explanation.archive_manifest import About
from monosemy.explanation.archive_synthetic import synthetic_archive
from monosemy.explanation.archive_writing import ArchiveWriter
from monosemy.tensors.compute import Compute

WIDTH = 12


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """Thirty documents of different lengths, with characters of one to four bytes."""
    words = ["the", "cat", "sat", "on", "a", "mat", "naïve", "Zoë", "😀", "x;\n\n   ", "return"]
    draw = torch.Generator().manual_seed(0)

    def text(length: int) -> str:
        return " ".join(words[i] for i in torch.randint(len(words), (length,), generator=draw))

    documents = tuple(Document(f"document/{i}.txt", text(10 + 5 * i)) for i in range(30))
    return Corpus("invented", "all", documents)


@pytest.fixture(scope="session")
def tokenizer(corpus: Corpus) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 300 tokens: an emoji is several of them."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((document.text for document in corpus.documents), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>")


@pytest.fixture(scope="session")
def contexts(corpus: Corpus, tokenizer: PreTrainedTokenizerFast) -> Contexts:
    """A few hundred windows of sixteen tokens; the last is partly padding."""
    return pack(corpus, tokenizer, Packing(context=16), Compute(seed=1))


class Rows:
    """A source that holds its activations."""

    site = "invented"
    fingerprint = "invented"
    waits_for = "input"

    def __init__(self, contexts: Contexts, values: torch.Tensor):
        self.contexts = contexts
        self.values = values
        self.tokens, self.width = values.shape
        self.dtype = values.dtype

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows `start` to `stop`."""
        return self.values[start:stop]


@pytest.fixture(scope="session")
def source(contexts: Contexts) -> Rows:
    """Normal numbers, so that no two activations are equal."""
    values = torch.randn(contexts.tokens, WIDTH, generator=torch.Generator().manual_seed(2))
    return Rows(contexts, values)


@pytest.fixture(scope="session")
def dictionary() -> FlatDictionary:
    """Forty latents; a third fire often, a third rarely, a third hardly ever or never."""
    draw = torch.Generator().manual_seed(3)
    made = FlatDictionary.random(WIDTH, 40, ReLU(), draw)
    with torch.no_grad():
        made.b_enc.copy_(-torch.linspace(0.0, 8.0, 40))
    return made.eval()


@pytest.fixture(scope="session")
def made_source() -> type[Rows]:
    """Makes sources of given activations."""
    return Rows


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """An archive of 120 features drawn from a seed, with parents."""
    folder = tmp_path_factory.mktemp("synthetic") / "archive"
    return synthetic_archive(folder, 120, contexts=64, length=32, vocabulary=200, hierarchical=True)


@pytest.fixture
def tiny_arrays() -> dict[str, np.ndarray]:
    """An archive of three features that can be checked by eye; feature 1 never fires.

    Context 0 is "a é b a" of document "one"; context 1 begins with one more token of it, then a
    token without text and two of document "zwei".
    """
    return {
        "corpus.ids": np.array([[0, 1, 2, 0], [2, 3, 1, 0]], "<u2"),
        "corpus.kept": np.array([0b11011111], "u1"),
        "corpus.run_start": np.array([0, 5, 6], "<u4"),
        "corpus.run_document": np.array([0, 1, 1], "<u4"),
        "corpus.run_offset": np.array([10, -1, 0], "<i4"),
        "corpus.names": np.frombuffer(b"onezwei", "u1"),
        "corpus.names_start": np.array([0, 3, 7], "<u4"),
        "corpus.vocabulary": np.frombuffer("a é b<>".encode(), "u1"),
        "corpus.vocabulary_start": np.array([0, 1, 4, 6, 8], "<u4"),
        "examples.first": np.array([0, 2, 2, 3], "<u4"),
        "examples.first_value": np.array([0, 3, 3, 5], "<u4"),
        "examples.context": np.array([0, 1, 1], "<u2"),
        "examples.peak": np.array([2, 3, 0], "u1"),
        "examples.group": np.array([0, 1, 255], "u1"),
        "examples.nonzeros": np.array([2, 1, 2], "u1"),
        "examples.position": np.array([0, 1, 1, 0, 1], "u1"),
        "examples.value": np.array([0.5, 2, 1, -0.25, 3], "<f2"),
        "column.density": np.array([0.375, 0, 0.125], "<f4"),
        "column.max": np.array([2, 0, 3], "<f4"),
        "column.flags": np.array([0, 1, 0b110], "<u4"),
        "column.own": np.array([1, np.nan, -1], "<f4"),
        "column.parent": np.array([-1, 0, 0], "<i4"),
        "histogram.counts": np.array([[1, 0, 2, 0], [0] * 4, [0, 0, 0, 1]], "<u4"),
        "histogram.range": np.array([4, 0, 4], "<f4"),
        "neighbours.decoder.feature": np.array([[2], [0], [0]], "<u2"),
        "neighbours.decoder.value": np.array([[0.5], [np.nan], [0.5]], "<f2"),
        "profile.token_ids": np.array([[2, 0], [9, 9], [1, 9]], "<u2"),
        "profile.token_shares": np.array([[0.75, 0.25], [0, 0], [1, 0]], "<f2"),
        "tokens.first": np.array([0, 0, 1, 2, 2], "<u4"),
        "tokens.feature": np.array([2, 0], "<u2"),
        "tokens.share": np.array([1, 0.75], "<f2"),
    }


@pytest.fixture
def tiny_about() -> About:
    """What the tiny archive says of itself."""
    own = Column("own", "own", "a number of one's own", "apples", "higher")
    columns = (COLUMNS["density"], COLUMNS["max"], COLUMNS["flags"], COLUMNS["parent"], own)
    return About(
        tokens=7,
        provenance={"model": "none", "seed": 0},
        columns=columns,
        radius=1,
        intervals=2,
        relations={"decoder": "cosine of decoder rows"},
    )


@pytest.fixture
def tiny(tmp_path, tiny_arrays, tiny_about) -> Archive:
    """The tiny archive, written."""
    writer = ArchiveWriter(tmp_path / "tiny", tiny_about)
    for name, values in tiny_arrays.items():
        writer.put(name, values)
    return writer.finish()
