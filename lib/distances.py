"""Distances between two samples. Two samples of the same density differ too, so compare a model's distance with the
noise floor: the distance between two samples of the data. A distance hardly sees points that are only a little off, so
there are also two shares of points that are.
"""
import math
from typing import Tuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

POINTS = 20_000                                     # of each sample: distances depend on it, so it is always the same


def sort_projections(x: Tensor, directions: int = 256) -> np.ndarray:
    """Project a sample, N,F points, onto random directions, and sort the projections onto each.

    Returns:
        directions,N array. Every call uses the same directions.
    """
    axes = torch.randn(x.shape[1], directions, generator=torch.Generator().manual_seed(0))
    axes = axes / axes.norm(dim=0)
    return np.sort((axes.t() @ x.cpu().t()).numpy())


def sliced_wasserstein(x: Tensor, y: Tensor, directions: int = 256) -> float:
    """Return the sliced Wasserstein distance of two samples (Rabin et al. 2011).

    It is the mean, over random directions, of the 1-D Wasserstein distance along them, which is the mean difference of
    the sorted projections.

    Args:
        x, y: N,F points, equally many.
        directions: number of directions.

    Returns:
        The distance, in the unit of the points.
    """
    return float(np.abs(sort_projections(x, directions) - sort_projections(y, directions)).mean())


def energy_distance(x: Tensor, y: Tensor, points: int = 4000) -> float:
    """Return the energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| of two samples (Székely & Rizzo 2013).

    The estimate is unbiased, so it may be below 0 for two samples of the same density.

    Args:
        x, y: N,F points.
        points: number of points to use of each, because every point is compared with every other one.

    Returns:
        The distance, in the unit of the points.
    """
    def mean_distance(one: Tensor, other: Tensor) -> float:
        return torch.cdist(one, other).mean().item()

    x, y = x[:points].cpu(), y[:points].cpu()
    n, m = len(x), len(y)                           # a point's distance to itself does not count
    return 2 * mean_distance(x, y) - n / (n - 1) * mean_distance(x, x) - m / (m - 1) * mean_distance(y, y)


def off_and_uncovered(generated: Tensor, data: Tensor, fresh: Tensor) -> Tuple[float, float]:
    """Return the share of generated points that lie off the data, and the share of the data that is not covered by
    generated points, in the spirit of precision and recall (Kynkäänniemi et al. 2019,
    https://arxiv.org/abs/1904.06991).

    A generated point is off the data if the nearest data point is further away than it is for 99.9 % of fresh data
    points. So about 0.1 % of more data would be off the data, too. The second share is measured the same way, with the
    roles of generated and fresh points swapped.

    Args:
        generated: N,F points.
        data: M,F points, M at least N.
        fresh: any number of further data points, F each.

    Returns:
        Both shares, 0 to 1; NaN if a generated point is not finite.
    """
    from scipy.spatial import KDTree  # not needed before the first measurement

    def to_nearest(points: Tensor, others: Tensor) -> np.ndarray:
        return KDTree(others.numpy()).query(points.numpy())[0]

    generated = generated.cpu()
    if not generated.isfinite().all():
        return math.nan, math.nan
    off = to_nearest(generated, data) > np.quantile(to_nearest(fresh, data), 0.999)
    as_many = data[:len(generated)]                 # a larger sample has nearer points
    uncovered = to_nearest(fresh, generated) > np.quantile(to_nearest(fresh, as_many), 0.999)
    return float(off.mean()), float(uncovered.mean())


def sample_patches(images: Tensor, generator: torch.Generator, per_image: int = 64, size: int = 7) -> Tensor:
    """Return random patches of N,C,H,W images, each channel normalized to mean 0 and variance 1.

    Returns:
        N*per_image,C*size*size
    """
    windows = images.unfold(2, size, 1).unfold(3, size, 1)          # N,C,rows,columns,size,size: a view
    row, column = (torch.randint(end, (len(images), per_image), generator=generator) for end in windows.shape[2:4])
    patches = windows[torch.arange(len(images))[:, None], :, row, column].flatten(0, 1)     # N*per_image,C,size,size
    patches = patches - patches.mean((0, 2, 3), keepdim=True)
    return (patches / patches.std((0, 2, 3), keepdim=True).clamp_min(1e-6)).flatten(1)      # a flat color has std 0


def image_distances(x: Tensor, y: Tensor) -> Tuple[float, float]:
    """Return sliced Wasserstein distances of two sets of images (Karras et al. 2018, https://arxiv.org/abs/1710.10196).

    A Laplacian pyramid splits an image into the details at full size and the rest at half size. At both levels, the
    7 by 7 patches of the two sets are compared: are textures, edges and shapes equally frequent in both? This needs no
    network trained on other images, and a few hundred images are enough.

    Args:
        x, y: N,C,H,W images, equally many.

    Returns:
        The distance of the details and that of the half size, times 1000 as in the paper.
    """
    generator, levels = torch.Generator().manual_seed(0), []
    for images in (x.cpu(), y.cpu()):
        half = F.avg_pool2d(images, 2)
        levels.append((images - F.interpolate(half, scale_factor=2, mode="bilinear", align_corners=False), half))
    details, half_size = (1000 * sliced_wasserstein(sample_patches(a, generator), sample_patches(b, generator))
                          for a, b in zip(*levels))
    return details, half_size
