"""Text that a model writes under an edit, beside what it writes without one.

Sampling is exact and has no state outside: a token is drawn as the largest of the logits plus Gumbel
noise (``argmax_i (log p_i + g_i)`` has the distribution ``p``), and the noise of a sample is fixed
by the seed, the sample's number and the step. Default and steered text of one number so meet the
same noise: where they part, the edit parted them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress, Task
from monosemy.interventions.edits import Edit, Only
from monosemy.models import tap
from monosemy.models.loading import LoadedModel, without_notices
from monosemy.models.sites import Site
from monosemy.tensors.axes import Bool, Float, Int, Tensor
from monosemy.tensors.compute import Compute

WHERE = ("all", "prompt", "new")
"""Positions that are edited: those of the prompt, those that are written, or both."""


@dataclass(frozen=True)
class Sampling:
    """How text is written.

    Errors
    ------
    `UserError` for numbers that cannot be, all reasons at once.
    """

    tokens: int = 40
    """New tokens, at most: a model may end its text before."""
    samples: int = 1
    """Texts."""
    temperature: float = 1.0
    """Logits are divided by it; 0 takes the likeliest token each time."""
    top_p: float = 1.0
    """Draw among the fewest likeliest tokens that together have this probability."""
    seed: int = 0
    """Of the noise, the same for default and steered text."""
    where: str = "all"
    """Which positions are edited: ``all``, ``prompt`` or ``new``."""
    cache: bool = True
    """Keep keys and values of earlier positions; the text is the same without, only slower."""

    def __post_init__(self) -> None:
        least = {"tokens": (1, self.tokens), "samples": (1, self.samples),
                 "temperature": (0, self.temperature)}  # fmt: skip
        reasons = [f"{name} = {value}; wanted at least {low}"
                   for name, (low, value) in least.items() if not value >= low]  # fmt: skip
        if not 0 < self.top_p <= 1:
            reasons.append(f"top_p = {self.top_p}; wanted more than 0, at most 1")
        if self.where not in WHERE:
            reasons.append(f"where = {self.where!r}; known: {', '.join(WHERE)}")
        refuse(reasons, "this sampling")


@dataclass(frozen=True, eq=False)
class Prompt:
    """A text as the model reads it.

    Attributes
    ----------
    ids : one context; the beginning token stands before it where the model has one.
    kept : every position but the beginning token, whose activation no dictionary saw.
    """

    ids: Int[Tensor, "context position"]
    kept: Bool[Tensor, "context position"]


def read_prompt(loaded: LoadedModel, text: str) -> Prompt:
    """`text` as a context of its own, as training contexts begin.

    Errors
    ------
    `UserError` for a text without tokens, and one longer than the model's context.
    """
    ids = loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    if not ids:
        raise UserError("the text is empty: no token comes out of it; give some text")
    beginning = loaded.tokenizer.bos_token_id
    row = ids if beginning is None else [beginning, *ids]
    if len(row) > loaded.context:
        raise UserError(
            f"the text has {len(row):,} tokens, the context of {loaded.name} {loaded.context:,}; "
            "give a shorter one"
        )
    kept = torch.ones(1, len(row), dtype=torch.bool)
    kept[0, 0] = beginning is None
    return Prompt(torch.tensor([row]).to(loaded.device), kept.to(loaded.device))


@dataclass(frozen=True)
class Text:
    """What a model wrote after a prompt.

    Attributes
    ----------
    ids : the new tokens, without the token that ends a text.
    text : the same as text.
    ended : whether the model ended it by itself.
    """

    ids: tuple[int, ...]
    text: str
    ended: bool

    def to_json(self) -> dict[str, Any]:
        """``{ids, text, ended}``."""
        return {"ids": list(self.ids), "text": self.text, "ended": self.ended}


@dataclass(frozen=True)
class Steered:
    """Texts without and with an edit; those of one number were drawn with the same noise."""

    sampling: Sampling
    default: tuple[Text, ...]
    steered: tuple[Text, ...]

    def to_json(self) -> dict[str, Any]:
        """``{temperature, top_p, seed, where, samples: [{default, steered}]}``."""
        pairs = zip(self.default, self.steered, strict=True)
        return {
            "temperature": self.sampling.temperature, "top_p": self.sampling.top_p,
            "seed": self.sampling.seed, "where": self.sampling.where,
            "samples": [{"default": a.to_json(), "steered": b.to_json()} for a, b in pairs],
        }  # fmt: skip


def steer(
    loaded: LoadedModel,
    prompt: Prompt,
    edits: Callable[[], Mapping[Site, Edit]],
    sampling: Sampling | None = None,
    progress: Progress = SILENT,
) -> Steered:
    """Default texts beside steered ones, from the same seed.

    Parameters
    ----------
    edits : makes the edits anew, as `features.placed` does: what an edit remembers belongs to one run.

    Errors
    ------
    See `generate`.
    """
    sampling = sampling or Sampling()
    default = generate(loaded, prompt, {}, sampling, progress)
    return Steered(sampling, default, generate(loaded, prompt, edits(), sampling, progress))


@torch.no_grad()
def generate(
    loaded: LoadedModel,
    prompt: Prompt,
    edits: Mapping[Site, Edit],
    sampling: Sampling | None = None,
    progress: Progress = SILENT,
) -> tuple[Text, ...]:
    """Texts that the model writes after `prompt` while `edits` are made.

    An edit acts once on each position when that position passes, never on the beginning token.
    The last token written is not read again, so nothing is edited there.

    Parameters
    ----------
    loaded : a causal language model.
    prompt : see `read_prompt`; one context.
    edits : by site; none for default text.
    sampling : how it is written.

    Errors
    ------
    `UserError` for a model that predicts no tokens, and where prompt and new tokens together are
    longer than its context.
    """
    sampling = sampling or Sampling()
    _refuse_writing(loaded, prompt, sampling)
    from transformers import GenerationConfig

    ids = prompt.ids.expand(sampling.samples, -1)
    config = GenerationConfig(
        max_new_tokens=sampling.tokens, do_sample=False, use_cache=sampling.cache,
        bos_token_id=loaded.tokenizer.bos_token_id, eos_token_id=_end(loaded),
        # Behind the end of a text that others of the batch outlast; cut off below.
        pad_token_id=_end(loaded) if _end(loaded) is not None else 0,
    )  # fmt: skip
    along = {site: _Along(edit, prompt.kept, sampling) for site, edit in edits.items()}
    with (
        progress.task("write", sampling.tokens, "tokens") as task,
        without_notices(),
        tap.editing(loaded.model, along),
    ):
        model: Any = loaded.model
        written = model.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=config,
            logits_processor=_drawing(sampling, ids.shape[1], task),
        )  # fmt: skip
    return tuple(_text(loaded, row) for row in written[:, ids.shape[1] :].tolist())


def _refuse_writing(loaded: LoadedModel, prompt: Prompt, sampling: Sampling) -> None:
    if not loaded.is_causal:
        raise UserError(
            f"{loaded.name} ({type(loaded.model).__name__}) reads in both directions and predicts "
            "no next token, so it writes no text and has no logits; edits still change its "
            "activations. Name a causal language model"
        )
    total = prompt.ids.shape[1] + sampling.tokens
    if total > loaded.context:
        raise UserError(
            f"{prompt.ids.shape[1]} tokens of prompt and {sampling.tokens} new ones do not fit the "
            f"context of {loaded.name}, {loaded.context}; write at most "
            f"{max(loaded.context - prompt.ids.shape[1], 0)}"
        )


def _end(loaded: LoadedModel) -> int | None:
    return loaded.tokenizer.eos_token_id


def _text(loaded: LoadedModel, ids: list[int]) -> Text:
    end = _end(loaded)
    ended = end is not None and end in ids
    if end is not None and ended:
        ids = ids[: ids.index(end)]
    text = loaded.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    return Text(tuple(ids), text, ended)


class _Along:
    """An edit at the positions that are to be edited, in whatever pieces they pass."""

    def __init__(self, edit: Edit, kept: Bool[Tensor, "context position"], sampling: Sampling):
        self.edit, self.cached = edit, sampling.cache
        self.first = kept & (sampling.where != "new")
        self.later = sampling.where != "prompt"
        self.passed = 0

    def __call__(
        self, activation: Float[Tensor, "context position width"]
    ) -> Float[Tensor, "context position width"]:
        start = self.passed if self.cached else 0
        stop = start + activation.shape[1]
        self.passed = stop
        prompt = self.first[:, start:stop]
        new = prompt.new_full((1, activation.shape[1] - prompt.shape[1]), self.later)
        kept = torch.cat([prompt, new], 1).expand(len(activation), -1)
        return Only(self.edit, kept)(activation)


def _drawing(sampling: Sampling, prompt: int, task: Task) -> Any:
    """What makes the likeliest token a drawn one."""
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

    draws = [Compute(seed=sampling.seed).generator(f"text {i}") for i in range(sampling.samples)]

    def noisy(ids: Tensor, scores: Tensor) -> Tensor:
        task.advance()
        if not sampling.temperature:
            return scores
        noise = torch.stack([_gumbel(scores.shape[1], draw) for draw in draws])
        return scores.float() + noise.to(scores.device)

    wanted: list[Any] = []
    if sampling.temperature:
        wanted.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_p < 1:
            wanted.append(TopPLogitsWarper(sampling.top_p))
    return LogitsProcessorList([*wanted, noisy])


def _gumbel(count: int, draw: torch.Generator) -> Float[Tensor, "vocabulary"]:
    """``-log(-log u)`` with ``-log u`` drawn as an exponential, never zero."""
    exponential = torch.empty(count).exponential_(generator=draw)
    return -exponential.clamp_min(torch.finfo(torch.float32).tiny).log()
