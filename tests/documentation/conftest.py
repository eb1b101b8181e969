"""Where the documentation lies, and a small folder in which its snippets run."""

import random
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import monosemy.models.loading

WORDS = ["def", "return", "class", "import", "if", "for", "area", "radius", "#", "(x):\n   ", "="]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def need_specimen() -> None:
    """Skip where the model that ships inside has not been made yet."""
    if not Path(monosemy.models.loading.__file__).with_name("specimen").is_dir():
        pytest.skip("the specimen's files are not there; make them: monosemy specimen train")


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    """Thirty invented documents."""
    draw = random.Random(0)
    return {f"{i:02}.txt": " ".join(draw.choices(WORDS, k=120)) for i in range(30)}


@pytest.fixture
def folder(tmp_path: Path, texts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a reader of the documentation has: ``my-model`` and ``texts`` in the current folder."""
    (tmp_path / "texts").mkdir()
    for name, text in texts.items():
        (tmp_path / "texts" / name).write_text(text, encoding="utf-8")
    _write_model(tmp_path / "my-model", list(texts.values()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write_model(folder: Path, texts: list[str]) -> None:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<bos>"], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<bos>", pad_token="<bos>"
    )
    config = GPT2Config(vocab_size=300, n_positions=64, n_embd=16, n_layer=2, n_head=2,
                        bos_token_id=0, eos_token_id=0)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
