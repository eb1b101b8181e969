"""Chances of firing under a hierarchy, from how often features are to be active."""

from __future__ import annotations

import torch

from monosemy.data.features.contests import stay_shares
from monosemy.tensors.axes import Float, Int, Tensor

COMPENSATION = {
    "none": "a feature fires, its parent being active, as often as it is wanted overall",
    "first-order": "raised for what the hierarchy takes, nearly: as SAELens does, for named worlds",
    "exact": "raised so that every rate is as wanted; refused where no chances give that",
}
_ROUNDS = 1000


def first_order_chances(
    wanted: Float[Tensor, "feature"], parents: Int[Tensor, "feature"], exclusive: bool
) -> Float[Tensor, "feature"]:
    """Chances with which features have to fire, nearly, their parents being active.

        chance = min(1, wanted / parent's · (1 + sum over siblings of wanted / parent's))

    The second factor stands for the siblings that an exclusive feature loses to: right to first
    order, too low where siblings are frequent, and cut off at 1 where the siblings together are
    wanted more often than their parent.
    """
    share = shares(wanted, parents)
    if not exclusive:
        return share.clamp(max=1)
    return (share * (1 + _together(share, parents) - share)).clamp(max=1)


def exact_chances(
    wanted: Float[Tensor, "feature"], parents: Int[Tensor, "feature"], exclusive: bool,
    alive: Float[Tensor, "feature"],
) -> Float[Tensor, "feature"]:  # fmt: skip
    """Chances that give exactly the wanted rates; above 1 where none do.

    `alive` is the share of firings whose activation is above zero. In a contest the share of those
    that stay depends on the chances themselves, so they are adjusted until it fits.
    """
    share = shares(wanted, parents)
    if not exclusive:
        return share / alive
    active = share.clone()
    for _ in range(_ROUNDS):
        before = active
        active = share / stay_shares(parents, active.clamp(max=1)[None])[0]
        if torch.allclose(before, active, rtol=1e-13, atol=0):
            break
    return active / alive


def impossible(
    wanted: Float[Tensor, "feature"], parents: Int[Tensor, "feature"], exclusive: bool
) -> list[str]:
    """Why no chances give these rates: children that are wanted more often than their parents."""
    share = shares(wanted, parents)
    together = _together(share, parents) if exclusive else share
    wrong = ((parents >= 0) & (together > 1)).nonzero()[:, 0]
    if not len(wrong):
        return []
    child = int(wrong[0])
    parent = float(wanted[parents[child]])
    whose = "and its exclusive siblings are wanted together" if exclusive else "is wanted"
    more = f" (and {len(wrong) - 1:,} more features like it)" if len(wrong) > 1 else ""
    return [
        f"feature {child} {whose} on {parent * float(together[child]):.4g} of all samples, and the "
        f"parent, feature {int(parents[child])}, on {parent:.4g}{more}; use fewer or rarer children"
    ]


def shares(
    wanted: Float[Tensor, "feature"], parents: Int[Tensor, "feature"]
) -> Float[Tensor, "feature"]:
    """How often each is wanted among the samples on which its parent is active."""
    return wanted / torch.where(parents >= 0, wanted[parents.clamp(min=0)], 1.0)


def _together(
    share: Float[Tensor, "feature"], parents: Int[Tensor, "feature"]
) -> Float[Tensor, "feature"]:
    """The sum over a feature's siblings and itself; its own share for a root."""
    sums, child = torch.zeros_like(share), parents >= 0
    sums.index_add_(0, parents[child], share[child])
    return torch.where(child, sums[parents.clamp(min=0)], share)
