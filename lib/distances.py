"""How far two sets of points are from each other, as densities. Even two samples of one density differ: what a
model reaches has to be read beside the floor, the distance between two samples of the data.
"""
import numpy as np
import torch
from torch import Tensor

POINTS = 20_000                                     # a side, so that distances can be compared: they depend on it


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 256) -> float:
    """The sliced Wasserstein distance of two samples (Rabin et al. 2011): the mean over random directions of the
    1-D Wasserstein distance along them, which is the mean difference of the sorted projections.

    Args:
        x, y: N,F points, as many of the one as of the other.
        directions: number of directions, the same ones in each call.

    Returns:
        The distance, in the unit of the points.
    """
    axes = torch.randn(x.shape[1], directions, generator=torch.Generator().manual_seed(0))
    axes = axes / axes.norm(dim=0)
    sorted_x, sorted_y = (np.sort((axes.t() @ points.cpu().t()).numpy()) for points in (x, y))
    return float(np.abs(sorted_x - sorted_y).mean())


def energy_distance(x: Tensor, y: Tensor, points: int = 4000) -> float:
    """The energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| of two samples (Székely & Rizzo 2013), without bias:
    between samples of the same density it may well be below 0.

    Args:
        x, y: N,F points, of which the first so many are taken, as each is compared with each.

    Returns:
        The distance, in the unit of the points.
    """
    def mean_distance(one: Tensor, other: Tensor) -> float:
        return torch.cdist(one, other).mean().item()

    x, y = x[:points].cpu(), y[:points].cpu()
    n, m = len(x), len(y)                           # a point's distance to itself does not count
    return 2 * mean_distance(x, y) - n / (n - 1) * mean_distance(x, x) - m / (m - 1) * mean_distance(y, y)
