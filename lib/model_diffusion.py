"""The network of the diffusion model: it predicts the noise in a noisy point from the point and its timestep.

Shapes: B batch, F features of a point (2 in the plane).
"""
import math

import torch
from torch import Tensor, nn


class SimpleDiffusion(nn.Module):
    """A multilayer perceptron eps(x_t, t).

    Args:
        nfeatures: number F of coordinates of a point.
        nblocks: number of hidden blocks.
        nunits: units of each hidden layer.
        time_embedding: how the network gets the timestep. "index": as one more input, the number t itself.
            "sinusoidal": as sines and cosines of t / diffusion_steps at four frequencies (after Vaswani et al. 2017,
            section 3.5). These inputs are as large as the coordinates, and tell both near and distant timesteps apart.
        diffusion_steps: T, which "sinusoidal" divides by.

    Raises:
        ValueError: there is no time embedding of this name.
    """

    def __init__(self, nfeatures: int, nblocks: int = 2, nunits: int = 64, time_embedding: str = "index",
                 diffusion_steps: int = 100) -> None:
        super().__init__()
        self.embedding: Tensor
        if time_embedding not in ("index", "sinusoidal"):
            raise ValueError(f"there is no time embedding {time_embedding!r}: choose index or sinusoidal")
        self.sinusoidal = time_embedding == "sinusoidal"
        angle = torch.arange(diffusion_steps)[:, None] / diffusion_steps * (math.pi / 2 * 2 ** torch.arange(4))
        self.register_buffer("embedding", torch.cat([torch.sin(angle), torch.cos(angle)], dim=1), persistent=False)
        layers = [nn.Linear(nfeatures + (8 if self.sinusoidal else 1), nunits),
                  *(nn.Linear(nunits, nunits) for _ in range(nblocks)),
                  nn.Linear(nunits, nfeatures)]
        if self.sinusoidal:     # not for "index": that input goes up to T and would drown out the coordinates
            for layer in layers:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He et al. 2015, for deep ReLU networks
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            x: B,F noisy points.
            t: B,1 timesteps, counted from 0.

        Returns:
            B,F predicted noise.
        """
        if self.sinusoidal:
            t = self.embedding[t[:, 0]]
        first, *blocks, last = self.layers
        # No activation between the first layer and the first block: the first layer only maps point and timestep to
        # nunits numbers, each block is a linear layer followed by a ReLU. (The two act as one linear layer.)
        x = first(torch.cat([x, t.to(x.dtype)], dim=1))
        for block in blocks:
            x = torch.relu(block(x))
        return last(x)
