"""Latents of every layer that write into all layers from theirs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.autograd import Function

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.layer_selections import LayerSelections
from monosemy.dictionaries.selection import Selection
from monosemy.dictionaries.units import Units, fold_decoder, fold_encoder
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Float, Int, Latents, Tensor, Written
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.kernels import PreActivations
from monosemy.tensors.prefixes import Prefixes

NOT_NESTED = (
    "a cross-layer transcoder has no prefixes: its latents stand layer by layer, and the first of "
    "them would be whole layers; train it without"
)


class CrossLayerTranscoder(Dictionary):
    """``f_l = select(W_enc[l] x_l + b_enc[l])``, ``ŷ_t = sum_{l<=t} f_l W_dec[l][:, t-l] + b_dec[t]``.

    Ameisen et al. 2025, "Circuit Tracing": the latents of layer `l` read what enters its MLP and
    write into the outputs of this and every later MLP. Inputs lie side by side in
    ``x = [x_0, ..., x_{L-1}]``, outputs in ``ŷ``; one code holds the latents of all layers, layer
    after layer. Any selection is made within a token and layer. While training, the rows of a
    latent over all its targets together have length one.

    The parameters are `encoders`, `biases` and `decoders`, one a layer: the matrices that other
    dictionaries have would be mostly zeros. `W_enc`, `b_enc` and `W_dec` are these matrices, made
    anew at each call, for tools that can afford them; nothing here does.

    Parameters
    ----------
    W_enc, b_enc : of each layer.
    W_dec : of each layer, one direction for each target: this layer first, the last one last.
    b_dec : offset of each target.
    selections : of each layer, all of one kind.

    Errors
    ------
    `UserError` where shapes disagree or a selection does not fit, all reasons at once.
    """

    autoencodes = False
    centred = False
    nests = False

    def __init__(
        self,
        W_enc: Sequence[Float[Tensor, "_ width"]],
        b_enc: Sequence[Float[Tensor, "_"]],
        W_dec: Sequence[Float[Tensor, "_ _ width"]],
        b_dec: Float[Tensor, "layer width"],
        selections: Sequence[Selection],
    ):
        super().__init__()
        refuse(_misfits(W_enc, b_enc, W_dec, b_dec, selections), "this cross-layer transcoder")
        self.sizes = tuple(len(W) for W in W_enc)
        selection = LayerSelections(selections, self.sizes)
        refuse(selection.refuse_for(sum(self.sizes)), "this cross-layer transcoder")
        self.encoders = nn.ParameterList(W_enc)
        self.biases = nn.ParameterList(b_enc)
        self.decoders = nn.ParameterList([W.flatten(1) for W in W_dec])
        self.b_dec = nn.Parameter(b_dec.flatten())
        self.selection: LayerSelections = selection

    # --- shapes ---

    @property
    def layers(self) -> int:
        """How many layers there are (L)."""
        return len(self.sizes)

    @property
    def layer_width(self) -> int:
        """Numbers in one layer's activation (d)."""
        return self.encoders[0].shape[1]

    @property
    def width(self) -> int:
        """Numbers that are read: of all layers side by side."""
        return self.layers * self.layer_width

    @property
    def written(self) -> int:
        """Numbers that are written: of all layers side by side."""
        return self.width

    @property
    def latents(self) -> int:
        """Latents of all layers."""
        return sum(self.sizes)

    @property
    def W_enc(self) -> Float[Tensor, "latent width"]:  # type: ignore[override]
        """Every encoder row, with zeros where its latent reads nothing."""
        d = self.layer_width
        return torch.cat([
            nn.functional.pad(W, (layer * d, (self.layers - 1 - layer) * d))
            for layer, W in enumerate(self.encoders)
        ])  # fmt: skip

    @property
    def b_enc(self) -> Float[Tensor, "latent"]:  # type: ignore[override]
        """The layers' biases one after the other."""
        return torch.cat(list(self.biases))

    @property
    def W_dec(self) -> Float[Tensor, "latent written"]:  # type: ignore[override]
        """Every direction, with zeros where its latent writes nothing."""
        return torch.cat([
            nn.functional.pad(W, (layer * self.layer_width, 0))
            for layer, W in enumerate(self.decoders)
        ])  # fmt: skip

    def decoder(self, layer: int) -> Float[Tensor, "layer_latent target width"]:
        """The directions of one layer's latents, by target."""
        return self.decoders[layer].unflatten(1, (-1, self.layer_width))

    # --- reading ---

    def asked(self, x: Activations) -> list[tuple[Selection, PreActivations]]:
        """What the selection of each layer is asked."""
        given = zip(self.selection, self._by_layer(x), self.encoders, self.biases, strict=True)
        return [(own, PreActivations(part, W, b, self.propose)) for own, part, W, b in given]

    def code(self, x: Activations) -> SparseCode:
        """See the class."""
        return self.selection.activate_layers(self._linears(x))

    def training_code(self, x: Activations) -> tuple[SparseCode, dict[str, Tensor]]:
        """The code, and what training may be asked to keep small, summed over layers."""
        linears = self._linears(x)
        terms = self.selection.layer_penalties(linears, self.written)
        return self.selection.activate_layers(linears), terms

    def _by_layer(self, x: Activations) -> tuple[Float[Tensor, "token layer_width"], ...]:
        # Contiguous once, or every kernel would copy its part anew.
        return x.unflatten(1, (self.layers, -1)).transpose(0, 1).contiguous().unbind(0)

    def _linears(self, x: Activations) -> list[SparseCode]:
        """Pre-activations of what survives in each layer, tied to its encoder."""
        nothing, found = x.new_zeros(self.layer_width), []
        for selection, pre in self.asked(x):
            with torch.no_grad():
                support = selection.support(pre)
            encoder = pre.W, pre.b, nothing, pre.x.detach()
            found.append(kernels.differentiable_values(support, pre.x, *encoder))
        return found

    # --- writing ---

    def decode(self, code: SparseCode | Latents, x: Activations | None = None) -> Written:
        """See the class."""
        if isinstance(code, SparseCode):
            total = self.b_dec.expand(code.tokens, -1).clone()
            return self._add(total, code.split(self.sizes), list(self.decoders))
        total = self.b_dec.expand(len(code), -1).clone()
        for layer, (part, W) in enumerate(
            zip(code.split(self.sizes, 1), self.decoders, strict=True)
        ):
            total = _AddFrom.apply(total, part @ W, layer * self.layer_width)
        return total

    def _add(
        self, total: Written, codes: Sequence[SparseCode], decoders: Sequence[Tensor]
    ) -> Written:
        """`total`, with what each layer's code writes added in place."""
        for layer, (code, W) in enumerate(zip(codes, decoders, strict=True)):
            if len(code.indices):
                written = kernels.decode(code, W, torch.zeros_like(W[0]))
                total = _AddFrom.apply(total, written, layer * self.layer_width)
        return total

    def squared_error(
        self, code: SparseCode, x: Activations, target: Written
    ) -> tuple[Float[Tensor, "token"], Written]:
        """See `Dictionary`: over all targets together."""
        rest = target - self.decode(code)
        return rest.square().sum(1), rest.detach()

    def nested_squared_error(
        self, code: SparseCode, x: Activations, target: Written, prefixes: Prefixes
    ) -> tuple[Float[Tensor, "token prefix"], Written]:
        """`UserError`: there are no prefixes. A configuration asks `nests` before work starts."""
        raise UserError(NOT_NESTED)

    def guess_with(self, x: Activations, chosen: Int[Tensor, "chosen"], k: int) -> Written:
        """See `Dictionary`; each layer gives the ``k / L`` largest of its own `chosen`."""
        share, first = max(k // self.layers, 1), 0
        codes, decoders = [], []
        for layer, part in enumerate(self._by_layer(x)):
            here = chosen[(chosen >= first) & (chosen < first + self.sizes[layer])] - first
            first += self.sizes[layer]
            codes.append(self._guess(layer, part, here, share))
            decoders.append(kernels.take_rows(self.decoders[layer], here))
        return self._add(x.new_zeros(len(x), self.written), codes, decoders)

    def _guess(self, layer: int, x: Tensor, chosen: Int[Tensor, "chosen"], k: int) -> SparseCode:
        if not len(chosen):
            return SparseCode.from_dense(x.new_zeros(len(x), 0))
        W, b = kernels.take_rows(self.encoders[layer], chosen), self.biases[layer][chosen]
        with torch.no_grad():
            support = PreActivations(x, W, b).largest(min(k, len(chosen)))
        return kernels.differentiable_values(support, x, W, b, x.new_zeros(x.shape[1]), x.detach())

    # --- training ---

    def row_matrices(self) -> Iterator[tuple[nn.Parameter, bool]]:
        """See `Dictionary`: two a layer."""
        yield from ((W, False) for W in self.encoders)
        yield from ((W, True) for W in self.decoders)

    def lengths(self, chosen: Int[Tensor, "chosen"]) -> Float[Tensor, "chosen"]:
        """``|W_dec[i]|`` over all targets together, of latents `chosen` in rising order."""
        first, found = 0, []
        for W in self.decoders:
            here = chosen[(chosen >= first) & (chosen < first + len(W))] - first
            found.append(self.row_length(kernels.take_rows(W, here)))
            first += len(W)
        return torch.cat(found)

    def fold_(self, read: Units, write: Units) -> CrossLayerTranscoder:
        """See `Dictionary`; latents are compared within their layer only."""
        with torch.no_grad():
            read, write = read.to(self.b_dec), write.to(self.b_dec)
            for layer, own in enumerate(self.selection):
                start, stop = layer * self.layer_width, (layer + 1) * self.layer_width
                decoder = self.decoders[layer]
                # The offset belongs to all layers, and is folded once, below.
                later = write.part(slice(start, None))
                fold_decoder(decoder, torch.zeros_like(decoder[0]), later)
                length = decoder.norm(dim=1).clamp_min(1e-30)
                length = (length.mean().expand_as(length) if own.compares else length).clone()
                decoder.div_(length[:, None])
                part = read.part(slice(start, stop))
                fold_encoder(self.encoders[layer], self.biases[layer], part, length)
                own.rescale_(length)
            fold_decoder(self.b_dec.new_zeros(0, self.written), self.b_dec, write)
        return self


class _AddFrom(Function):
    """``total[:, start:] += part``, in place, with no tensor of the batch's size kept."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, part: Tensor, start: int) -> Tensor:
        total[:, start:] += part
        ctx.start = start
        ctx.mark_dirty(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (grad,) = gradients
        return grad, grad[:, ctx.start :].contiguous(), None


def _misfits(
    W_enc: Sequence[Tensor],
    b_enc: Sequence[Tensor],
    W_dec: Sequence[Tensor],
    b_dec: Tensor,
    selections: Sequence[Selection],
) -> list[str]:
    layers = len(W_enc)
    lengths = {"b_enc": len(b_enc), "W_dec": len(W_dec), "b_dec": len(b_dec),
               "selections": len(selections)}  # fmt: skip
    reasons = [
        f"{name} has {found} layers, W_enc {layers}"
        for name, found in lengths.items()
        if found != layers
    ]
    if not layers:
        reasons.append("no layers; wanted at least one")
    if reasons:
        return reasons
    width = W_enc[0].shape[1]
    tensors: dict[str, Sequence[Tensor] | Tensor]
    tensors = {"W_enc": W_enc, "b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}
    for layer in range(layers):
        latents = len(W_enc[layer])
        wanted = {"W_enc": (latents, width), "b_enc": (latents,),
                  "W_dec": (latents, layers - layer, width), "b_dec": (width,)}  # fmt: skip
        reasons += [
            f"{name}[{layer}] has shape {tuple(tensors[name][layer].shape)}; wanted {shape}, as "
            f"there are {layers} layers of {width} numbers and W_enc[{layer}] has {latents} latents"
            for name, shape in wanted.items()
            if tuple(tensors[name][layer].shape) != shape
        ]
    return reasons
