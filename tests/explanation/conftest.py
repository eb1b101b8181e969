"""A tokenizer, texts and activations whose right answers can be read off."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from monosemy.data.text import Corpus, Document
from monosemy.data.tokens import Contexts, Packing, pack
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import ReLU
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
