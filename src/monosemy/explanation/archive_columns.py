"""Statistics of features that an archive knows by name, and the flags."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One number for every feature, and what it says."""

    name: str
    """Name of its array, without ``column.``."""
    label: str
    """A few words for a table's head."""
    formula: str
    """How it is worked out, as a sentence or an equation."""
    unit: str = ""
    """Unit, or empty for a plain number."""
    better: str = ""
    """``higher`` or ``lower`` where one is better, else empty."""
    dtype: str = "f32"
    """A key of `archive_layout.DTYPES`."""

    def described(self) -> dict[str, str]:
        """The manifest's entry."""
        return {key: getattr(self, key) for key in ("label", "formula", "unit", "better")}


COLUMNS = {
    column.name: column
    for column in (
        Column("fired", "fired", "tokens on which the feature fires", "tokens", dtype="u32"),
        Column("density", "density", "fired / tokens", "of tokens"),
        Column("max", "max", "largest activation", "activation"),
        Column("mean_active", "mean active", "sum of activations / fired", "activation"),
        Column(
            "single_token_share",
            "one token",
            "activation on the commonest token / sum of activations",
            "of activation",
        ),
        Column(
            "position_share",
            "one position",
            "activation at the commonest position / sum of activations",
            "of activation",
        ),
        Column(
            "token_entropy",
            "token entropy",
            "-sum p log2 p over tokens, p = activation on the token / sum of activations",
            "bits",
        ),
        Column(
            "logit_kurtosis",
            "logit kurtosis",
            "fourth central moment / variance^2 of its weights on the logits, direct path; "
            "3 for a normal law",
        ),
        Column(
            "logit_skew",
            "logit skew",
            "third central moment / variance^1.5 of its weights on the logits, direct path",
        ),
        Column("decoder_norm", "decoder length", "|W_dec[f]|"),
        Column("encoder_decoder_cosine", "encoder · decoder", "cosine of W_enc[f] and W_dec[f]"),
        Column("neighbour_cosine", "nearest", "largest cosine of W_dec[f] with another row"),
        Column("l0_share", "share of L0", "fired / fired of all features", "of firings"),
        Column("flags", "flags", "bits, by name in the manifest", dtype="u32"),
        Column("parent", "parent", "the feature that has to fire first; -1: none", dtype="i32"),
    )
}
"""Columns whose meaning the format fixes, by name."""

FLAGS = {
    "dead": "fires on no token that was read",
    "dense": "fires on more than a tenth of the tokens",
    "duplicate": "its decoder row has cosine above 0.95 with another one",
    "single_token": "more than 0.95 of its activation mass lies on one token",
    "position_only": "more than 0.95 of its activation mass lies at one position",
}
"""Usual flags in the order of their bits, and their rules; an archive may state others."""
