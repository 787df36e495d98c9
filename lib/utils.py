"""What a diffusion model needs beside its network: densities to learn, noise schedules, and the forward process.

The forward process turns data x_0 into noise in T small steps (Sohl-Dickstein et al. 2015; Ho et al. 2020,
https://arxiv.org/abs/2006.11239, equations 2 and 4):

    q(x_t | x_{t-1}) = N(sqrt(alpha_t) x_{t-1}, beta_t I),    alpha_t = 1 - beta_t
    q(x_t | x_0)     = N(sqrt(baralpha_t) x_0, (1 - baralpha_t) I),    baralpha_t = alpha_1 alpha_2 ... alpha_t

The papers count the steps from 1 to T, the code counts them from 0 to T - 1: baralphas[0] belongs to the first step.

Shapes: N points, B batch, T diffusion steps.
"""
import math
import os
import zlib
from pathlib import Path
from typing import Callable, Dict, Optional, Tuple, Union

import numpy as np
import torch
from torch import Tensor

from lib.script import UserError

Schedule = Tuple[Tensor, Tensor, Tensor]            # baralphas, alphas, betas


# Densities. Each lies within about two units of the origin, so that it is well covered by the noise N(0, I).

def moons(n: int, rng: np.random.Generator) -> np.ndarray:
    """The moons of scikit-learn, whose make_moons sets its angles evenly: here they are drawn, as points that are
    independent of each other must be, or two samples would be more alike than chance allows.
    """
    angle, lower = rng.uniform(0, np.pi, n), rng.integers(0, 2, n)
    x = np.where(lower, 1 - np.cos(angle), np.cos(angle))
    y = np.where(lower, 0.5 - np.sin(angle), np.sin(angle))
    return np.stack([x, y], axis=1) + rng.normal(0, 0.01, (n, 2))


def swiss_roll(n: int, rng: np.random.Generator) -> np.ndarray:
    """The swiss roll of scikit-learn, seen from the side."""
    from sklearn.datasets import make_swiss_roll
    return make_swiss_roll(n, noise=0.3, random_state=int(rng.integers(2 ** 31)))[0][:, [0, 2]] / 10


def circles(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two circles, as scikit-learn's make_circles, with drawn angles (see moons)."""
    angle, radius = rng.uniform(0, 2 * np.pi, n), rng.choice([0.5, 1], n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1) + rng.normal(0, 0.02, (n, 2))


def gaussians(n: int, rng: np.random.Generator) -> np.ndarray:
    """Eight Gaussians on a circle."""
    angle = 2 * np.pi * rng.integers(0, 8, n) / 8
    return 1.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + rng.normal(0, 0.1, (n, 2))


def checkerboard(n: int, rng: np.random.Generator) -> np.ndarray:
    """The eight dark squares of a board of four by four."""
    x = rng.uniform(-2, 2, n)
    y = rng.uniform(0, 1, n) + rng.choice([-2, 0], n) + np.floor(x) % 2
    return np.stack([x, y], axis=1)


def pinwheel(n: int, rng: np.random.Generator) -> np.ndarray:
    """Five blades, each a long Gaussian that is turned the more, the further out it is."""
    outward, across = rng.normal(1, 0.3, n), rng.normal(0, 0.1, n)
    angle = 2 * np.pi * rng.integers(0, 5, n) / 5 + 0.25 * np.exp(outward)
    return np.stack([outward * np.cos(angle) - across * np.sin(angle),
                     outward * np.sin(angle) + across * np.cos(angle)], axis=1)


def spirals(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two spirals, one inside the other, equally dense along their length."""
    angle, side = 3 * np.pi * np.sqrt(rng.uniform(size=n)), rng.choice([-1, 1], n)
    return (side * angle / 6 * np.stack([-np.cos(angle), np.sin(angle)])).T + rng.normal(0, 0.04, (n, 2))


def picture(path: Union[str, Path], n: int, rng: np.random.Generator) -> np.ndarray:
    """The density that a picture file shows: dark pixels are dense, transparent ones are empty. Its longer side reaches
    from -1.5 to 1.5.

    Raises:
        UserError: it cannot be read as a picture, or it is blank.
    """
    from lib.images import read_image
    try:
        image = read_image(path, 400).convert("RGBA")
    except ValueError as error:
        raise UserError(f"--dataset {path} cannot be read as a picture: {error}")
    image.thumbnail((400, 400))
    red_green_blue_opacity = np.asarray(image, dtype=float) / 255
    darkness = (1 - red_green_blue_opacity[..., :3].mean(2)) * red_green_blue_opacity[..., 3]
    if np.ptp(darkness) < 0.02:
        raise UserError(f"--dataset {path} is blank: a density needs pixels that are darker than others")
    height, width = darkness.shape
    row, column = np.divmod(rng.choice(darkness.size, n, p=darkness.ravel() / darkness.sum()), width)
    points = np.stack([column - width / 2, height / 2 - row - 1], axis=1) + rng.uniform(size=(n, 2))
    return 3 * points / max(height, width)


def checksum(path: Union[str, Path]) -> str:
    """Return a checksum of an image file's bytes, to notice that it has changed.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return f"{zlib.crc32(Path(path).read_bytes()):08x}"
    except OSError as error:
        raise UserError(f"--dataset {path} cannot be read: {error.strerror or error}")


DENSITIES: Dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    density.__name__: density for density in (moons, swiss_roll, circles, gaussians, checkerboard, pinwheel, spirals)}


def get_dataset(dataset_name: str = "moons", n_samples: int = 10000, rng: Optional[np.random.Generator] = None
                ) -> np.ndarray:
    """Independent draws from a 2-D density.

    Args:
        dataset_name: one of DENSITIES, or the path of a picture file.
        rng: where the random numbers come from; a new one each time if left out.

    Returns:
        N,2 array of float32.

    Raises:
        UserError: there is no such density, or the picture cannot be used.
    """
    rng = rng or np.random.default_rng()
    if dataset_name in DENSITIES:
        points = DENSITIES[dataset_name](n_samples, rng)
    elif os.path.isfile(dataset_name):
        points = picture(dataset_name, n_samples, rng)
    else:
        raise UserError(f"--dataset {dataset_name}: there is no such density; choose {', '.join(DENSITIES)}, or the "
                        "path of a picture file")
    return points.astype(np.float32)


# Schedules

def linear_schedule(diffusion_steps: int = 1000) -> Schedule:
    """beta grows linearly from 1e-4 to 0.02 (Ho et al. 2020, section 4). These ends are made for 1000 steps: with 100,
    the last step still holds 60 % of the signal, sqrt(baralpha).

    Returns:
        baralphas, alphas, betas, each T.
    """
    return _from_betas(torch.linspace(1e-4, 0.02, diffusion_steps, dtype=torch.float64))


def cosine_schedule(diffusion_steps: int = 1000) -> Schedule:
    """baralpha falls like a squared cosine, slowly at both ends and to 0 for any number of steps (Nichol & Dhariwal
    2021, https://arxiv.org/abs/2102.09672, equation 17).

    Returns:
        baralphas, alphas, betas, each T.
    """
    s = 0.008                                       # keeps the first betas from being too small
    u = torch.arange(diffusion_steps + 1, dtype=torch.float64) / diffusion_steps
    f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    return _from_betas((1 - f[1:] / f[:-1]).clamp(1e-4, 0.9999))


def _from_betas(betas: Tensor) -> Schedule:
    alphas = 1 - betas
    return alphas.cumprod(dim=0).float(), alphas.float(), betas.float()


SCHEDULES = {"cosine": cosine_schedule, "linear": linear_schedule}


# The forward process

def add_noise(batch: Tensor, t: Union[int, Tensor], baralphas: Tensor) -> Tuple[Tensor, Tensor]:
    """Draw x_t from q(x_t | x_0) in one step (Ho et al. 2020, equation 4):

        x_t = sqrt(baralpha_t) x_0 + sqrt(1 - baralpha_t) eps,    eps from N(0, I)

    Args:
        batch: B,2 points x_0. It is not changed.
        t: step, counted from 0: one for the whole batch as an int, or one for each point as an integer tensor B,1.
        baralphas: T, products of the alphas.

    Returns:
        noised: B,2 points x_t.
        eps: B,2 the noise that was drawn, of which each point has its own.
    """
    # START TODO 2.2 ########################
    # Draw eps, in the shape of the batch, and compute x_t. baralphas[t] is baralpha_t, for both kinds of t.
    # BEGIN SOLUTION
    eps = torch.randn_like(batch)
    baralpha = baralphas[t]
    noised = torch.sqrt(baralpha) * batch + torch.sqrt(1 - baralpha) * eps
    return noised, eps
    # END SOLUTION
    # END TODO 2.2 ########################
