"""A model's layers for the explorer page, with weights that take little space.

Weights are rounded to integers of up to 16 bits, as coarsely as the outputs allow: they stay within TOLERANCE. (16-bit
floats are less exact: a generator's images change by up to 0.0017.)
"""
from copy import deepcopy
from typing import Any, Callable, Dict, List, Sequence

import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE = 9e-4                                    # of the outputs
LEVELS = [round(1023 * 2 ** (k / 2)) for k in range(11)]    # largest integers to try, up to 32,736
LINEAR, CONVOLUTION, TRANSPOSED = nn.Linear, nn.Conv2d, nn.ConvTranspose2d
Export = Dict[str, Any]


def _round(weight: Tensor, levels: int, axis: int) -> List[Tensor]:
    """Return a weight as integers from -levels to levels, and their step: one for each output unit."""
    others = [dim for dim in range(weight.dim()) if dim != axis]
    step = (weight.abs().amax(others, keepdim=True) / levels).clamp(min=1e-30)
    return [torch.round(weight / step), step]


def _axis(layer: nn.Module) -> int:
    return 1 if isinstance(layer, TRANSPOSED) else 0        # of the output units


@torch.no_grad()
def choose_levels(model: nn.Module, outputs: Callable[[Any], Sequence[Tensor]]) -> int:
    """Return the smallest of LEVELS with which the outputs stay within TOLERANCE; 0 if there is none."""
    exact = outputs(model)
    low, high = 0, len(LEVELS)
    while low < high:
        middle = (low + high) // 2
        rounded = deepcopy(model)
        for layer in rounded.modules():
            if isinstance(layer, (LINEAR, CONVOLUTION, TRANSPOSED)):
                integers, step = _round(layer.weight, LEVELS[middle], _axis(layer))
                layer.weight.copy_(integers * step)
        if all(bool(((one - other).abs() <= TOLERANCE).all()) for one, other in zip(exact, outputs(rounded))):
            high = middle
        else:
            low = middle + 1
    return LEVELS[low] if low < len(LEVELS) else 0


@torch.no_grad()
def export_layer(layer: Any, levels: int, norm: Any = None, base: Any = None) -> Export:
    """Return weight, step and bias of a layer. The weight is integers times step; in float32, if levels is 0.

    Args:
        norm: a batch norm that follows. In evaluation mode it is linear, so it goes into step and bias.
        base: a layer with nearly the same weight, which is exported too: the weight is only the difference to its
            integers ("plus"), which compresses better.
    """
    weight, axis = layer.weight, _axis(layer)
    count = weight.shape[axis]                      # of output units
    scale, bias = torch.ones(count), torch.zeros(count) if layer.bias is None else layer.bias
    if norm:
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        bias = norm.bias + (bias - norm.running_mean) * scale
    if not levels:
        return {"weight": weight.numpy(), "step": scale.numpy(), "bias": bias.numpy()}
    integers, step = _round(weight if base is None else base.weight, levels, axis)
    exported = {"weight": integers.numpy().astype(np.int16), "step": (step.flatten() * scale).numpy(),
                "bias": bias.numpy()}
    if base is not None:
        exported["plus"] = exported["weight"]
        exported["weight"] = (torch.round(weight / step) - integers).numpy().astype(np.int16)
    return exported
