"""The network of the diffusion model: from a noised point and its step to the noise that is in it.

Shapes: B batch, F features of a point (2 in the plane).
"""
import math

import torch
from torch import Tensor, nn


class SimpleDiffusion(nn.Module):
    """A multilayer perceptron eps(x_t, t).

    Args:
        nfeatures: numbers F that make a point.
        nblocks: hidden layers.
        nunits: units of each.
        time_embedding: how the step enters. "index": as one more input, the number t itself. "sinusoidal": as sines and
            cosines of t / diffusion_steps with four frequencies (after Vaswani et al. 2017, section 3.5), inputs of
            the same size as the others, from which the network can tell both near and far steps apart.
        diffusion_steps: T, which "sinusoidal" divides by.
    """

    def __init__(self, nfeatures: int, nblocks: int = 2, nunits: int = 64, time_embedding: str = "index",
                 diffusion_steps: int = 100) -> None:
        super().__init__()
        self.sinusoidal = time_embedding == "sinusoidal"
        angle = torch.arange(diffusion_steps)[:, None] / diffusion_steps * (math.pi / 2 * 2 ** torch.arange(4))
        self.register_buffer("embedding", torch.cat([torch.sin(angle), torch.cos(angle)], dim=1), persistent=False)
        self.layers = nn.ModuleList([nn.Linear(nfeatures + (8 if self.sinusoidal else 1), nunits)])
        self.layers.extend(nn.Linear(nunits, nunits) for _ in range(nblocks))
        self.layers.append(nn.Linear(nunits, nfeatures))
        if self.sinusoidal:                         # the index, an input of up to T, would be too loud for this
            for layer in self.layers:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # He et al. 2015, for deep ReLU networks

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The predicted noise.

        Args:
            x: B,F noised points.
            t: B,1 their steps, counted from 0.

        Returns:
            B,F
        """
        if self.sinusoidal:
            t = self.embedding[t[:, 0]]
        first, *blocks, last = self.layers
        x = first(torch.cat([x, t.to(x.dtype)], dim=1))
        for block in blocks:
            x = torch.relu(block(x))
        return last(x)
