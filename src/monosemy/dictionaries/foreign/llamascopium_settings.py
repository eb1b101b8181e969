"""llamascopium's settings, and what they ask of any dictionary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from monosemy.dictionaries.foreign.plain import is_positive
from monosemy.dictionaries.foreign.reading import Shape
from monosemy.dictionaries.selection import JumpReLU, ReLU, Selection, TopK
from monosemy.tensors.axes import Float, Tensor

NORMS = "dataset_average_activation_norm"
LOG_THRESHOLD = "activation_function.log_jumprelu_threshold"
_ACTIVATIONS = ("relu", "jumprelu", "topk")
_BATCH = "compares the tokens of a batch in use too; convert it to jumprelu with llamascopium first"
_TOGETHER = "compares the layers of a token with each other, which no dictionary here does"
_REFUSED = {"batchtopk": _BATCH, "batchlayertopk": _BATCH, "layertopk": _TOGETHER}


class Settings:
    """A ``config.json``, and the norms that lie beside the weights.

    Attributes
    ----------
    config : as it was read.
    norms : average length of an activation at each site, where the weights say it.
    """

    def __init__(self, config: dict[str, Any]):
        self.config = config
        self.norms = dict[str, Any]()
        self.activation = str(config.get("act_fn", "relu")).lower()
        self.normalisation = config.get("norm_activation", "dataset-wise")
        self.counts_lengths = bool(config.get("sparsity_include_decoder_norm", True))
        self.offset = bool(config.get("use_decoder_bias", True))

    def find_norms(self, given: Mapping[str, Any]) -> None:
        """Take the norms out of what lies beside the weights."""
        for name, value in given.items():
            if name.startswith(f"{NORMS}.") and isinstance(value, Tensor) and value.numel() == 1:
                self.norms[name.removeprefix(f"{NORMS}.")] = float(value)

    @property
    def width(self) -> int:
        """Numbers in one activation (d)."""
        return self.config["d_model"]

    @property
    def latents(self) -> int | str:
        """How many latents it says there are (of each layer); a name where it does not."""
        factor = self.config.get("expansion_factor")
        return int(self.width * factor) if is_positive(factor) else "m"  # type: ignore[operator]

    def sites(self, key: str) -> list[str]:
        """The names under `key`, one or several; none where something else stands there."""
        found = self.config.get(key)
        names = found if isinstance(found, list) else [found]
        texts = [name for name in names if isinstance(name, str)]
        return texts if len(texts) == len(names) else []

    def scale(self, site: str) -> float:
        """By what an activation at `site` is multiplied before it is learned from."""
        dataset = self.normalisation == "dataset-wise"
        return math.sqrt(self.width) / self.norms[site] if dataset else 1.0

    def scales(self, key: str) -> list[float]:
        """`scale` of every site under `key`."""
        return [self.scale(site) for site in self.sites(key)]

    def reasons(self) -> list[str]:
        """What is wrong or cannot be done whatever the kind."""
        reasons, k = [], self.config.get("top_k", 50)
        if type(self.config.get("d_model")) is not int or self.config["d_model"] < 1:
            reasons.append(
                f"d_model = {self.config.get('d_model')!r}; wanted a whole number above zero"
            )
        if self.config.get("use_glu_encoder"):
            reasons.append(
                "use_glu_encoder: a gated linear unit in the encoder, which no dictionary here has"
            )
        if self.activation in _REFUSED:
            reasons.append(f"act_fn = {self.activation!r} {_REFUSED[self.activation]}")
        elif self.activation not in _ACTIVATIONS:
            reasons.append(f"act_fn = {self.activation!r}; known: {', '.join(_ACTIVATIONS)}")
        if self.activation == "topk" and (type(k) is not int or k < 1):
            reasons.append(f"top_k = {k!r}; wanted a whole number of at least 1")
        return reasons

    def site_reasons(self, *keys: str) -> list[str]:
        """A reason for each site that is not named, or of which no norm is known but wanted."""
        reasons = [f"{key} names no site" for key in keys if not self.sites(key)]
        wanted = dict.fromkeys(site for key in keys for site in self.sites(key))
        if self.normalisation == "dataset-wise":
            reasons += [
                f"{NORMS}.{site} is {self.norms.get(site)}; wanted a number above zero"
                for site in wanted
                if not is_positive(self.norms.get(site))
            ]
        return reasons

    def norm_reasons(self, known: tuple[str, ...]) -> list[str]:
        """Why activations cannot be normalised as they were."""
        if self.normalisation in known:
            return []
        return [
            f"norm_activation = {self.normalisation!r} scales by what is not known in use; read "
            f"here: {', '.join(known)}"
        ]

    def optional_shapes(
        self, offset: dict[str, Shape], threshold: dict[str, Shape]
    ) -> dict[str, Shape]:
        """The tensors that only some settings have."""
        thresholds = threshold if self.activation == "jumprelu" else {}
        return (offset if self.offset else {}) | thresholds

    def selection(self, threshold: Float[Tensor, "latent"] | None) -> Selection:
        """Over latents with this threshold, for those that have one."""
        if threshold is not None:
            return JumpReLU(threshold)
        return TopK(self.config.get("top_k", 50)) if self.activation == "topk" else ReLU()

    def threshold(self, tensors: dict[str, Tensor]) -> Tensor | None:
        """In float32 at least: a bfloat16 logarithm has digits that a bfloat16 number has not."""
        log = tensors.get(LOG_THRESHOLD)
        return log if log is None else log.to(torch.promote_types(log.dtype, torch.float32)).exp()

    def metadata(self) -> dict[str, Any]:
        """Where it reads and writes."""
        for read, written in (("hook_point_in", "hook_point_out"),
                              ("hook_points_in", "hook_points_out")):  # fmt: skip
            if read in self.config:
                known = {"hook_name": self.config[read]}
                other = self.config.get(written) not in (None, self.config[read])
                return known | ({"hook_name_out": self.config[written]} if other else {})
        return {"hook_name": self.sites("hook_points")}
