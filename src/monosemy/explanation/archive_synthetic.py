"""An archive drawn from a seed: of any size, whole and consistent, and about nothing.

For measuring, for trying pages, and for tests. Sizes, skews and layouts are those of a real archive;
the words mean nothing.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from monosemy.explanation.archive import Archive
from monosemy.explanation.archive_columns import COLUMNS, FLAGS
from monosemy.explanation.archive_layout import DTYPES, NEAR_MISS, RANDOM, smallest
from monosemy.explanation.archive_manifest import About
from monosemy.explanation.archive_writing import ArchiveWriter, pack_strings
from monosemy.foundation.errors import UserError
from monosemy.foundation.progress import SILENT, Progress

RELATIONS = {
    "decoder": "cosine of decoder rows",
    "encoder": "cosine of encoder rows",
    "coactivation": "Jaccard index: tokens on which both fire over tokens on which either does",
    "logits": "cosine of weights on the logits",
}
# What a page must never take for markup or script, among the words.
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "\u202e", "\n")
BEGINNING = "<|endoftext|>"
_TOP, _INTERVALS, _ANY, _NEAR = 8, 10, 2, 4
_EACH = _TOP + _INTERVALS + _ANY + _NEAR
_BINS, _WORDS, _PLACES = 32, 8, 5
_RADIUS = 10
_CHUNK = 1 << 16


def synthetic_archive(
    folder: str | Path,
    features: int = 1_000_000,
    contexts: int = 2_048,
    length: int = 128,
    vocabulary: int = 4_096,
    seed: int = 0,
    hierarchical: bool = False,
    progress: Progress = SILENT,
) -> Archive:
    """Write an archive of `features` features over a text of nonsense, and open it.

    Each feature has a token of its own that most of its peaks stand on; about one in fifty is dead
    and one in a hundred dense. Among the words are some that look like markup.

    Parameters
    ----------
    hierarchical : give seven in eight features a parent among the others.
    seed : the same seed and sizes give the same bytes.
    """
    if min(features, contexts, length) < 8 or vocabulary < 64:
        raise UserError("wanted at least 8 features, contexts and positions, and 64 tokens")
    names = [name for name in COLUMNS if hierarchical or name != "parent"]
    about = About(
        tokens=contexts * length,
        provenance={"model": "synthetic", "site": "none", "dictionary": "synthetic", "seed": seed},
        columns=tuple(COLUMNS[name] for name in names),
        radius=_RADIUS,
        intervals=_INTERVALS,
        relations=RELATIONS,
    )
    writer = ArchiveWriter(folder, about)
    text = _Text(writer, contexts, length, vocabulary, seed)
    drawn = _Drawn(text, features, seed, hierarchical)
    with progress.task("draw features", features, "features") as task, ExitStack() as open_streams:
        writes: dict[str, Any] = {}
        for start in range(0, features, _CHUNK):
            parts = drawn.chunk(start, min(features, start + _CHUNK))
            for name, part in parts.items():
                if name not in writes:
                    shape = drawn.shape(name, part)
                    stream = writer.stream(name, part.dtype, shape)
                    writes[name] = open_streams.enter_context(stream)
                writes[name](part)
            task.advance(min(features, start + _CHUNK) - start)
    for name, values in drawn.whole().items():
        writer.put(name, values)
    return writer.finish()


def _words(count: int, draw: np.random.Generator) -> list[str]:
    """`count` different token texts, most of them a space and some syllables."""
    syllables = ["ka", "lo", "mi", "ren", "ta", "su", "vel", "or", "ne", "dis", "pa", "qui"]
    words = [BEGINNING, *HOSTILE, ".", ",", " the", " of", "é", " 日本", "\\xe2\\x94"]
    known = set(words)
    while len(words) < count:
        parts = draw.integers(0, len(syllables), draw.integers(1, 5))
        word = ("" if draw.random() < 0.2 else " ") + "".join(syllables[i] for i in parts)
        if word not in known:
            known.add(word)
            words.append(word)
    return words


class _Text:
    """A corpus of nonsense, and where each token occurs."""

    def __init__(
        self, writer: ArchiveWriter, contexts: int, length: int, vocabulary: int, seed: int
    ):
        draw = np.random.default_rng([seed, 0])
        places = contexts * length
        self.contexts, self.length, self.vocabulary = contexts, length, vocabulary
        # Token frequencies fall as 1 / (rank + 20): a Zipf law with its head cut.
        law = np.cumsum(1 / (np.arange(1, vocabulary) + 20))
        ids = 1 + np.searchsorted(law, draw.random(places) * law[-1])
        ids = np.minimum(ids, vocabulary - 1)
        starts = np.flatnonzero(draw.random(places) < 1 / (2 * length))
        starts = np.union1d([0], starts[starts < places - 1])
        starts = starts[np.diff(starts, prepend=-2) > 1]  # room for the beginning token
        ids[starts] = 0
        kept = np.ones(places, dtype=bool)
        kept[starts] = False
        run_start = np.stack([starts, starts + 1], axis=1).reshape(-1)
        offsets = np.tile(np.array([-1, 0], dtype="<i4"), len(starts))
        self.documents = len(starts)
        words, word_start = pack_strings(_words(vocabulary, draw))
        names, names_start = pack_strings(f"document {i}.txt" for i in range(self.documents))
        for name, values in {
            "ids": ids.astype(smallest(vocabulary - 1)).reshape(contexts, length),
            "kept": np.packbits(kept, bitorder="little"),
            "run_start": run_start.astype(smallest(places, "u32", "u64")),
            "run_document": np.repeat(np.arange(self.documents, dtype="<u4"), 2),
            "run_offset": offsets,
            "names": names,
            "names_start": names_start,
            "vocabulary": words,
            "vocabulary_start": word_start,
        }.items():
            writer.put(f"corpus.{name}", values)
        self.order = np.argsort(ids, kind="stable")
        self.firsts = np.searchsorted(ids[self.order], np.arange(vocabulary + 1))
        found = np.flatnonzero(np.diff(self.firsts) > 0)
        self.found = found[found > 0]


class _Drawn:
    """Draws all features chunk by chunk; what needs all of them at once is drawn first."""

    def __init__(self, text: _Text, features: int, seed: int, hierarchical: bool):
        draw = np.random.default_rng([seed, 1])
        self.text, self.features, self.seed, self.hierarchical = text, features, seed, hierarchical
        places = text.contexts * text.length
        density = np.exp(draw.normal(np.log(3e-3), 1.2, features))
        density[draw.random(features) < 0.01] *= 100
        self.fired = np.minimum((density * places).astype(np.int64), places // 2)
        self.fired[draw.random(features) < 0.02] = 0
        self.alive = self.fired > 0
        self.max = np.exp(draw.normal(1.0, 0.6, features)).astype("<f2").astype("<f4")
        self.max[~self.alive] = 0
        self.token = text.found[draw.integers(0, len(text.found), features)]
        self.share = draw.beta(2, 2, features).astype("<f2")
        self.share[~self.alive] = 0
        self.rows = int(self.alive.sum()) * _EACH
        place = self._peaks(draw)
        self.context = (place // text.length).astype(smallest(text.contexts - 1))
        self.peak = (place % text.length).astype(smallest(text.length - 1, "u8", "u16"))
        peak = self.peak.astype(np.int64)
        room = np.minimum(text.length, peak + _RADIUS + 1) - peak
        self.nonzeros = np.minimum(draw.choice([1, 1, 2, 3, 4], self.rows), room).astype("u1")
        self.first = np.concatenate([[0], np.cumsum(self.alive * _EACH)])
        ends = np.concatenate([[0], np.cumsum(self.nonzeros, dtype=np.int64)])
        self.first_value = ends[self.first]

    def _peaks(self, draw: np.random.Generator) -> np.ndarray:
        """Places of all peaks: four in five on the feature's own token."""
        text = self.text
        token = np.repeat(self.token[self.alive], _EACH)
        own = text.firsts[token] + (
            draw.random(self.rows) * (text.firsts[token + 1] - text.firsts[token])
        ).astype(np.int64)
        anywhere = draw.integers(text.firsts[1], len(text.order), self.rows)
        return text.order[np.where(draw.random(self.rows) < 0.8, own, anywhere)]

    def shape(self, name: str, part: np.ndarray) -> tuple[int, ...]:
        """Of the whole array that `part` begins."""
        if name in ("examples.position", "examples.value"):
            return (int(self.first_value[-1]),)
        return (self.rows if name == "examples.group" else self.features, *part.shape[1:])

    def whole(self) -> dict[str, np.ndarray]:
        """Arrays that are not drawn by chunks."""
        order = np.lexsort((-self.share.astype(np.float32), self.token))
        order = order[self.alive[order]]
        links = np.searchsorted(self.token[order], np.arange(self.text.vocabulary + 1))
        pointer = smallest(int(self.first_value[-1]), "u32", "u64")
        return {
            "examples.first": self.first.astype(pointer),
            "examples.first_value": self.first_value.astype(pointer),
            "examples.context": self.context,
            "examples.peak": self.peak,
            "examples.nonzeros": self.nonzeros,
            "tokens.first": links.astype("<u4"),
            "tokens.feature": order.astype(smallest(self.features - 1)),
            "tokens.share": self.share[order],
        }

    def chunk(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """Everything of features `start` up to `stop`."""
        draw = np.random.default_rng([self.seed, 2, start])
        chosen = slice(start, stop)
        parts = self._shown(draw, chosen) | self._examples(draw, chosen)
        parts |= self._relations(draw, chosen)
        return parts | self._columns(draw, chosen, parts)

    def _examples(self, draw: np.random.Generator, chosen: slice) -> dict[str, np.ndarray]:
        alive = np.flatnonzero(self.alive[chosen]) + chosen.start
        first, last = int(self.first[chosen.start]), int(self.first[chosen.stop])
        part = np.empty((len(alive), _EACH), dtype=np.float32)
        part[:, 0] = 1
        part[:, 1:_TOP] = -np.sort(-draw.uniform(0.9, 1, (len(alive), _TOP - 1)), axis=1)
        steps = np.arange(_INTERVALS, 0, -1)
        rise = draw.uniform(0.05, 0.95, (len(alive), _INTERVALS))
        part[:, _TOP : _TOP + _INTERVALS] = (steps - rise) / _INTERVALS
        low = _TOP + _INTERVALS
        part[:, low : low + _ANY] = -np.sort(-draw.uniform(0.02, 1, (len(alive), _ANY)), axis=1)
        part[:, low + _ANY :] = -np.sort(draw.uniform(0.001, 0.1, (len(alive), _NEAR)), axis=1)
        groups = [0] * _TOP + steps.tolist() + [RANDOM] * _ANY + [NEAR_MISS] * _NEAR
        values = (part * self.max[alive, None]).reshape(-1)
        nonzeros = self.nonzeros[first:last].astype(np.int64)
        row = np.repeat(np.arange(last - first), nonzeros)
        after = np.arange(len(row)) - np.repeat(np.cumsum(nonzeros) - nonzeros, nonzeros)
        peak = self.peak[first:last].astype(np.int64)
        # What follows a peak fires at half of it, then a third, ...
        value = np.abs(values[row]) / (1 + after)
        value[after == 0] = values[row[after == 0]]
        return {
            "examples.group": np.tile(np.array(groups, dtype="u1"), len(alive)),
            "examples.position": (np.minimum(peak, _RADIUS)[row] + after).astype("u1"),
            "examples.value": value.astype("<f2"),
        }

    def _shown(self, draw: np.random.Generator, chosen: slice) -> dict[str, np.ndarray]:
        """Histograms, words, profiles."""
        from scipy.special import ndtr

        fired, high = self.fired[chosen], self.max[chosen].astype(np.float64)
        count = len(fired)
        limit = np.where(high > 0, np.exp2(np.frexp(high)[1]), 0).astype("<f4")
        edges = limit[:, None] * np.arange(_BINS + 1) / _BINS
        law = 1 - np.exp(-3 * np.minimum(edges, high[:, None]) / np.maximum(high[:, None], 1e-9))
        bars = (np.diff(law, axis=1) / np.maximum(law[:, -1:], 1e-9) * fired[:, None]).astype("<u4")
        bars[:, 0] += (fired - bars.sum(axis=1)).astype("<u4")
        spread = draw.uniform(0.8, 2.5, (count, 1))
        steps = np.linspace(-4, 4, _BINS + 1)
        logits = (np.diff(ndtr(steps * spread), axis=1) * self.text.vocabulary).astype(np.int64)
        logits[:, _BINS // 2] += self.text.vocabulary - logits.sum(axis=1)
        vocabulary = smallest(self.text.vocabulary - 1)
        raised = draw.integers(1, self.text.vocabulary, (count, _WORDS)).astype(vocabulary)
        raised[:, 0] = self.token[chosen]
        lowered = draw.integers(1, self.text.vocabulary, (count, _WORDS)).astype(vocabulary)
        weights = draw.gamma(3, 0.5, (2, count, _WORDS))
        weights = -np.sort(-weights, axis=2)
        tokens = draw.integers(1, self.text.vocabulary, (count, _PLACES)).astype(vocabulary)
        tokens[:, 0] = self.token[chosen]
        share = self.share[chosen].astype(np.float64)
        fall = (1 - share[:, None]) * share[:, None] * 0.5 ** np.arange(1, _PLACES)
        positions = draw.gamma(2, 1, (count, 8))
        documents = draw.integers(0, self.text.documents, (count, 3))
        sources = -np.sort(-draw.uniform(0.001, 0.3, (count, 3)), axis=1)
        alive = self.alive[chosen, None]
        return {
            "histogram.counts": bars,
            "histogram.range": limit,
            "logits.histogram": logits.astype(smallest(self.text.vocabulary)),
            "logits.range": np.tile(np.array([-4, 4], dtype="<f4"), (count, 1)),
            "logits.raised_ids": raised,
            "logits.raised_values": weights[0].astype("<f2"),
            "logits.lowered_ids": lowered,
            "logits.lowered_values": -weights[1].astype("<f2"),
            "profile.token_ids": tokens,
            "profile.token_shares": (
                alive * np.concatenate([share[:, None], np.minimum(fall, share[:, None])], axis=1)
            ).astype("<f2"),
            "profile.positions": (alive * positions / positions.sum(1, keepdims=True)).astype(
                "<f2"
            ),
            "profile.documents": documents.astype(smallest(self.text.documents - 1)),
            "profile.document_shares": (alive * sources).astype("<f2"),
        }

    def _relations(self, draw: np.random.Generator, chosen: slice) -> dict[str, np.ndarray]:
        """Neighbours, neurons, the map: a spiral of clusters, so that a map has something to show."""
        count = chosen.stop - chosen.start
        own = np.arange(chosen.start, chosen.stop)[:, None]
        kind = smallest(self.features - 1)
        parts: dict[str, np.ndarray] = {}
        for name in RELATIONS:
            step = draw.integers(1, self.features, (count, _PLACES))
            nearness = -np.sort(-draw.beta(2, 3, (count, _PLACES)), axis=1)
            parts[f"neighbours.{name}.feature"] = ((own + step) % self.features).astype(kind)
            parts[f"neighbours.{name}.value"] = nearness.astype("<f2")
        neurons = -np.sort(-draw.uniform(0.05, 0.6, (count, 3)), axis=1)
        signs = draw.choice([-1, 1], (count, 3))
        turn = 0.4 * (self.token[chosen] % 64)
        centre = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (turn[:, None] / 28)
        place = (centre + draw.normal(0, 0.03, (count, 2))) * 26_000 + 32_768
        parts["aligned.neuron"] = draw.integers(0, 768, (count, 3)).astype("<u2")
        parts["aligned.value"] = (neurons * signs).astype("<f2")
        parts["map.xy"] = np.clip(place, 0, 65_535).astype("<u2")
        return parts

    def _columns(
        self, draw: np.random.Generator, chosen: slice, parts: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        fired, alive = self.fired[chosen], self.alive[chosen]
        count = len(fired)
        places = self.text.contexts * self.text.length
        nothing = np.where(alive, 0, np.nan)
        share = self.share[chosen].astype(np.float64) + nothing
        nearest = parts["neighbours.decoder.value"][:, 0].astype(np.float64)
        columns = {
            "fired": fired,
            "density": fired / places,
            "max": self.max[chosen],
            "mean_active": self.max[chosen] * draw.uniform(0.2, 0.5, count) + nothing,
            "single_token_share": share,
            "position_share": draw.beta(1, 40, count) + nothing,
            "token_entropy": (1 - share) * np.log2(self.text.vocabulary),
            "logit_kurtosis": 3 + draw.gamma(1, 2, count),
            "logit_skew": draw.normal(0, 0.7, count),
            "decoder_norm": np.ones(count),
            "encoder_decoder_cosine": draw.beta(6, 3, count),
            "neighbour_cosine": nearest,
            "l0_share": fired / max(1, int(self.fired.sum())),
        }
        rules = {
            "dead": ~alive,
            "dense": fired > 0.1 * places,
            "duplicate": nearest > 0.95,
            "single_token": np.nan_to_num(share) > 0.95,
            "position_only": np.nan_to_num(columns["position_share"]) > 0.95,
        }
        bits = sum(rules[name].astype(np.int64) << bit for bit, name in enumerate(FLAGS))
        columns["flags"] = np.asarray(bits)
        if self.hierarchical:
            roots = -(-self.features // 8)
            parents = draw.integers(0, roots, count)
            columns["parent"] = np.where(np.arange(chosen.start, chosen.stop) < roots, -1, parents)
        return {
            f"column.{name}": values.astype(DTYPES[COLUMNS[name].dtype])
            for name, values in columns.items()
        }
