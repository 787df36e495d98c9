"""How far two sets of points are from each other, as densities. Even two samples of one density differ: what a
model reaches has to be read beside the floor, the distance between two samples of the data.
"""
from typing import Tuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

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


def patches(images: Tensor, generator: torch.Generator, per_image: int = 64, size: int = 7) -> Tensor:
    """Random patches of N,C,H,W pictures, each channel scaled to mean 0 and variance 1: N*per_image,C*size*size."""
    windows = images.unfold(2, size, 1).unfold(3, size, 1)          # N,C,rows,columns,size,size: a view
    row, column = (torch.randint(end, (len(images), per_image), generator=generator) for end in windows.shape[2:4])
    found = windows[torch.arange(len(images))[:, None], :, row, column].flatten(0, 1)       # N*per_image,C,size,size
    found = found - found.mean((0, 2, 3), keepdim=True)
    return (found / found.std((0, 2, 3), keepdim=True).clamp_min(1e-6)).flatten(1)     # all one colour has no variance


def image_distances(x: Tensor, y: Tensor) -> Tuple[float, float]:
    """Sliced Wasserstein distances of two sets of pictures (Karras et al. 2018, https://arxiv.org/abs/1710.10196).

    A Laplacian pyramid parts a picture into the details of its full size and what is left at half of it. On both levels
    the 7 by 7 patches of the two sets are compared: are textures, edges and shapes as frequent here as there? It needs
    no network that was trained on other pictures, and a few hundred pictures are enough.

    Args:
        x, y: N,C,H,W pictures, as many of the one as of the other.

    Returns:
        The distance of the details and that of the half size, in thousandths, as the paper has them.
    """
    generator, levels = torch.Generator().manual_seed(0), []
    for images in (x.cpu(), y.cpu()):
        half = F.avg_pool2d(images, 2)
        levels.append((images - F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False), half))
    details, half = (1000 * sliced_wasserstein(patches(a, generator), patches(b, generator)) for a, b in zip(*levels))
    return details, half
