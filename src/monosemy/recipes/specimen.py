"""The specimen: the one-layer transformer of "Towards Monosemanticity" in miniature.

One layer, 512 ReLU neurons, width 128, a byte-level BPE vocabulary of 4,096, context 256, trained
on the source and documentation of the standard library that every Python installation has
(Bricken et al. 2023, https://transformer-circuits.pub/2023/monosemantic-features).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monosemy.data.streams import TokenStream
from monosemy.data.text import END_OF_DOCUMENT, Corpus, describe_standard_library, open_corpus
from monosemy.data.tokens import Contexts, Packing, pack
from monosemy.foundation import storage
from monosemy.foundation.errors import nearest, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.reports.card import write_card
from monosemy.tensors.axes import Int, Tensor
from monosemy.tensors.compute import DTYPES, Compute
from monosemy.training.journal import Journal
from monosemy.training.loop import Rhythm, Training, fit
from monosemy.training.objectives import NextToken
from monosemy.training.optim import OptimConfig, Optimiser

# Without a space at the end: in byte-level BPE a space belongs to the token that follows it.
SAMPLE_PROMPTS = ("def read", "class Path", "    def __init__(self", "    return")


@dataclass(frozen=True)
class SpecimenRecipe:
    """How the specimen is made."""

    vocabulary: int = 4096
    """Byte-level BPE tokens, the one special token among them."""
    width: int = 128
    """Numbers in the residual stream."""
    heads: int = 4
    """Attention heads."""
    neurons: int = 512
    """ReLU neurons of the one MLP."""
    context: int = 256
    """Positions in a window."""
    steps: int = 500
    """Updates."""
    batch: int = 32
    """Windows in an update."""
    autocast: str = "bfloat16"
    """Precision of the matrix products while training; weights are float32."""
    optim: OptimConfig = field(
        default_factory=lambda: OptimConfig(
            learning_rate=1e-3, warmup=0.1, decay=0.4, betas=(0.9, 0.98), weight_decay=0.1
        )
    )
    """The optimiser."""
    seed: int = 0
    """Root of every random draw."""

    def __post_init__(self) -> None:
        # Every byte is a token, and the one special token.
        least = {"vocabulary": 257, "width": 1, "heads": 1, "neurons": 1, "context": 2,
                 "steps": 1, "batch": 1}  # fmt: skip
        given = {name: getattr(self, name) for name in least}
        reasons = [
            f"{name} = {given[name]:,}; wanted at least {lowest}"
            for name, lowest in least.items()
            if given[name] < lowest
        ]
        if self.heads >= 1 and self.width % self.heads:
            reasons.append(f"width = {self.width} is not a multiple of heads = {self.heads}")
        if self.autocast not in DTYPES:
            hint = nearest(self.autocast, DTYPES)
            reasons.append(f"autocast = {self.autocast!r}; known: {', '.join(DTYPES)}{hint}")
        refuse(reasons, "this recipe")


def train_specimen(
    recipe: SpecimenRecipe, out: Path, progress: Progress = SILENT
) -> dict[str, Any]:
    """Train a tokenizer and the model on the standard library, measure both, write a folder.

    ``out/model`` is a plain Hugging Face folder; ``out/card.json`` holds what the card states.
    Run again with the same settings it goes on from the last checkpoint.
    """
    compute = Compute(seed=recipe.seed)
    train, heldout = open_corpus("stdlib", "train"), open_corpus("stdlib", "heldout")
    corpora = {part.split: {"documents": len(part.documents), "characters": part.characters,
                            "fingerprint": part.fingerprint} for part in (train, heldout)}  # fmt: skip
    settings = {**asdict(recipe), "text": {**describe_standard_library(), **corpora}}
    journal = Journal(out, settings)
    tokenizer = _tokenizer(recipe, train, out / "model")
    packing = Packing(context=recipe.context, drop_bos=False)
    windows = pack(train, tokenizer, packing, compute, progress)
    unseen = pack(heldout, tokenizer, packing, compute, progress)

    model = _model(recipe, tokenizer, compute)
    program = NextToken(model, getattr(torch, recipe.autocast))
    training = Training(
        program,
        Optimiser(model.parameters(), recipe.optim, recipe.steps),
        TokenStream(windows, recipe.batch, compute),
        recipe.steps,
        Rhythm(log=50, checkpoint=250, observe=50),
        observer=lambda: {"heldout": cross_entropy(model, unseen[: 4 * recipe.batch])},
        tokens_per_step=recipe.batch * recipe.context,
    )
    fit(training, journal, progress)
    _save_model(model, out / "model")
    card = {
        "recipe": asdict(recipe),
        "text": settings["text"],
        "train_tokens": windows.tokens,
        "heldout_tokens": unseen.tokens,
        "seen_tokens": recipe.steps * recipe.batch * recipe.context,
        "parameters": sum(p.numel() for p in model.parameters()),
        "cross_entropy": {
            "specimen": cross_entropy(model, unseen),
            "specimen_on_train": cross_entropy(model, windows[: len(unseen)]),
            **ngram_cross_entropies(windows, unseen, recipe.vocabulary),
        },
        "curve": [line for line in journal.metrics() if "heldout" in line],
        "samples": [sample(model, tokenizer, prompt, compute) for prompt in SAMPLE_PROMPTS],
    }
    storage.write_json(out / "card.json", card)
    write_card(card, out)
    return card


def _tokenizer(recipe: SpecimenRecipe, corpus: Corpus, folder: Path) -> Any:
    """Train byte-level BPE (Sennrich et al. 2016) on the training documents, or read it again."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if (folder / "tokenizer.json").exists():
        return PreTrainedTokenizerFast.from_pretrained(folder)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocabulary,
        special_tokens=[END_OF_DOCUMENT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((document.text for document in corpus.documents), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END_OF_DOCUMENT,
        eos_token=END_OF_DOCUMENT,
        clean_up_tokenization_spaces=False,
        model_max_length=recipe.context,
    )
    _save_tokenizer(tokenizer, recipe, folder)
    return tokenizer


def _save_tokenizer(tokenizer: Any, recipe: SpecimenRecipe, folder: Path) -> None:
    """Two files that every version of the model library reads; its own writer names newer classes."""
    end = END_OF_DOCUMENT
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "clean_up_tokenization_spaces": False,
        "model_max_length": recipe.context,
    }
    storage.write_text(folder / "tokenizer.json", tokenizer.backend_tokenizer.to_str())
    storage.write_json(folder / "tokenizer_config.json", settings)


def _save_model(model: Any, folder: Path) -> None:
    from safetensors.torch import save

    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    storage.write_bytes(folder / "model.safetensors", save(weights, {"format": "pt"}))
    config = json.loads(model.config.to_json_string(use_diff=True))
    kept = {key: value for key, value in config.items() if key != "transformers_version"}
    storage.write_json(folder / "config.json", kept | {"architectures": [type(model).__name__]})


def _model(recipe: SpecimenRecipe, tokenizer: Any, compute: Compute) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=recipe.vocabulary,
        n_positions=recipe.context,
        n_embd=recipe.width,
        n_layer=1,
        n_head=recipe.heads,
        n_inner=recipe.neurons,
        activation_function="relu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    # The model library draws from the global generator; fork it so that nobody else notices.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(compute.generator("specimen weights").initial_seed() % 2**63)
        return GPT2LMHeadModel(config)


@torch.inference_mode()
def cross_entropy(model: Any, contexts: Contexts, batch: int = 32) -> float:
    """Mean ``-log p`` of every next token inside its window, in nats, in float32."""
    total, count = 0.0, 0
    for start in range(0, len(contexts), batch):
        part = contexts[start : start + batch]
        logits = model(part.ids).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), part.ids[:, 1:].flatten(), reduction="none"
        )
        counted = part.kept[:, 1:].flatten()
        total += float(losses[counted].sum(dtype=torch.float64))
        count += int(counted.sum())
    return total / count


def ngram_cross_entropies(train: Contexts, heldout: Contexts, vocabulary: int) -> dict[str, float]:
    """Unigram and bigram models of the same tokens, in nats a token, for comparison.

    Unigram: add-one counts. Bigram: ``p(w|v) = (c(v,w) + kappa p(w)) / (c(v) + kappa)`` (MacKay and
    Peto 1995), with the ``kappa`` that is best on the held-out text itself, which favours it.
    """
    counts = torch.bincount(train.ids[train.kept], minlength=vocabulary).double() + 1
    unigram = (counts / counts.sum()).numpy()
    before, after = _pairs(heldout)
    seen = np.zeros((vocabulary, vocabulary), dtype=np.float32)
    np.add.at(seen, tuple(side.numpy() for side in _pairs(train)), 1)
    pair, first = seen[before, after].astype(np.float64), seen.sum(1, dtype=np.float64)[before]
    prior = unigram[after.numpy()]
    bigram = {
        kappa: -np.log((pair + kappa * prior) / (first + kappa)).mean()
        for kappa in (1, 3, 10, 30, 100, 300, 1000)
    }
    return {"unigram": float(-np.log(prior).mean()), "bigram": float(min(bigram.values()))}


def _pairs(contexts: Contexts) -> tuple[Int[Tensor, "pair"], Int[Tensor, "pair"]]:
    counted = contexts.kept[:, 1:]
    return contexts.ids[:, :-1][counted], contexts.ids[:, 1:][counted]


@torch.inference_mode()
def sample(model: Any, tokenizer: Any, prompt: str, compute: Compute, tokens: int = 80) -> str:
    """Text drawn from the model at temperature 0.8 among the 40 likeliest tokens (Fan et al. 2018)."""
    draw = compute.generator(f"sample/{prompt}")
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(prompt)["input_ids"]]])
    window = model.config.max_position_embeddings
    for _ in range(tokens):
        logits = model(ids[:, -window:]).logits[0, -1] / 0.8
        best, where = logits.topk(40)
        chosen = where[torch.multinomial(best.softmax(-1), 1, generator=draw)]
        if chosen == tokenizer.eos_token_id:
            break
        ids = torch.cat([ids, chosen[None]], dim=1)
    return tokenizer.decode(ids[0, 1:])
