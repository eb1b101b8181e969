"""llamascopium's kinds of dictionaries: from settings and tensors to what they mean."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.llamascopium_settings import LOG_THRESHOLD, Settings
from monosemy.dictionaries.foreign.reading import Shape
from monosemy.dictionaries.normalised import CONSTANT, UNIT_NORM, NormalisedDictionary
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.tensors.axes import Tensor


class Kind(ABC):
    """One ``sae_type``."""

    @abstractmethod
    def reasons(self, settings: Settings) -> list[str]:
        """Settings that this kind cannot have."""

    @abstractmethod
    def shapes(self, settings: Settings) -> dict[str, Shape]:
        """The tensors that belong to it."""

    @abstractmethod
    def built(self, settings: Settings, tensors: dict[str, Tensor]) -> Dictionary:
        """The dictionary that settings without `reasons` and tensors of these `shapes` mean."""


class _Single(Kind):
    def reasons(self, settings: Settings) -> list[str]:
        known: tuple[str, ...] = ("dataset-wise", "inference")
        if self._autoencodes(settings):
            known += ("token-wise",)
        sites = settings.site_reasons("hook_point_in", "hook_point_out")
        return settings.norm_reasons(known) + sites

    def shapes(self, settings: Settings) -> dict[str, Shape]:
        d, m = settings.width, settings.latents
        shapes: dict[str, Shape] = {"b_E": (m,), "W_E": (d, m), "W_D": (m, d)}
        return shapes | settings.optional_shapes({"b_D": (d,)}, {LOG_THRESHOLD: (m,)})

    def built(self, settings: Settings, tensors: dict[str, Tensor]) -> Dictionary:
        W_D = tensors["W_D"]
        kind = FlatDictionary if self._autoencodes(settings) else Transcoder
        inner = kind(
            tensors["W_E"].T.contiguous(),
            tensors["b_E"],
            W_D,
            tensors.get("b_D", torch.zeros_like(W_D[0])),
            settings.selection(settings.threshold(tensors)),
            centred=False,
            weighing="selected" if settings.counts_lengths else "none",
        )
        if settings.normalisation == "token-wise":
            return NormalisedDictionary(inner, UNIT_NORM)
        factors = [settings.scales(f"hook_point_{side}")[0] for side in ("in", "out")]
        if factors == [1.0, 1.0]:
            return inner
        return NormalisedDictionary(inner, CONSTANT, factor=factors[0], factor_out=factors[1])

    @staticmethod
    def _autoencodes(settings: Settings) -> bool:
        return settings.config.get("hook_point_in") == settings.config.get("hook_point_out")


class _Crosscoder(Kind):
    def reasons(self, settings: Settings) -> list[str]:
        reasons = settings.norm_reasons(("dataset-wise", "inference"))
        reasons += settings.site_reasons("hook_points")
        if settings.activation == "topk":
            reasons.append(
                "act_fn = 'topk' takes the k largest in every part of a crosscoder anew, and here "
                "latents are taken for all parts at once"
            )
        if not settings.counts_lengths or not settings.offset:
            reasons.append(
                "sparsity_include_decoder_norm and use_decoder_bias have to be true; llamascopium "
                "has no crosscoder without"
            )
        return reasons

    def shapes(self, settings: Settings) -> dict[str, Shape]:
        parts, d, m = len(settings.sites("hook_points")), settings.width, settings.latents
        shapes: dict[str, Shape] = {"b_E": (parts, m), "b_D": (parts, d)}
        shapes |= {"W_E": (parts, d, m), "W_D": (parts, m, d)}
        return shapes | settings.optional_shapes({}, {LOG_THRESHOLD: (m,)})

    def built(self, settings: Settings, tensors: dict[str, Tensor]) -> Dictionary:
        scales = settings.scales("hook_points")
        factors = tensors["W_E"].new_tensor(scales)[:, None, None]
        W_enc = (tensors["W_E"] * factors).permute(2, 0, 1).flatten(1)
        b_enc, threshold = tensors["b_E"].sum(0), settings.threshold(tensors)
        W_dec, b_dec = tensors["W_D"] / factors, (tensors["b_D"] / factors[:, :, 0]).flatten()
        parts, latents, d = W_dec.shape
        if threshold is None:
            by_latent = W_dec.transpose(0, 1).flatten(1)
            selection = settings.selection(None)
        else:
            by_latent = W_dec.new_zeros(parts, latents, parts, d)
            for part in range(parts):
                by_latent[part, :, part] = W_dec[part]
            by_latent = by_latent.flatten(2).flatten(0, 1)
            W_enc, b_enc = W_enc.repeat(parts, 1), b_enc.repeat(parts)
            # Lengths before folding: they are compared in the units of learning.
            selection = settings.selection((threshold / tensors["W_D"].norm(dim=2)).flatten())
        return Crosscoder(
            W_enc, b_enc, by_latent, b_dec, selection, [d] * parts, centred=False, scales=scales
        )


class _CrossLayer(Kind):
    def reasons(self, settings: Settings) -> list[str]:
        reasons = settings.norm_reasons(("dataset-wise", "inference"))
        reasons += settings.site_reasons("hook_points_in", "hook_points_out")
        sides = [len(settings.sites(f"hook_points_{side}")) for side in ("in", "out")]
        if sides[0] != sides[1]:
            reasons.append(f"{sides[0]} sites are read and {sides[1]} written; wanted as many")
        if settings.activation == "topk" and settings.counts_lengths:
            reasons.append(
                "act_fn = 'topk' by decoder lengths (sparsity_include_decoder_norm), and no "
                "transcoder across layers here compares latents by them"
            )
        return reasons

    def shapes(self, settings: Settings) -> dict[str, Shape]:
        layers, d, m = len(settings.sites("hook_points_in")), settings.width, settings.latents
        shapes: dict[str, Shape] = {"b_E": (layers, m), "W_E": (layers, d, m)}
        shapes |= {f"W_D.{target}": (target + 1, m, d) for target in range(layers)}
        # The library makes offsets whether or not they are asked for, and always adds them.
        shapes |= {f"b_D.{target}": (d,) for target in range(layers)}
        return shapes | settings.optional_shapes({}, {LOG_THRESHOLD: (layers, m)})

    def built(self, settings: Settings, tensors: dict[str, Tensor]) -> Dictionary:
        read, written = (settings.scales(f"hook_points_{side}") for side in ("in", "out"))
        layers = range(len(read))
        decoders = [
            torch.stack([tensors[f"W_D.{target}"][layer] for target in layers[layer:]], 1)
            for layer in layers
        ]
        thresholds = settings.threshold(tensors)
        if thresholds is not None and settings.counts_lengths:
            # Lengths before folding, over all targets: so they are compared.
            thresholds = thresholds / torch.stack([W.flatten(1).norm(dim=1) for W in decoders])
        out = tensors["W_E"].new_tensor(written)[:, None]
        return CrossLayerTranscoder(
            [tensors["W_E"][layer].T * read[layer] for layer in layers],
            list(tensors["b_E"].unbind()),
            [W / out[layer:] for layer, W in enumerate(decoders)],
            torch.stack([tensors[f"b_D.{target}"] for target in layers]) / out,
            [settings.selection(None if thresholds is None else thresholds[layer])
             for layer in layers],
        )  # fmt: skip


KINDS: dict[str, Kind] = {"sae": _Single(), "crosscoder": _Crosscoder(), "clt": _CrossLayer()}
