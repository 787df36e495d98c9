"""The noise schedules and the forward process of a diffusion model.

The forward process turns data x_0 into noise in T small steps (Sohl-Dickstein et al. 2015; Ho et al. 2020,
https://arxiv.org/abs/2006.11239, equations 2 and 4):

    q(x_t | x_{t-1}) = N(sqrt(alpha_t) x_{t-1}, beta_t I),    alpha_t = 1 - beta_t
    q(x_t | x_0)     = N(sqrt(baralpha_t) x_0, (1 - baralpha_t) I),    baralpha_t = alpha_1 alpha_2 ... alpha_t

The papers count timesteps from 1 to T, the code from 0 to T - 1: baralphas[0] belongs to the first timestep.

Shapes: B batch, T diffusion steps.
"""
import math
from typing import Tuple, Union

import numpy as np  # noqa: F401 - solutions of task 2.2 may use it
import torch
from torch import Tensor

from lib.densities import get_dataset as get_dataset  # the course publishes it here

Schedule = Tuple[Tensor, Tensor, Tensor]            # baralphas, alphas, betas


def linear_schedule(diffusion_steps: int = 1000) -> Schedule:
    """Return a schedule whose beta grows linearly from 1e-4 to 0.02 (Ho et al. 2020, section 4).

    These limits were chosen for 1000 steps. With 100, the last timestep still contains 60 % of the signal,
    sqrt(baralpha).

    Returns:
        baralphas, alphas, betas, each T.
    """
    return _from_betas(torch.linspace(1e-4, 0.02, diffusion_steps, dtype=torch.float64))


def cosine_schedule(diffusion_steps: int = 1000) -> Schedule:
    """Return a schedule whose baralpha falls like a squared cosine: slowly at both ends, and to 0 for any number of
    steps (Nichol & Dhariwal 2021, https://arxiv.org/abs/2102.09672, equation 17).

    Returns:
        baralphas, alphas, betas, each T.
    """
    return _cosine(torch.arange(diffusion_steps + 1, dtype=torch.float64) / diffusion_steps)


def quadratic_cosine_schedule(diffusion_steps: int = 1000) -> Schedule:
    """Return the cosine schedule at quadratically spaced timesteps (Song et al. 2021, https://arxiv.org/abs/2010.02502,
    appendix D.2, space the timesteps of sampling in this way).

    With 100 timesteps, 34 instead of 12 have noise with a standard deviation below 0.2. Those timesteps shape the edges
    of a density and the gaps in it, and a network learns best what it sees most.

    Returns:
        baralphas, alphas, betas, each T.
    """
    return _cosine((torch.arange(diffusion_steps + 1, dtype=torch.float64) / diffusion_steps) ** 2)


def _cosine(u: Tensor) -> Schedule:
    """Return the schedule for T + 1 times that grow from 0 to 1."""
    s = 0.008                                       # keeps the first betas from being too small
    f = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    return _from_betas((1 - f[1:] / f[:-1]).clamp(1e-4, 0.9999))


def _from_betas(betas: Tensor) -> Schedule:
    alphas = 1 - betas
    return alphas.cumprod(dim=0).float(), alphas.float(), betas.float()


SCHEDULES = {"quadratic_cosine": quadratic_cosine_schedule, "cosine": cosine_schedule, "linear": linear_schedule}


def add_noise(batch: Tensor, t: Union[int, Tensor], baralphas: Tensor) -> Tuple[Tensor, Tensor]:
    """Sample x_t from q(x_t | x_0) directly, without the timesteps in between (Ho et al. 2020, equation 4):

        x_t = sqrt(baralpha_t) x_0 + sqrt(1 - baralpha_t) eps,    eps from N(0, I)

    Args:
        batch: B,2 points x_0. They are not changed.
        t: timestep, counted from 0: an int for the whole batch, or an integer tensor B,1 with one for each point.
        baralphas: T, cumulative products of the alphas.

    Returns:
        noisy: B,2 points x_t.
        eps: B,2 noise that was added, independent for each point.
    """
    # START TODO 2.2 ########################
    # Sample eps in the shape of the batch, and compute x_t. baralphas[t] is baralpha_t for both kinds of t.
    # BEGIN SOLUTION
    eps = torch.randn_like(batch)
    baralpha = baralphas[t]
    noisy = torch.sqrt(baralpha) * batch + torch.sqrt(1 - baralpha) * eps
    return noisy, eps
    # END SOLUTION
    # END TODO 2.2 ########################
