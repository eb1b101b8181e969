"""A model folder, texts and a recipe so small that a whole training takes a moment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from monosemy.data.text import Corpus, Document, split_of
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.training.objectives import ObjectiveConfig
from monosemy.training.optim import OptimConfig

END = "<|endoftext|>"
WORDS = ["def", "return", "self", "import", "naïve", "the", "of", "print(", ")", "\n    ", "x = 1"]


def words(count: int, seed: int) -> str:
    draw = torch.Generator().manual_seed(seed)
    return " ".join(WORDS[i] for i in torch.randint(len(WORDS), (count,), generator=draw))


def learn_a_little(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Enough that ablating its neurons makes its predictions worse."""
    ids = torch.tensor(tokenizer(words(1200, seed=99))["input_ids"])
    windows = ids[: len(ids) // 32 * 32].view(-1, 32)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(60):
        batch = windows[step * 8 % len(windows) :][:8]
        model(batch, labels=batch).loss.backward()
        optimiser.step()
        optimiser.zero_grad()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One block of GPT-2 of width 16 with 32 ReLU neurons, in Hugging Face form; a token a byte."""
    alphabet = [END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=END, eos_token=END)
    config = GPT2Config(
        vocab_size=len(alphabet), n_positions=32, n_embd=16, n_layer=1, n_head=2, n_inner=32,
        activation_function="relu", bos_token_id=0, eos_token_id=0,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config)
    learn_a_little(model, tokenizer)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty text files, of which five are held out."""
    folder = tmp_path_factory.mktemp("texts")
    names = [f"{i}.txt" for i in range(200)]
    heldout = [name for name in names if split_of(name) == "heldout"][:5]
    train = [name for name in names if split_of(name) == "train"][:25]
    for i, name in enumerate(train + heldout):
        (folder / name).write_text(words(15 + i, seed=i), encoding="utf-8")
    return folder


@pytest.fixture
def recipe(model_folder: Path, text_folder: Path) -> DictionaryRecipe:
    """Sixteen updates of 32 activations."""
    return DictionaryRecipe(
        model=str(model_folder),
        text=str(text_folder),
        tokens=512,
        context=16,
        latents=32,
        k=4,
        batch=32,
        block=128,
        checkpoint=5,
        objective=ObjectiveConfig(l1=0.01, warmup=30, aux=0.1, aux_k=2, dead_after=100),
        optim=OptimConfig(learning_rate=0.01),
    )


@pytest.fixture
def small_library(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Corpus]:
    """Puts a few documents in the place of the standard library."""
    from monosemy.recipes import specimen

    def corpus(source: str, split: str = "train", **_: Any) -> Corpus:
        assert source == "stdlib"
        numbers = range(12) if split == "train" else range(12, 16)
        documents = tuple(Document(f"module{i}.py", words(60, seed=i)) for i in numbers)
        return Corpus("stdlib", split, documents)

    monkeypatch.setattr(specimen, "open_corpus", corpus)
    return corpus


@pytest.fixture(scope="session")
def allocation_run(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on the tiny model's neurons, with enough text to measure a feature on."""
    from monosemy.recipes.dictionary import train_dictionary

    folder = tmp_path_factory.mktemp("allocation")
    names = [f"{i}.txt" for i in range(400)]
    (folder / "texts").mkdir()
    for split, many in (("heldout", 16), ("train", 40)):
        for i, name in enumerate([n for n in names if split_of(n) == split][:many]):
            (folder / "texts" / name).write_text(words(120, seed=i + many), encoding="utf-8")
    small = DictionaryRecipe(
        model=str(model_folder), text=str(folder / "texts"), tokens=2048, context=32, latents=64,
        k=4, batch=64, block=256, objective=ObjectiveConfig(aux=0.1, aux_k=4),
        optim=OptimConfig(learning_rate=0.01),
    )  # fmt: skip
    train_dictionary(small, folder / "run")
    return folder / "run"
