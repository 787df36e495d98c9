"""Densities in the plane to learn: scikit-learn's moons and others, or the dark pixels of an image.

Every density lies within about two units of the origin, so the noise N(0, I) covers it well.

Shapes: N points.
"""
import os
import zlib
from pathlib import Path
from typing import Callable, Dict, Optional, Union

import numpy as np

from lib.script import UserError


def moons(n: int, rng: np.random.Generator) -> np.ndarray:
    """Sample two half moons, like scikit-learn's make_moons but with random instead of evenly spaced angles: the points
    must be independent, or two samples would be more similar than chance allows.
    """
    angle, lower = rng.uniform(0, np.pi, n), rng.integers(0, 2, n)
    x = np.where(lower, 1 - np.cos(angle), np.cos(angle))
    y = np.where(lower, 0.5 - np.sin(angle), np.sin(angle))
    return np.stack([x, y], axis=1) + rng.normal(0, 0.01, (n, 2))


def swiss_roll(n: int, rng: np.random.Generator) -> np.ndarray:
    """Sample scikit-learn's Swiss roll, seen from the side."""
    from sklearn.datasets import make_swiss_roll
    return make_swiss_roll(n, noise=0.3, random_state=int(rng.integers(2 ** 31)))[0][:, [0, 2]] / 10


def circles(n: int, rng: np.random.Generator) -> np.ndarray:
    """Sample two circles, like scikit-learn's make_circles but with random angles (see moons)."""
    angle, radius = rng.uniform(0, 2 * np.pi, n), rng.choice([0.5, 1], n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1) + rng.normal(0, 0.02, (n, 2))


def gaussians(n: int, rng: np.random.Generator) -> np.ndarray:
    """Sample eight Gaussians on a circle."""
    angle = 2 * np.pi * rng.integers(0, 8, n) / 8
    return 1.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + rng.normal(0, 0.1, (n, 2))


def checkerboard(n: int, rng: np.random.Generator) -> np.ndarray:
    """Sample the eight dark squares of a 4 by 4 checkerboard."""
    x = rng.uniform(-2, 2, n)
    y = rng.uniform(0, 1, n) + rng.choice([-2, 0], n) + np.floor(x) % 2
    return np.stack([x, y], axis=1)


def pinwheel(n: int, rng: np.random.Generator) -> np.ndarray:
    """Sample five blades: elongated Gaussians, twisted more the further out they are."""
    outward, across = rng.normal(1, 0.3, n), rng.normal(0, 0.1, n)
    angle = 2 * np.pi * rng.integers(0, 5, n) / 5 + 0.25 * np.exp(outward)
    return np.stack([outward * np.cos(angle) - across * np.sin(angle),
                     outward * np.sin(angle) + across * np.cos(angle)], axis=1)


def spirals(n: int, rng: np.random.Generator) -> np.ndarray:
    """Sample two interleaved spirals, uniformly along their length."""
    angle, side = 3 * np.pi * np.sqrt(rng.uniform(size=n)), rng.choice([-1, 1], n)
    return (side * angle / 6 * np.stack([-np.cos(angle), np.sin(angle)])).T + rng.normal(0, 0.04, (n, 2))


DENSITIES: Dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    density.__name__: density for density in (moons, swiss_roll, circles, gaussians, checkerboard, pinwheel, spirals)}


def sample_image(path: Union[str, Path], n: int, rng: np.random.Generator) -> np.ndarray:
    """Sample the density that an image file shows: the darker a pixel, the higher the density; transparent pixels get
    none. The longer side spans -1.5 to 1.5.

    Raises:
        UserError: the file is not a readable image, or the image is blank.
    """
    from lib.images import read_image
    try:
        image = read_image(path, 400).convert("RGBA")
    except ValueError as error:
        raise UserError(f"--dataset {path} cannot be read as an image: {error}") from error
    image.thumbnail((400, 400))
    red_green_blue_opacity = np.asarray(image, dtype=float) / 255
    darkness = (1 - red_green_blue_opacity[..., :3].mean(2)) * red_green_blue_opacity[..., 3]
    if np.ptp(darkness) < 0.02:
        raise UserError(f"--dataset {path} is blank: a density needs some pixels that are darker than others")
    height, width = darkness.shape
    row, column = np.divmod(rng.choice(darkness.size, n, p=darkness.ravel() / darkness.sum()), width)
    points = np.stack([column - width / 2, height / 2 - row - 1], axis=1) + rng.uniform(size=(n, 2))
    return 3 * points / max(height, width)


def get_dataset(dataset_name: str = "moons", n_samples: int = 10000, rng: Optional[np.random.Generator] = None
                ) -> np.ndarray:
    """Sample independent points from a density in the plane.

    Args:
        dataset_name: a name in DENSITIES, or the path of an image file.
        n_samples: number N of points.
        rng: source of the random numbers; by default a new one with a random seed.

    Returns:
        N,2 array of float32.

    Raises:
        UserError: there is no density of this name, or the image cannot be used.
    """
    rng = rng or np.random.default_rng()
    if dataset_name in DENSITIES:
        points = DENSITIES[dataset_name](n_samples, rng)
    elif os.path.isfile(dataset_name):
        points = sample_image(dataset_name, n_samples, rng)
    else:
        raise UserError(f"--dataset {dataset_name}: there is no density or image file with this name; choose "
                        f"{', '.join(DENSITIES)}, or the path of an image file")
    return points.astype(np.float32)


def checksum(path: Union[str, Path]) -> str:
    """Return a checksum of an image file, to notice later whether it has changed.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return f"{zlib.crc32(Path(path).read_bytes()):08x}"
    except OSError as error:
        raise UserError(f"--dataset {path} cannot be read: {error.strerror or error}") from error
