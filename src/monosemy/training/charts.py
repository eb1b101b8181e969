"""Which parents share a subspace: conditional covariances, merged, and children clustered inside.

What a bearer leaves over while it is active, divided by its activation, has a covariance of its own;
the part of it that exceeds what everyone leaves over is where its children lie. Two bearers may
point at one chart of `rank` dimensions where the chart captures nearly as much of both as a chart
each would.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from monosemy.tensors.axes import Bool, Float, Int, Tensor

# Bearers that are merged pair by pair; of more, a sample is, and the others join what fits them best.
MERGED = 512
# Bearers whose samples are decomposed at once.
_AT_ONCE = 256
# A bearer's energy counts for at most so many times the mean's, or charts go to the most frequent.
_MOST = 8.0
# A direction with more than this of its squared length inside a chart belongs to it.
_INSIDE = 0.6
# Latents that begin anew at one time.
_MOST_FOUND = 256


class Bank:
    """The last `samples` residuals of every bearer, relative to its activation, and how much it was on.

    Attributes
    ----------
    rows : residuals, newest over oldest.
    seen : how many of each bearer there were.
    energy : sum of squared activations of each bearer.
    """

    def __init__(self, bearers: int, samples: int, width: int, like: Tensor):
        self.rows = like.new_zeros(bearers, samples, width)
        self.seen = torch.zeros(bearers, dtype=torch.int64, device=like.device)
        self.energy = like.new_zeros(bearers)

    @property
    def counts(self) -> Int[Tensor, "bearer"]:
        """Samples that are held of each."""
        return self.seen.clamp_max(self.rows.shape[1])

    @property
    def fullness(self) -> float:
        """The share of places that are taken."""
        return float(self.counts.sum()) / (self.rows.shape[0] * self.rows.shape[1])

    def add(
        self, bearers: Int[Tensor, "active"], rows: Float[Tensor, "active width"],
        activations: Float[Tensor, "active"],
    ) -> None:  # fmt: skip
        """More residuals, each of the bearer of the same place."""
        order = torch.argsort(bearers, stable=True)
        bearers, rows, activations = bearers[order], rows[order], activations[order]
        counts = torch.bincount(bearers, minlength=len(self.seen))
        first = (counts.cumsum(0) - counts)[bearers]
        turn = torch.arange(len(bearers), device=bearers.device) - first
        # Of more than there is room for, the last stay: no place is written twice at once.
        last = turn >= (counts - self.rows.shape[1])[bearers]
        place = (self.seen[bearers] + turn) % self.rows.shape[1]
        self.rows[bearers[last], place[last]] = (rows / activations[:, None])[last]
        self.energy.index_add_(0, bearers, activations.square())
        self.seen += counts

    @torch.no_grad()
    def project_out(self, directions: Float[Tensor, "bearer width"]) -> None:
        """Take each bearer's own direction (of length one) out of its residuals. In place."""
        for rows, own in zip(
            self.rows.split(_AT_ONCE), directions.detach().split(_AT_ONCE), strict=True
        ):
            rows -= torch.einsum("bmd,bd->bm", rows, own)[:, :, None] * own[:, None]

    def halves(self) -> tuple[Bank, Bank]:
        """Every other sample of each bearer, as two banks that have none in common."""
        found = []
        for half in range(2):
            part = Bank.__new__(Bank)
            part.rows = self.rows[:, half::2]
            part.seen = (self.counts + 1 - half) // 2
            part.energy = self.energy
            found.append(part)
        return found[0], found[1]

    def weights(self) -> Float[Tensor, "bearer"]:
        """What a bearer's relative energy counts for: its own, capped."""
        energy = torch.where(self.seen > 0, self.energy, torch.zeros_like(self.energy))
        mean = energy.sum() / (energy > 0).sum().clamp_min(1)
        return (energy / mean.clamp_min(1e-30)).clamp_max(_MOST)

    def of(self, bearer: int) -> Float[Tensor, "sample width"]:
        """The samples of one bearer."""
        return self.rows[bearer, : int(self.counts[bearer])]

    def covariance(self) -> Float[Tensor, "width width"]:
        """Second moment of all samples together."""
        total = self.rows.new_zeros(self.rows.shape[2], self.rows.shape[2])
        for part in self.rows.split(_AT_ONCE):
            flat = part.flatten(0, 1)
            total += flat.T @ flat
        return total / self.counts.sum().clamp_min(1)

    def state_dict(self) -> dict[str, Tensor]:
        """All of it."""
        return {"rows": self.rows, "seen": self.seen, "energy": self.energy}

    @classmethod
    def load(cls, state: dict[str, Tensor]) -> Bank:
        """What `state_dict` gave."""
        bank = cls.__new__(cls)
        bank.rows, bank.seen, bank.energy = state["rows"], state["seen"], state["energy"]
        return bank


def factors(bank: Bank, kept: int) -> Float[Tensor, "bearer width kept"]:
    """``F`` with ``F Fᵀ ≈ Cov_p - Cov_all``, positive part, its `kept` largest axes.

    ``Cov_p`` is the second moment of a bearer's samples and ``Cov_all`` that of everyone's, looked at
    inside the span of the bearer's samples, so that no matrix of width times width is made a bearer.
    Zero for a bearer without samples.
    """
    overall, parts = bank.covariance(), []
    counts = bank.counts.clamp_min(1).to(bank.rows)
    for rows, many in zip(bank.rows.split(_AT_ONCE), counts.split(_AT_ONCE), strict=True):
        _, sizes, axes = torch.linalg.svd(rows, full_matrices=False)
        inside = axes @ overall @ axes.transpose(1, 2)
        own = torch.diag_embed(sizes.square() / many[:, None])
        # What is no direction of the samples must not look like one.
        real = (sizes > 1e-6 * sizes[:, :1].clamp_min(1e-30)).to(sizes)
        excess = (own - inside) * real[:, :, None] * real[:, None]
        values, vectors = torch.linalg.eigh(excess)
        values, vectors = values[:, -kept:].flip(1), vectors[:, :, -kept:].flip(2)
        found = axes.transpose(1, 2) @ vectors * values.clamp_min(0).sqrt()[:, None]
        missing = kept - found.shape[2]
        parts.append(torch.nn.functional.pad(found, (0, missing)) if missing > 0 else found)
    return torch.cat(parts)


@dataclass(frozen=True, eq=False)
class Merging:
    """What merging found: for every number of charts, who is with whom and what they capture.

    Attributes
    ----------
    captured : energy by number of charts, ``captured[S - 1]`` of S of them.
    merges : pairs of charts in the order they became one (the second joins the first).
    """

    captured: Float[Tensor, "charts"]
    merges: list[tuple[int, int]]

    def labels(self, charts: int) -> Int[Tensor, "bearer"]:
        """Who is with whom when `charts` are left, numbered from zero."""
        count = len(self.captured)
        label = torch.arange(count)
        for kept, gone in self.merges[: count - charts]:
            label[label == gone] = kept
        return label.unique(return_inverse=True)[1]


def merge(F: Float[Tensor, "bearer width kept"], rank: int) -> Merging:
    """Agglomerate: from a chart each, again and again the two whose one chart loses the least.

    A chart captures the sum of the `rank` largest eigenvalues of ``sum F Fᵀ`` over its bearers; merging
    ``i`` and ``j`` costs ``E_i + E_j - E_ij``. One run gives the whole curve. Of a merged pair, as
    many axes are kept as each had.
    """
    F, kept, count = F.clone(), F.shape[2], len(F)
    energy = _captured(F.transpose(1, 2) @ F, rank)
    alive = torch.ones(count, dtype=torch.bool, device=F.device)
    cost = torch.full((count, count), torch.inf, dtype=F.dtype, device=F.device)
    for i in range(count - 1):
        cost[i, i + 1 :] = _costs(F[i], F[i + 1 :], energy[i], energy[i + 1 :], rank)
    cost = torch.minimum(cost, cost.T)
    captured, merges = [energy.sum()], list[tuple[int, int]]()
    for _ in range(count - 1):
        a, b = divmod(int(cost.argmin()), count)
        U, sizes, _ = torch.linalg.svd(torch.cat([F[a], F[b]], 1), full_matrices=False)
        F[a] = (U * sizes)[:, :kept]
        energy[a], energy[b] = sizes[:rank].square().sum(), 0
        alive[b] = False
        cost[b], cost[:, b] = torch.inf, torch.inf
        others = alive.nonzero()[:, 0]
        others = others[others != a]
        cost[a, others] = cost[others, a] = _costs(F[a], F[others], energy[a], energy[others], rank)
        captured.append(energy.sum())
        merges.append((a, b))
    return Merging(torch.stack(captured).flip(0), merges)


def _costs(one: Tensor, others: Tensor, own: Tensor, theirs: Tensor, rank: int) -> Tensor:
    """What a chart together with `one` loses, for each of the others."""
    if not len(others):
        return theirs
    both = torch.cat([one.expand_as(others), others], 2)
    return own + theirs - _captured(both.transpose(1, 2) @ both, rank)


def _captured(gram: Float[Tensor, "chart kept kept"], rank: int) -> Float[Tensor, "chart"]:
    return torch.linalg.eigvalsh(gram)[:, -rank:].sum(1)


@dataclass(frozen=True, eq=False)
class Found:
    """Charts, and who points at which.

    Attributes
    ----------
    V : orthonormal rows, as many charts as were wanted.
    routes : the best chart of each bearer.
    captured : energy that each bearer's own chart captures of it.
    """

    V: Float[Tensor, "chart rank width"]
    routes: Int[Tensor, "bearer"]
    captured: Float[Tensor, "bearer"]


def find_charts(
    F: Float[Tensor, "bearer width kept"], charts: int, rank: int, generator: torch.Generator,
    rounds: int = 10,
) -> Found:  # fmt: skip
    """The `charts` subspaces that capture most of ``sum F Fᵀ``, each bearer by one of them.

    K-subspaces (Lloyd's rounds), begun where merging ends. As many charts as bearers: each its own.
    """
    if charts >= len(F):
        V = leading(F, rank)
        own = torch.arange(len(F), device=F.device)
        return Found(V, own, (V @ F).square().sum((1, 2)))
    chosen = torch.arange(len(F))
    if len(F) > MERGED:
        # Bearers that carry more energy are more likely to be looked at.
        energy = F.square().sum((1, 2)).cpu() + 1e-12
        many = max(MERGED, min(2 * charts, len(F)))
        chosen = torch.multinomial(energy, many, generator=generator).sort().values
    merged = merge(F[chosen], rank)
    V = _from_labels(F[chosen], merged.labels(charts), charts, rank)
    return k_subspaces(F, V, rounds)


def k_subspaces(
    F: Float[Tensor, "bearer width kept"], V: Float[Tensor, "chart rank width"], rounds: int
) -> Found:
    """Lloyd's rounds: every bearer to the chart that captures most of it, every chart anew."""
    best, routes = _best(F, V)
    for _ in range(rounds):
        moved = V.clone()
        for chart in routes.unique().tolist():
            together = F[routes == chart].permute(1, 0, 2).flatten(1)
            moved[chart] = leading(together[None], V.shape[1])[0]
        found = _best(F, moved)
        if float(found[0].sum()) <= float(best.sum()) * (1 + 1e-6):
            break
        V, (best, routes) = moved, found
    return Found(V, routes, best)


def _best(F: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
    flat, parts = V.flatten(0, 1), []
    for part in F.split(max(1, (1 << 24) // max(len(flat) * F.shape[2], 1))):
        inside = torch.einsum("sd,bdk->bsk", flat, part).square().sum(2)
        parts.append(inside.view(len(part), len(V), -1).sum(2).max(1))
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def _from_labels(F: Tensor, labels: Tensor, charts: int, rank: int) -> Tensor:
    each = [F[labels == chart].permute(1, 0, 2).flatten(1) for chart in range(charts)]
    return torch.cat([leading(together[None], rank) for together in each])


def leading(F: Float[Tensor, "chart width kept"], rank: int) -> Float[Tensor, "chart rank width"]:
    """The `rank` leading left singular vectors of each, as rows; completed where there are fewer."""
    width, missing = F.shape[1], max(rank - F.shape[2], 0)
    if missing:
        F = torch.nn.functional.pad(F, (0, missing))
    if F.shape[2] >= 2 * width:  # the square is smaller, and faster
        values, axes = torch.linalg.eigh(F @ F.transpose(1, 2))
        U, sizes = axes.flip(2), values.flip(1).clamp_min(0).sqrt()
    else:
        U, sizes, _ = torch.linalg.svd(F, full_matrices=False)
    U, empty = U[:, :, :rank], sizes[:, :rank] <= 1e-12 * sizes[:, :1].clamp_min(1e-30)
    if bool(empty.any()):  # axes of nothing: any that are orthonormal do
        axes = torch.eye(width, dtype=F.dtype, device=F.device)[:, :rank]
        filled = torch.where(empty[:, None], U * 0 + axes, U)
        U = torch.linalg.qr(filled + 1e-6 * axes)[0]
    return U.transpose(1, 2).contiguous()


def cluster(
    inside: Float[Tensor, "bearer sample rank"], counts: Int[Tensor, "bearer"], children: int,
    generator: torch.Generator, rounds: int = 12, starts: int = 4,
) -> Float[Tensor, "bearer child rank"]:  # fmt: skip
    """Directions that leave the least of each bearer's samples: spherical k-means, all bearers at once.

    ``max_C sum_m max_c max(<C_c, u_m>, 0)²`` over unit rows: what a code with one non-negative child
    leaves over. Samples weigh by their squared length, so that those without a child count for little.
    Begun `starts` times by drawing samples in proportion to what is still left over (k-means++).
    """
    there = torch.arange(inside.shape[1], device=inside.device) < counts[:, None]
    inside = inside * there[:, :, None]
    best = captured = None
    for _ in range(starts):
        C = _spread(inside, children, generator)
        for _ in range(rounds):
            reads = torch.einsum("bmr,bcr->bmc", inside, C).clamp_min(0)
            value, which = reads.max(2)
            sums = torch.zeros_like(C).scatter_add_(
                1, which[:, :, None].expand(-1, -1, C.shape[2]), inside * value[:, :, None]
            )
            C = torch.where(sums.norm(dim=2, keepdim=True) > 0, normalize(sums, dim=2), C)
        now = torch.einsum("bmr,bcr->bmc", inside, C).clamp_min(0).max(2).values.square().sum(1)
        if best is None or captured is None:
            best, captured = C, now
        better = now > captured
        best = torch.where(better[:, None, None], C, best)
        captured = torch.maximum(captured, now)
    assert best is not None
    return best


def _spread(inside: Tensor, children: int, generator: torch.Generator) -> Tensor:
    """Unit samples that are far from each other; random directions where samples run out."""
    bearers, _, rank = inside.shape
    random = normalize(torch.randn(bearers, children, rank, generator=generator), dim=2).to(inside)
    every = torch.arange(bearers, device=inside.device)
    chosen: list[Tensor] = []
    for child in range(children):
        left = inside.square().sum(2)
        if chosen:
            reads = torch.einsum("bmr,bcr->bmc", inside, torch.stack(chosen, 1)).clamp_min(0)
            left = (left - reads.max(2).values.square()).clamp_min(0)
        some = left.sum(1) > 1e-12
        safe = torch.where(some[:, None], left, torch.ones_like(left))
        pick = torch.multinomial(safe.cpu(), 1, generator=generator)[:, 0].to(inside.device)
        drawn = normalize(inside[every, pick], dim=1)
        good = (some & (drawn.norm(dim=1) > 0.5))[:, None]
        chosen.append(torch.where(good, drawn, random[:, child]))
    return torch.stack(chosen, 1)


def in_disguise(
    W_dec: Float[Tensor, "bearer width"],
    V: Float[Tensor, "chart rank width"],
    routes: Int[Tensor, "bearer"],
) -> Bool[Tensor, "bearer"]:
    """Parents that are children of others: directions that lie in the charts of at least two of them.

    Learning alone, a parent may settle on what several others have below them. Once charts are known
    it shows: more than `_INSIDE` of its squared length lies in one, where in ``d`` dimensions a
    direction of its own has about ``rank / d``. At most a tenth of all, the clearest.
    """
    users = torch.bincount(routes[routes >= 0], minlength=len(V))
    own = torch.nn.functional.one_hot(routes.clamp_min(0), len(V)).bool()
    inside = torch.zeros(len(W_dec), dtype=W_dec.dtype, device=W_dec.device)
    for rows in torch.arange(len(W_dec), device=W_dec.device).split(_AT_ONCE):
        shares = torch.einsum("srd,pd->psr", V, W_dec[rows].detach()).square().sum(2)
        # Charts count by the others that point at them: twice one user, or one chart of two.
        others = users - own[rows].long()
        value, count = (shares > _INSIDE).to(shares), others.clamp_min(0)
        enough = (value * count).sum(1) >= 2
        best = torch.where(others > 0, shares, torch.zeros_like(shares)).max(1).values
        inside[rows] = torch.where(enough, best, torch.zeros_like(best))
    found = inside > 0
    most = len(W_dec) // 10
    if int(found.sum()) > most:
        least = inside.topk(most + 1).values[-1]
        found = inside > least
    return found


def common_directions(
    rest: Float[Tensor, "token width"], count: int, generator: torch.Generator, rounds: int = 4
) -> Float[Tensor, "found width"]:
    """Directions that many residuals share: where a dictionary lacks a latent.

    One after the other: a residual is drawn in proportion to the square of its squared length, its
    direction moves to the mean of what points the same way (``u <- sum max(<r, u>, 0) cos(r, u)^2 r``,
    scaled to one), and what it explains is taken out of all residuals.
    """
    rest, found = rest.clone(), list[Tensor]()
    for _ in range(min(count, _MOST_FOUND)):
        energy = rest.square().sum(1)
        if not float(energy.max()) > 0:
            break
        at = torch.multinomial(energy.square().cpu().double() + 1e-30, 1, generator=generator)
        u = normalize(rest[int(at)], dim=0)
        for _ in range(rounds):
            along = (rest @ u).clamp_min(0)
            weights = along.pow(3) / energy.clamp_min(1e-30)
            u = normalize(weights @ rest, dim=0)
        rest -= (rest @ u).clamp_min(0)[:, None] * u
        found.append(u)
    return torch.stack(found) if found else rest[:0]


def near_orthonormal(V: Float[Tensor, "chart rank width"]) -> Float[Tensor, "chart rank width"]:
    """Rows orthonormal again after a small step: two Newton-Schulz iterations of the polar factor.

    ``V <- (3/2 - 1/2 V Vᵀ) V``, which turns the rows as little as can be, so that codes inside keep
    their meaning.
    """
    for _ in range(2):
        V = 1.5 * V - 0.5 * (V @ V.transpose(1, 2)) @ V
    return V
