"""A tokenizer and texts small enough to check by hand."""

from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from monosemy.data.text import Corpus, Document
from monosemy.data.tokens import Contexts, Packing, pack
from monosemy.models.loading import LoadedModel
from monosemy.tensors.compute import Compute

WORDS = ["the", "cat", "sat", "on", "a", "mat", "naïve", "Zoë", "😀", "x;\n\n   ", "return", "café"]


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """Twenty documents of different lengths, with characters of one to four bytes."""
    draw = torch.Generator().manual_seed(0)

    def text(length: int) -> str:
        chosen = torch.randint(len(WORDS), (length,), generator=draw).tolist()
        return " ".join(WORDS[i] for i in chosen)

    documents = tuple(Document(f"document/{i}.txt", text(3 + i)) for i in range(20))
    return Corpus("invented", "all", documents)


@pytest.fixture(scope="session")
def tokenizer(corpus: Corpus) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 270 tokens whose tokens, joined, are exactly the text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=270,
        special_tokens=["<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator((document.text for document in corpus.documents), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<bos>")


@pytest.fixture(scope="session")
def contexts(corpus: Corpus, tokenizer: PreTrainedTokenizerFast) -> Contexts:
    """Some sixty windows of sixteen tokens; the last is partly padding."""
    return pack(corpus, tokenizer, Packing(context=16), Compute(seed=1))


@pytest.fixture
def loaded(tokenizer: PreTrainedTokenizerFast) -> LoadedModel:
    """Two random blocks of GPT-2; a fresh copy for each test, which may break it."""
    config = GPT2Config(vocab_size=270, n_positions=16, n_embd=8, n_layer=2, n_head=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config).eval().requires_grad_(False)
    return LoadedModel("tiny", model, tokenizer, "gpt2", 16)


class Counting:
    """A source whose row `i` is (i, 0, 0), so that every row can be told apart."""

    site = "counting"
    waits_for = "input"
    width = 3

    def __init__(self, tokens: int, dtype: torch.dtype = torch.float64, name: str = "counting"):
        self.tokens = tokens
        self.dtype = dtype
        self.fingerprint = f"{name}/{tokens}/{dtype}"
        self.asked: list[tuple[int, int]] = []

    @property
    def contexts(self) -> None:
        """Nothing here asks for provenance."""

    def rows(self, start: int, stop: int) -> torch.Tensor:
        self.asked.append((start, stop))
        rows = torch.zeros(stop - start, self.width, dtype=self.dtype)
        rows[:, 0] = torch.arange(start, stop)
        return rows


@pytest.fixture(scope="session")
def counting() -> Callable[..., Counting]:
    """Makes sources of numbered rows."""
    return Counting


@pytest.fixture
def folder(tmp_path):
    """Forty files in two folders, one of them hidden, and one that is no text."""
    for i in range(40):
        place = tmp_path / ("a" if i % 2 else "b") / f"{i:02d}.txt"
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"text {i}\n<|endoftext|>\nmore {i}\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "hidden.txt").write_text("hidden")
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    return tmp_path
