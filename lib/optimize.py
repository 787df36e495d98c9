"""The optimizer and the average of the weights, for all three trainers."""
from typing import Tuple

import torch
from torch import nn


def make_adam(model: nn.Module, lr: float, betas: Tuple[float, float] = (0.9, 0.999)) -> torch.optim.Adam:
    """Return Adam for all weights of a model that is already on its device."""
    # fused: one kernel updates all weights, which is faster; only newer versions of PyTorch have it for MPS
    fused = next(model.parameters()).device.type != "mps"
    return torch.optim.Adam(model.parameters(), lr, betas, fused=fused)


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, weight: float) -> None:
    """Update an exponential moving average (EMA) of a model's weights: ema = (1 - weight) ema + weight model.

    Args:
        ema: a copy of the model. Batch norm's running statistics are averaged too, its counters are not.
        weight: of the model's current weights, 0 to 1.
    """
    for average, value in zip(ema.state_dict().values(), model.state_dict().values()):
        if value.is_floating_point():
            average.lerp_(value, weight)
