"""Measure what sampling alone leaves off the data, with the exact noise prediction in place of a trained network.

    python -m course.exact_prediction

For two densities, the mean of the noise given x_t can be computed: the eight Gaussians, and the checkerboard, a mixture
of squares. Points sampled with it have no error from training, so all error is from the number of timesteps, their
schedule, and the variance of each. Prints a table in Markdown.
"""
import argparse
import math
from itertools import combinations
from typing import Callable, Dict

import numpy as np
import torch
from torch import Tensor

from lib.densities import get_dataset
from lib.distances import off_and_uncovered, sliced_wasserstein
from lib.sample_diffusion import sample_ddpm
from lib.utils import SCHEDULES

POINTS = 20_000


def predict_gaussians(x: Tensor, baralpha: Tensor) -> Tensor:
    """Return the mean noise in x_t, N,2, if x_0 is from the eight Gaussians of lib/densities.py."""
    angle = 2 * math.pi * torch.arange(8, dtype=torch.float64) / 8
    means = 1.5 * torch.sqrt(baralpha) * torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)
    variance = 0.01 * baralpha + 1 - baralpha
    offset = x[:, None] - means
    share = torch.softmax(-(offset ** 2).sum(2) / (2 * variance), dim=1)
    return torch.sqrt(1 - baralpha) * (share[..., None] * offset).sum(1) / variance


def predict_checkerboard(x: Tensor, baralpha: Tensor) -> Tensor:
    """Return the mean noise in x_t, N,2, if x_0 is from the checkerboard: minus the gradient of the log density of x_t,
    times the noise's standard deviation (Vincent 2011). Along each axis, the density of an interval with added noise is
    a difference of error functions.
    """
    sigma = torch.sqrt(1 - baralpha)
    edges = torch.arange(-2, 3, dtype=torch.float64) * torch.sqrt(baralpha)
    z = (x[..., None] - edges) / (sigma * math.sqrt(2))                     # N,2,5
    left, right = z[..., :-1], z[..., 1:]                                   # of the four intervals: left > right
    near = torch.where(left + right > 0, right, -left)                      # erfc of it is exact in the far tail, too
    far = torch.where(left + right > 0, left, -right)
    mass = (torch.special.erfc(near) - torch.special.erfc(far)) / 2         # N,2,4
    slope = (torch.exp(-left ** 2) - torch.exp(-right ** 2)) / (sigma * math.sqrt(2 * math.pi))
    dark = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0            # column, row
    density = torch.einsum("ni,nj,ij->n", mass[:, 0], mass[:, 1], dark.double())
    gradient = torch.stack([torch.einsum("ni,nj,ij->n", one, other, dark.double())
                            for one, other in ((slope[:, 0], mass[:, 1]), (mass[:, 0], slope[:, 1]))], dim=1)
    return -sigma * gradient / density[:, None].clamp_min(1e-300)


PREDICTIONS: Dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gaussians": predict_gaussians, "checkerboard": predict_checkerboard}


def sample(name: str, schedule_name: str, diffusion_steps: int, count: int) -> Tensor:
    """Sample count,2 points of a density with its exact noise prediction."""
    schedule = SCHEDULES[schedule_name](diffusion_steps)
    baralphas = schedule[0].double()

    def model(x: Tensor, t: Tensor) -> Tensor:
        return PREDICTIONS[name](x.double(), baralphas[t[0, 0]]).to(x.dtype)

    torch.manual_seed(0)
    return sample_ddpm(model, torch.randn(count, 2), schedule)[0]           # type: ignore[arg-type]  # not a Module


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m course.exact_prediction", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a trial in seconds, with few points and timesteps")
    args = parser.parse_args()
    count, runs = POINTS, [("cosine", 100), ("quadratic_cosine", 100), ("quadratic_cosine", 1000)]
    if args.small:
        count, runs = 1000, [("cosine", 10), ("quadratic_cosine", 10)]
    print("| density | schedule | timesteps | off the data | not covered | distance / noise floor |\n"
          + "| --- " * 6 + "|")
    for name in PREDICTIONS:
        data, fresh = (torch.from_numpy(get_dataset(name, 100_000, np.random.default_rng(seed))) for seed in (0, 1))
        parts = fresh.split(count)[:5]
        floor = np.mean([sliced_wasserstein(one, other) for one, other in combinations(parts, 2)])
        for schedule_name, diffusion_steps in runs:
            samples = sample(name, schedule_name, diffusion_steps, count)
            off, uncovered = off_and_uncovered(samples, data, fresh)
            swd = np.mean([sliced_wasserstein(samples, part) for part in parts])
            print(f"| {name} | {schedule_name} | {diffusion_steps} | {100 * off:.2f} % | {100 * uncovered:.2f} % "
                  f"| {swd / floor:.2f} |", flush=True)


if __name__ == "__main__":
    main()
