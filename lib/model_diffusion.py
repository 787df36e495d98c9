"""The network of the diffusion model: it predicts the noise in a noisy point from the point and its timestep.

Shapes: B batch, F features of a point (2 in the plane).
"""
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS = {"relu": torch.relu, "silu": F.silu}


class SimpleDiffusion(nn.Module):
    """A multilayer perceptron eps(x_t, t).

    Args:
        nfeatures: number F of coordinates of a point.
        nblocks: number of hidden blocks.
        nunits: units of each hidden layer.
        time_embedding: how the network gets the timestep. "index": as one more input, the number t itself,
            with PyTorch's initial weights, which are smaller; with 200 timesteps or more it needs a low learning rate.
            "sinusoidal": as sines and cosines of t / diffusion_steps at four frequencies (after Vaswani et al. 2017,
            section 3.5). These inputs are as large as the coordinates, and tell both near and distant timesteps apart.
        diffusion_steps: T, which "sinusoidal" divides by.
        point_embedding: how the network gets the point. "coordinates": as they are. "sinusoidal": together with the
            sines and cosines of 1, 2 and 4 times each coordinate, which help a network to learn fine detail (Tancik et
            al. 2020, https://arxiv.org/abs/2006.10739).
        activation: "relu", or "silu", x sigmoid(x), which is smooth, as the best prediction is.

    Raises:
        ValueError: there is no such time embedding, point embedding or activation.
    """

    def __init__(self, nfeatures: int, nblocks: int = 2, nunits: int = 64, time_embedding: str = "index",
                 diffusion_steps: int = 100, point_embedding: str = "coordinates", activation: str = "relu") -> None:
        super().__init__()
        self.embedding: Tensor
        self.frequencies: Tensor
        for what, name, names in (("time embedding", time_embedding, ("index", "sinusoidal")),
                                  ("point embedding", point_embedding, ("coordinates", "sinusoidal")),
                                  ("activation", activation, tuple(ACTIVATIONS))):
            if name not in names:
                raise ValueError(f"there is no {what} {name!r}: choose {' or '.join(names)}")
        self.activation = ACTIVATIONS[activation]
        self.sinusoidal = time_embedding == "sinusoidal"
        frequencies = [1.0, 2.0, 4.0] if point_embedding == "sinusoidal" else []
        self.register_buffer("frequencies", torch.tensor(frequencies), persistent=False)
        angle = torch.arange(diffusion_steps)[:, None] / diffusion_steps * (math.pi / 2 * 2 ** torch.arange(4))
        self.register_buffer("embedding", torch.cat([torch.sin(angle), torch.cos(angle)], dim=1), persistent=False)
        inputs = nfeatures * (1 + 2 * len(frequencies)) + (8 if self.sinusoidal else 1)
        layers = [nn.Linear(inputs, nunits),
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
        if len(self.frequencies):
            angle = (x[:, :, None] * self.frequencies).flatten(1)
            x = torch.cat([x, torch.sin(angle), torch.cos(angle)], dim=1)
        first, *blocks, last = self.layers
        # No activation between the first layer and the first block: the first layer only maps point and timestep to
        # nunits numbers, each block is a linear layer and an activation. (The two act as one linear layer.)
        x = first(torch.cat([x, t.to(x.dtype)], dim=1))
        for block in blocks:
            x = self.activation(block(x))
        return last(x)
