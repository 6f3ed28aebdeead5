"""Nearest centroids by two levels on a GPU: the products of `gpu.nearest`, group by group, and torch around them.

It is here so that an index has the same bytes with and without a GPU, and was never timed on one.

Legend  as in `reference`; G groups
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from retrievers.colbert.kernels import gpu
from retrievers.colbert.kernels.arrays import Bytes, Groups, Reach

if TYPE_CHECKING:
    from torch import Tensor

POINTS = 1 << 16  # at once: their products with the members that they find are made in full


class GpuTwoLevel:
    """What `cpu.TwoLevel` is, of tensors."""

    def __init__(self, centroids_KH: Bytes, groups: Groups, reach: Reach, where: str) -> None:
        self._groups, self._reach = groups, reach
        self._centroids = gpu.moved(np.array(centroids_KH), where)
        self._centres = gpu.moved(groups.centres, where).float() - 128
        self._members = gpu.moved(groups.members, where).long()

    def nearest(self, points_NH: Tensor) -> Tensor:
        """Return what `reference.nearest_in_groups` returns, (N,) int32, where the points are."""
        torch = gpu.package("torch")
        parts = [self._some(points_NH[first : first + POINTS]) for first in range(0, len(points_NH), POINTS)]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int32, device=points_NH.device)

    def _some(self, points_NH: Tensor) -> Tensor:
        torch = gpu.package("torch")
        group, reached = self._order(points_NH)
        slots = reached.flatten().nonzero()[:, 0]  # places in (N, groups) of a group that a point looks into
        slots = slots[group.flatten()[slots].sort(stable=True).indices]
        counts = torch.bincount(group.flatten()[slots], minlength=len(self._centres))
        ends, starts = counts.cumsum(0).tolist(), self._groups.starts.tolist()
        best = torch.full((group.numel(),), -(2**62), dtype=torch.int64, device=points_NH.device)
        for number, (first, end) in enumerate(zip([0, *ends], ends, strict=False)):
            members = self._members[starts[number] : starts[number + 1]]
            if end > first and len(members):
                points = points_NH[slots[first:end] // group.shape[1]]
                found = members[gpu.nearest(points, self._centroids[members]).long()]
                dots = (points.int() * (self._centroids[found].int() - 128)).sum(1)
                best[slots[first:end]] = (dots << 32) - found  # the first of equals is the largest
        top = best.view(group.shape).max(1).values
        found = torch.where(top > -(2**61), -top & 0xFFFFFFFF, 0)
        return found.int()

    def _order(self, points_NH: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `Groups.order` returns; products of bytes, whole numbers below 2 ** 24, are exact in floats."""
        torch = gpu.package("torch")
        groups, last = self._groups, 2**self._groups.bits - 1
        products = (points_NH.float() @ self._centres.T).long() >> groups.drop
        numbers = torch.arange(len(self._centres), device=products.device)
        keys = (products << groups.bits) + (last - numbers)  # all different: the first of equals is the largest
        keys = keys.topk(min(self._reach.groups, len(numbers)), dim=1).values
        falling, order = keys >> groups.bits, last - (keys & last)
        reached = falling * 256 >= falling[:, :1] * self._reach.share
        if not self._reach.share:
            reached = torch.ones_like(reached)
        reached[:, 0] = True
        return order, reached
