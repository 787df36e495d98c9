"""Sampling from a trained diffusion model, from noise to data.

Both samplers first compute what the data would be if the predicted noise were right. That is equation 4 of Ho et al.
2020 solved for x_0,

    x_0 = (x_t - sqrt(1 - baralpha_t) eps(x_t, t)) / sqrt(baralpha_t).

Then they move one timestep in its direction. Near t = T - 1, where x_t is almost pure noise, a small error of eps
becomes a large error of x_0. So x_0 can be clipped to the range of the data, as Ho et al. do for images.

Shapes: N points, F features, T diffusion steps.
"""
import math
from typing import Sequence, Tuple

import torch
from torch import Tensor, nn

from lib.utils import Schedule

CHUNK = 2000                                        # points at a time: these fit into the processor's cache


def _predict_x0(model: nn.Module, x: Tensor, t: int, baralpha: Tensor, clip: float) -> Tensor:
    eps = model(x, torch.full((len(x), 1), t, device=x.device))
    return ((x - torch.sqrt(1 - baralpha) * eps) / torch.sqrt(baralpha)).clamp(-clip, clip)


@torch.no_grad()
def sample_ddpm(model: nn.Module, noise: Tensor, schedule: Schedule, clip: float = math.inf, keep: Sequence[int] = ()
                ) -> Tuple[Tensor, Tensor]:
    """Sample by ancestral sampling (Ho et al. 2020, algorithm 2): for t = T - 1 down to 0, sample x_{t-1} from

        N(mean of q(x_{t-1} | x_t, x_0), beta_t I)    (equations 6 and 7; the variance of section 3.2).

    The last timestep adds no noise.

    Args:
        model: predicts the noise eps from x: N,F and t: N,1.
        noise: N,F samples of N(0, I) to start from.
        schedule: baralphas, alphas, betas.
        clip: largest absolute value of the predicted x_0.
        keep: timesteps whose points are returned as well.

    Returns:
        samples: N,F.
        path: len(keep),N,F points x_t at the timesteps in keep, in the same order.
    """
    baralphas, alphas, betas = (values.to(noise.device) for values in schedule)
    before = torch.cat([torch.ones_like(baralphas[:1]), baralphas[:-1]])    # baralpha_{t-1}; x_0 contains no noise
    weight_x0 = torch.sqrt(before) * betas / (1 - baralphas)
    weight_x = torch.sqrt(alphas) * (1 - before) / (1 - baralphas)
    samples, path = torch.empty_like(noise), noise.new_empty(len(keep), *noise.shape)
    for start in range(0, len(noise), CHUNK):
        chunk = slice(start, start + CHUNK)
        x = noise[chunk]
        for t in reversed(range(len(betas))):
            for place in [place for place, timestep in enumerate(keep) if timestep == t]:
                path[place, chunk] = x
            x = weight_x0[t] * _predict_x0(model, x, t, baralphas[t], clip) + weight_x[t] * x
            if t > 0:
                x = x + torch.sqrt(betas[t]) * torch.randn_like(x)
        samples[chunk] = x
    return samples, path


@torch.no_grad()
def sample_ddim(model: nn.Module, noise: Tensor, schedule: Schedule, steps: int, clip: float = math.inf) -> Tensor:
    """Sample by a denoising diffusion implicit model (DDIM; Song et al. 2021, https://arxiv.org/abs/2010.02502,
    equation 12 with sigma = 0). It adds no noise on the way, so timesteps can be skipped, and the same noise always
    gives the same sample.

    Args:
        steps: how many of the T timesteps to use, evenly spaced from T - 1 to 0.
        model, noise, schedule, clip: as for sample_ddpm.

    Returns:
        N,F samples.
    """
    baralphas = schedule[0].to(noise.device)
    used = torch.linspace(len(baralphas) - 1, 0, steps).round().long().tolist()
    samples = torch.empty_like(noise)
    for start in range(0, len(noise), CHUNK):
        x = noise[start:start + CHUNK]
        for t, following in zip(used, [*used[1:], None]):
            x0 = _predict_x0(model, x, t, baralphas[t], clip)
            if following is None:
                x = x0
            else:
                eps = (x - torch.sqrt(baralphas[t]) * x0) / torch.sqrt(1 - baralphas[t])
                x = torch.sqrt(baralphas[following]) * x0 + torch.sqrt(1 - baralphas[following]) * eps
        samples[start:start + CHUNK] = x
    return samples
